"""What each feature adds to a bundle's raw score: SHAP values by the best method at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.evaluation.permutation_importance import largest
from mlops_cli.evaluation.permutation_shap import raw_score, shapley_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    import polars as pl

    from mlops_cli.models.bundle import Bundle

    Floats = npt.NDArray[np.float64]

__all__ = ["Contributions", "contributions", "is_exact", "mean_contributions"]

_ORDERS = 4
"""Random orders of the features where contributions to a mean are sampled."""
_CALLS = 50_000
"""So many rows may be predicted for that."""

_SCALES = {"binary": "log-odds", "multiclass": "raw score", "regression": "value"}


@dataclass(frozen=True)
class Contributions:
    """SHAP values of some rows.

    Attributes
    ----------
    method
        ``tree SHAP``: against the mean over the training rows, exact. ``additive``: against
        nothing known, exact. ``sampled Shapley``: the same, averaged over random orders.
    scale
        What is added up: log-odds, raw score (whose softmax gives probabilities), or value.
    base
        What a row of no contributions gets, (outputs,).
    values
        (rows, outputs, features); with the base they sum to the raw score. There is one output,
        or one for each of more than two classes.
    """

    method: str
    scale: str
    base: Floats
    values: Floats

    @property
    def raw(self) -> Floats:
        """The raw score, (rows, outputs)."""
        found: Floats = self.base + self.values.sum(axis=2)
        return found


def is_exact(bundle: Bundle) -> bool:
    """Whether contributions are worked out, not sampled."""
    return _trees(bundle) or _additive(bundle)


def contributions(
    bundle: Bundle, X: Floats, *, orders: int, seed: int | Sequence[int]
) -> Contributions:
    """Explain rows of the encoder's matrix, (rows, features).

    A single LightGBM model has its library's tree SHAP (S. Lundberg et al., "From local
    explanations to global understanding with explainable AI for trees", 2020). A single linear
    model adds its features up. All others, and what several members say together, are explained
    by ``orders`` random orders of the features.
    """
    scale = _SCALES[bundle.task]
    if _trees(bundle):
        from mlops_cli.models.families.lightgbm_capi import BoosterPredictor

        (text,) = bundle.members[0].fitted.to_files().values()
        found = BoosterPredictor(text.decode()).contributions(X)
        base = found[0, :, -1] if len(found) else np.zeros(found.shape[1])
        return Contributions("tree SHAP", scale, base, bundle.encoder.by_feature(found[:, :, :-1]))
    additive = _additive(bundle)
    base, values = shapley_values(
        lambda matrix: raw_score(bundle.predict_matrix(matrix)),
        X,
        orders=1 if additive else orders,
        seed=seed,
    )
    method = "additive" if additive else "sampled Shapley"
    return Contributions(method, scale, base, bundle.encoder.by_feature(values))


def mean_contributions(
    bundle: Bundle, frame: pl.DataFrame, *, rows: int, most: int, seed: Sequence[int]
) -> dict[str, Any]:
    """Mean absolute contribution by feature, over drawn rows (and classes), as a report has it.

    Parameters
    ----------
    frame
        Rows with the features as columns.
    rows
        How many are drawn; fewer where contributions have to be sampled.
    most
        So many features are given, the largest.
    """
    features = list(bundle.encoder.kinds)
    rows = min(rows, len(frame))
    if not is_exact(bundle):
        rows = min(rows, max(1, _CALLS // (2 * _ORDERS * (len(features) + 1))))
    drawn = np.random.default_rng(seed).choice(len(frame), rows, replace=False)
    X = bundle.encoder.transform(frame[np.sort(drawn)])
    found = contributions(bundle, X, orders=_ORDERS, seed=seed)
    mean = np.abs(found.values).mean(axis=(0, 1)).tolist() if rows else []
    ranked = largest(dict(zip(features, mean, strict=False)), most)
    return {
        "method": found.method,
        "scale": found.scale,
        "rows": rows,
        "base": [round(float(b), 6) + 0.0 for b in found.base],
        "mean": {name: round(value, 6) + 0.0 for name, value in ranked.items()},
    }


def _trees(bundle: Bundle) -> bool:
    return _alone(bundle, "lightgbm")


def _additive(bundle: Bundle) -> bool:
    return _alone(bundle, "linear")


def _alone(bundle: Bundle, family: str) -> bool:
    # A calibrator bends the scale, and a mean of probabilities has no raw score of its own.
    return [m.family for m in bundle.members] == [family] and bundle.calibrator is None
