"""Drift of the joint distribution: a model that tries to tell a window's rows from the reference's.

If it can, then columns that look as ever, each by itself, no longer go together as they did. The
model (a small LightGBM) is trained on one half of the rows and judged on the other, both ways, so
that its ROC AUC has a known law while there is no drift: that of the rank-sum statistic of Mann and
Whitney (1947), mean a half. It needs no more of the training data than the profile's sample of
rows, as codes of one byte a cell.
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
_LEAST = 50
_SLOWEST = 0.2
"""Columns are left out whose rows are worth less than this part of what others' are worth."""
_FREQUENT = 5
"""So many categories of a column are tried in pairs."""
_LEFT = 0.25
"""Of what the model tells, at most so much may be left when two have been exchanged back."""
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
    worth = _worth(reference, window, names)
    names = list(worth)
    places = [list(reference.columns).index(name) for name in names]
    sides = [p.sample.codes[:, places] for p in (reference, window)]
    if len(names) < 2 or min(map(len, sides)) < _LEAST:  # noqa: PLR2004
        return None
    X = np.concatenate(sides).astype(np.float64)
    X[X == MISSING] = np.nan
    y = np.repeat([0, 1], [len(side) for side in sides])
    codings = [reference.columns[name].coding for name in names]
    categorical = [i for i, coding in enumerate(codings) if coding.kind != "number"]
    classifier = _Classifier.train(X, y, categorical, seed)
    auc, gains = classifier.auc(X), classifier.gains
    p_value = _p_value(auc, *(min(len(sides[i]), *(w[i] for w in worth.values())) for i in (0, 1)))
    ranked = [names[i] for i in np.argsort(-gains, kind="stable")[:_SHOWN] if gains[i] > 0]
    details = {"columns": ranked, "rows": [len(side) for side in sides]}
    sentence = (
        "columns that look as ever each by itself no longer go together as in the reference: a "
        f"model tells the window's rows by ROC AUC {auc:.3f}, mostly by "
        f"{', '.join(map(repr, ranked))}"
    )
    large = auc >= rules.auc
    joint = Candidate(
        "joint", None, "ROC AUC", auc, rules.auc, p_value, large, sentence, details=details
    )
    if not large or p_value > rules.alpha:
        return joint
    named = [i for i in categorical if names[i] in ranked and codings[i].complete]
    exchange = classifier.exchange(X, named)
    if exchange is None:
        return joint
    return _swap(joint, names[exchange.column], codings[exchange.column], exchange)


def _p_value(auc: float, m: float, n: float) -> float:
    """How likely so large an area would be without drift, at effective numbers of rows."""
    deviation = math.sqrt((m + n + 1) / (12 * m * n))
    return math.erfc((auc - 0.5) / deviation / math.sqrt(2)) / 2


def _swap(joint: Candidate, column: str, coding: Binning, exchange: _Exchange) -> Candidate:
    """The same drift, named by the two categories that have changed places."""
    first, second = coding.label(exchange.first), coding.label(exchange.second)
    return replace(
        joint,
        kind="swap",
        column=column,
        sentence=f"{first!r} and {second!r} have changed places in {column!r}: each is as frequent "
        "as ever, but goes with what the other one went with in the reference",
        details={**joint.details, "swapped": [first, second], "left": exchange.left},
    )


class _Exchange(NamedTuple):
    """Two codes of a column (its place), and the area that is left if they are exchanged."""

    column: int
    first: int
    second: int
    left: float


@dataclass(frozen=True)
class _Classifier:
    """Two models that tell the window's rows (1) from the reference's (0), each of one half."""

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
        for out in (0, 1):
            rows = half != out
            data = lightgbm.Dataset(
                X[rows], y[rows], categorical_feature=categorical, params={"verbosity": -1}
            )
            models.append(lightgbm.train({**_SETTINGS, "seed": seed % 2**31}, data, _ROUNDS))
        return cls((models[0], models[1]), y, half)

    @property
    def gains(self) -> npt.NDArray[np.float64]:
        """What each column has contributed."""
        total: npt.NDArray[np.float64] = sum(m.feature_importance("gain") for m in self.models)
        return total

    def auc(self, X: npt.NDArray[np.float64]) -> float:
        """Mean AUC of each model on the half that it has not seen."""
        from mlops_cli.metrics.ranking import roc_auc

        areas = []
        for out, model in enumerate(self.models):
            rows = self.half == out
            p = np.asarray(model.predict(X[rows], num_threads=1))
            area = roc_auc(self.y[rows], np.column_stack([1 - p, p]))
            areas.append(area(np.ones(len(p))))
        return float(np.mean(areas))

    def exchange(self, X: npt.NDArray[np.float64], columns: list[int]) -> _Exchange | None:
        """The exchange in the window that makes its rows look like others, if one does."""
        best: _Exchange | None = None
        whole = self.auc(X)
        for place in columns:
            kept = X[:, place].copy()
            found, counts = np.unique(kept[(self.y == 1) & ~np.isnan(kept)], return_counts=True)
            codes = found[np.argsort(-counts, kind="stable")][:_FREQUENT]
            for i, j in combinations(codes.tolist(), 2):
                for code, other in ((i, j), (j, i)):
                    X[(self.y == 1) & (kept == code), place] = other
                left = self.auc(X)
                X[:, place] = kept
                if left - 0.5 < min(_LEFT * (whole - 0.5), best.left - 0.5 if best else 1.0):
                    best = _Exchange(place, int(i), int(j), left)
        return best


def _worth(reference: Profile, window: Profile, names: list[str]) -> dict[str, tuple[float, float]]:
    """Effective rows of the reference and of the window by column; without the slowest columns.

    Whoever knows the hour's weather knows the hour: with such columns the rows would count for so
    few that nothing could be told by the others.
    """
    found = {}
    for name in names:
        depends = reference.dependence.get(name, DesignEffect())
        ordered = reference.columns[name].coding.kind == "number"
        own = cluster_design_effect(window.sample.column(name), window.rows, ordered=ordered)
        n = min(depends.effective(window.rows), window.rows / own)
        found[name] = (depends.effective(reference.rows), n)
    most = max((n for _, n in found.values()), default=0.0)
    return {name: worth for name, worth in found.items() if worth[1] >= _SLOWEST * most}
