"""Multivariate drift: a domain classifier that separates a window's rows from the reference's.

If it can, columns that look unchanged one by one no longer relate to each other as before. The
classifier (a small LightGBM) is trained on one half of the rows and scored on the other, both ways.
So without drift its ROC AUC has a known distribution, with mean 0.5: that of the rank-sum statistic
of Mann and Whitney (1947). Of the training data it needs only the profile's sample of rows, as
codes of one byte a cell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlops_cli.drift.binning import MISSING
from mlops_cli.drift.candidates import Candidate
from mlops_cli.drift.effective_sample_size import DesignEffect, cluster_design_effect
from mlops_cli.models.families.lightgbm_capi import package

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.drift.binning import Binning
    from mlops_cli.drift.profile import Profile
    from mlops_cli.drift.report import DriftRules

__all__ = ["joint_drift"]

_ROUNDS = 60
_SHOWN = 4
_MIN_ROWS = 50
_MIN_WORTH = 0.2
"""Minimum effective rows of a column, relative to the column with most; others are left out."""
_MAX_CATEGORIES = 5
"""Maximum categories of a column that are tried in pairs."""
_MAX_LEFT = 0.25
"""Maximum share of the AUC above 0.5 that may remain after two categories are exchanged back."""
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
    """Test for multivariate drift with a domain classifier; None if there is too little data.

    Parameters
    ----------
    names
        The columns to test; columns that drift by themselves would hide the others.
    rules
        Thresholds of drift.
    seed
        Seed of the halves and of the classifier.
    """
    effective_rows = _effective_rows(reference, window, names)
    names = list(effective_rows)
    positions = [list(reference.columns).index(name) for name in names]
    sides = [p.sample.codes[:, positions] for p in (reference, window)]
    if len(names) < 2 or min(map(len, sides)) < _MIN_ROWS:  # noqa: PLR2004
        return None
    X = np.concatenate(sides).astype(np.float64)
    X[X == MISSING] = np.nan
    y = np.repeat([0, 1], [len(side) for side in sides])
    binnings = [reference.columns[name].binning for name in names]
    categorical = [i for i, binning in enumerate(binnings) if binning.kind != "number"]
    classifier = _Classifier.train(X, y, categorical, seed)
    auc, gains = classifier.auc(X), classifier.gains
    p_value = _p_value(
        auc, *(min(len(sides[i]), *(w[i] for w in effective_rows.values())) for i in (0, 1))
    )
    ranked = [names[i] for i in np.argsort(-gains, kind="stable")[:_SHOWN] if gains[i] > 0]
    details = {"columns": ranked, "rows": [len(side) for side in sides]}
    sentence = (
        "columns have another relation than in the reference, although each one looks unchanged: a "
        f"model separates the window's rows from it with ROC AUC {auc:.3f}, mostly by "
        f"{', '.join(map(repr, ranked))}"
    )
    large = auc >= rules.auc
    joint = Candidate(
        "joint", None, "ROC AUC", auc, rules.auc, p_value, large, sentence, details=details
    )
    if not large or p_value > rules.alpha:
        return joint
    swap_columns = [i for i in categorical if names[i] in ranked and binnings[i].complete]
    exchange = classifier.find_exchange(X, swap_columns)
    if exchange is None:
        return joint
    return _describe_swap(joint, names[exchange.column], binnings[exchange.column], exchange)


def _p_value(auc: float, m: float, n: float) -> float:
    """P-value of the AUC without drift, for effective numbers of rows."""
    deviation = math.sqrt((m + n + 1) / (12 * m * n))
    return math.erfc((auc - 0.5) / deviation / math.sqrt(2)) / 2


def _describe_swap(
    joint: Candidate, column: str, binning: Binning, exchange: _Exchange
) -> Candidate:
    """Describe joint drift as a swap of two categories."""
    first, second = binning.label(exchange.first), binning.label(exchange.second)
    return replace(
        joint,
        kind="swap",
        column=column,
        sentence=f"{first!r} and {second!r} have changed places in {column!r}: each is as frequent "
        "as ever, but goes with what the other one went with in the reference",
        details={**joint.details, "swapped": [first, second], "left": exchange.remaining_auc},
    )


class _Exchange(NamedTuple):
    """Two codes of a column (by position), and the AUC that remains if they are exchanged."""

    column: int
    first: int
    second: int
    remaining_auc: float


@dataclass(frozen=True)
class _Classifier:
    """Two classifiers of the window's rows (1) and the reference's (0), one for each half."""

    models: tuple[Any, Any]
    y: npt.NDArray[np.int64]
    half: npt.NDArray[np.int64]

    @classmethod
    def train(
        cls, X: npt.NDArray[np.float64], y: npt.NDArray[np.int64], categorical: list[int], seed: int
    ) -> _Classifier:
        lightgbm = package()
        half = np.random.default_rng(seed).permutation(len(y)) % 2
        models = []
        for held_out in (0, 1):
            rows = half != held_out
            data = lightgbm.Dataset(
                X[rows], y[rows], categorical_feature=categorical, params={"verbosity": -1}
            )
            models.append(lightgbm.train({**_SETTINGS, "seed": seed % 2**31}, data, _ROUNDS))
        return cls((models[0], models[1]), y, half)

    @property
    def gains(self) -> npt.NDArray[np.float64]:
        """Total gain of each column."""
        total: npt.NDArray[np.float64] = sum(m.feature_importance("gain") for m in self.models)
        return total

    def auc(self, X: npt.NDArray[np.float64]) -> float:
        """Mean AUC of the models, each on the half that it wasn't trained on."""
        from mlops_cli.metrics.ranking import roc_auc

        areas = []
        for held_out, model in enumerate(self.models):
            rows = self.half == held_out
            p = np.asarray(model.predict(X[rows], num_threads=1))
            area = roc_auc(self.y[rows], np.column_stack([1 - p, p]))
            areas.append(area(np.ones(len(p))))
        return float(np.mean(areas))

    def find_exchange(self, X: npt.NDArray[np.float64], columns: list[int]) -> _Exchange | None:
        """Find the exchange after which the window looks most like the reference, if one does."""
        best: _Exchange | None = None
        full_auc = self.auc(X)
        for position in columns:
            original = X[:, position].copy()
            all_codes, counts = np.unique(
                original[(self.y == 1) & ~np.isnan(original)], return_counts=True
            )
            codes = all_codes[np.argsort(-counts, kind="stable")][:_MAX_CATEGORIES]
            for i, j in combinations(codes.tolist(), 2):
                for code, other in ((i, j), (j, i)):
                    X[(self.y == 1) & (original == code), position] = other
                left = self.auc(X)
                X[:, position] = original
                if left - 0.5 < min(
                    _MAX_LEFT * (full_auc - 0.5), best.remaining_auc - 0.5 if best else 1.0
                ):
                    best = _Exchange(position, int(i), int(j), left)
        return best


def _effective_rows(
    reference: Profile, window: Profile, names: list[str]
) -> dict[str, tuple[float, float]]:
    """Effective rows of the reference and of the window by column, without the slowest columns.

    The hour's weather identifies the hour. With such a column the rows would count for so few that
    the other columns couldn't show anything.
    """
    rows = {}
    for name in names:
        design_effect = reference.design_effects.get(name, DesignEffect())
        ordered = reference.columns[name].binning.kind == "number"
        own_effect = cluster_design_effect(
            window.sample.column_codes(name), window.rows, ordered=ordered
        )
        n = min(design_effect.effective_rows(window.rows), window.rows / own_effect)
        rows[name] = (design_effect.effective_rows(reference.rows), n)
    most = max((n for _, n in rows.values()), default=0.0)
    return {name: pair for name, pair in rows.items() if pair[1] >= _MIN_WORTH * most}
