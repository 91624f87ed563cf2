"""SHAP values of a bundle's raw score: tree SHAP, additive, or sampled Shapley values."""

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
"""Random orders of the features for a mean of sampled contributions."""
_MAX_CALLS = 50_000
"""Maximum rows that are predicted for such a mean."""

_SCALES = {"binary": "log-odds", "multiclass": "raw score", "regression": "value"}


@dataclass(frozen=True)
class Contributions:
    """SHAP values of some rows.

    Attributes
    ----------
    method
        ``tree SHAP``: exact, relative to the mean over the training rows. ``additive``: exact,
        relative to a row whose features are all missing. ``sampled Shapley``: relative to the
        same row, averaged over random orders of the features.
    scale
        Unit of the values: log-odds, raw score (its softmax gives probabilities), or value.
    base
        Raw score of a row without contributions, (outputs,).
    values
        (rows, outputs, features); with the base they sum to the raw score. There is one output;
        with more than two classes, one for each class.
    """

    method: str
    scale: str
    base: Floats
    values: Floats

    @property
    def raw_scores(self) -> Floats:
        """The raw score, (rows, outputs)."""
        raw_scores: Floats = self.base + self.values.sum(axis=2)
        return raw_scores


def is_exact(bundle: Bundle) -> bool:
    """Whether contributions are computed exactly, not sampled."""
    return _is_single_tree_model(bundle) or _is_single_linear_model(bundle)


def contributions(
    bundle: Bundle, X: Floats, *, orders: int, seed: int | Sequence[int]
) -> Contributions:
    """Compute SHAP values for rows of the encoder's matrix, (rows, features).

    A single LightGBM model is explained by LightGBM's own tree SHAP (S. Lundberg et al., "From
    local explanations to global understanding with explainable AI for trees", 2020). A single
    linear model is additive, so one order of the features is exact. All other bundles, ensembles
    among them, are explained by ``orders`` random orders of the features.
    """
    scale = _SCALES[bundle.task]
    if _is_single_tree_model(bundle):
        from mlops_cli.models.families.lightgbm_capi import BoosterPredictor

        (model_text,) = bundle.members[0].fitted.to_files().values()
        tree_shap = BoosterPredictor(model_text.decode()).contributions(X)
        base = tree_shap[0, :, -1] if len(tree_shap) else np.zeros(tree_shap.shape[1])
        return Contributions(
            "tree SHAP", scale, base, bundle.encoder.sum_by_feature(tree_shap[:, :, :-1])
        )
    additive = _is_single_linear_model(bundle)
    base, values = shapley_values(
        lambda matrix: raw_score(bundle.predict_matrix(matrix)),
        X,
        orders=1 if additive else orders,
        seed=seed,
    )
    method = "additive" if additive else "sampled Shapley"
    return Contributions(method, scale, base, bundle.encoder.sum_by_feature(values))


def mean_contributions(
    bundle: Bundle, frame: pl.DataFrame, *, rows: int, max_features: int, seed: Sequence[int]
) -> dict[str, Any]:
    """Compute mean absolute contributions by feature, over a sample of rows (and all classes).

    Parameters
    ----------
    frame
        Rows with the features as columns.
    rows
        Sample size; it is smaller where contributions have to be sampled.
    max_features
        Maximum features in the result, those with the largest contributions.
    """
    features = list(bundle.encoder.kinds)
    rows = min(rows, len(frame))
    if not is_exact(bundle):
        rows = min(rows, max(1, _MAX_CALLS // (2 * _ORDERS * (len(features) + 1))))
    sample = np.random.default_rng(seed).choice(len(frame), rows, replace=False)
    X = bundle.encoder.transform(frame[np.sort(sample)])
    explanation = contributions(bundle, X, orders=_ORDERS, seed=seed)
    mean = np.abs(explanation.values).mean(axis=(0, 1)).tolist() if rows else []
    ranked = largest(dict(zip(features, mean, strict=False)), max_features)
    return {
        "method": explanation.method,
        "scale": explanation.scale,
        "rows": rows,
        "base": [round(float(b), 6) + 0.0 for b in explanation.base],
        "mean": {name: round(value, 6) + 0.0 for name, value in ranked.items()},
    }


def _is_single_tree_model(bundle: Bundle) -> bool:
    return _is_single_member(bundle, "lightgbm")


def _is_single_linear_model(bundle: Bundle) -> bool:
    return _is_single_member(bundle, "linear")


def _is_single_member(bundle: Bundle, family: str) -> bool:
    # A calibrator changes the scale, and an ensemble's mean of probabilities has no raw score.
    return [m.family for m in bundle.members] == [family] and bundle.calibrator is None
