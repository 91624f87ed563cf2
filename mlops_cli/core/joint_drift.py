"""Drift of the joint distribution: a model that tries to tell a window's rows from the reference's.

If it can, then columns that look as ever, each by itself, no longer go together as they did. The
model (a small LightGBM) is trained on one half of the rows and judged on the other, both ways, so
that its ROC AUC has a known law while there is no drift: that of the rank-sum statistic of Mann and
Whitney (1947), mean a half. It needs no more of the training data than the profile's sample of
rows, as codes of one byte a cell.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.core.coding import MISSING
from mlops_cli.core.dependence import Dependence, clustered
from mlops_cli.core.drift_checks import Candidate

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.core.drift_report import DriftRules
    from mlops_cli.core.profiles import Profile

__all__ = ["joint_drift"]

_ROUNDS = 60
_SHOWN = 4
_LEAST = 50
_SETTINGS = {
    "objective": "binary",
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "learning_rate": 0.1,
    "feature_fraction": 0.8,
    "cat_smooth": 20.0,
    "max_bin": 255,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def joint_drift(
    reference: Profile, window: Profile, names: list[str], rules: DriftRules, *, seed: int
) -> Candidate | None:
    """Whether some columns of a window go together as in the reference; None: it can't be said.

    Parameters
    ----------
    names
        The columns to look at; those that drift by themselves would only hide the others.
    rules
        What counts.
    seed
        Of the halves and of the model.
    """
    places = [list(reference.columns).index(name) for name in names]
    sides = [p.sample.codes[:, places] for p in (reference, window)]
    if len(names) < 2 or min(map(len, sides)) < _LEAST:  # noqa: PLR2004
        return None
    X = np.concatenate(sides).astype(np.float64)
    X[X == MISSING] = np.nan
    y = np.repeat([0, 1], [len(side) for side in sides])
    categorical = [
        i for i, name in enumerate(names) if reference.columns[name].coding.kind != "number"
    ]
    auc, gains = _told_apart(X, y, categorical, seed)
    m, n = (
        min(len(side), worth)
        for side, worth in zip(sides, _worth(reference, window, names), strict=True)
    )
    # The variance of the statistic without drift, at effective numbers of rows.
    deviation = math.sqrt((m + n + 1) / (12 * m * n))
    p_value = math.erfc((auc - 0.5) / deviation / math.sqrt(2)) / 2
    ranked = [names[i] for i in np.argsort(-gains, kind="stable")[:_SHOWN] if gains[i] > 0]
    told = ", ".join(map(repr, ranked))
    said = (
        "columns that look as ever each by itself no longer go together as in the reference: a "
        f"model tells the window's rows by ROC AUC {auc:.3f}, mostly by {told}"
    )
    details: dict[str, Any] = {"columns": ranked, "rows": [len(side) for side in sides]}
    return Candidate(
        "joint", None, "ROC AUC", auc, rules.auc, p_value, auc >= rules.auc, said, details=details
    )


def _told_apart(
    X: npt.NDArray[np.float64], y: npt.NDArray[np.int64], categorical: list[int], seed: int
) -> tuple[float, npt.NDArray[np.float64]]:
    """Mean AUC of two models, each on the half that it has not seen, and the gain by column."""
    import lightgbm

    from mlops_cli.core.rank_metrics import roc_auc

    half = np.random.default_rng(seed).permutation(len(y)) % 2
    aucs, gains = [], np.zeros(X.shape[1])
    for out in (0, 1):
        rows = half != out
        data = lightgbm.Dataset(
            X[rows], y[rows], categorical_feature=categorical, params={"verbosity": -1}
        )
        model = lightgbm.train({**_SETTINGS, "seed": seed % 2**31}, data, _ROUNDS)
        p = np.asarray(model.predict(X[~rows], num_threads=1))
        area = roc_auc(y[~rows], np.column_stack([1 - p, p]))
        aucs.append(area(np.ones(len(p))))
        gains += model.feature_importance("gain")
    return float(np.mean(aucs)), gains


def _worth(reference: Profile, window: Profile, names: list[str]) -> tuple[float, float]:
    """Effective rows of both, by the column whose rows hang together most."""
    m, n = float(reference.rows), float(window.rows)
    for name in names:
        depends = reference.dependence.get(name, Dependence())
        ordered = reference.columns[name].coding.kind == "number"
        own = clustered(window.sample.column(name), window.rows, ordered=ordered)
        m = min(m, depends.effective(reference.rows))
        n = min(n, depends.effective(window.rows), window.rows / own)
    return m, n
