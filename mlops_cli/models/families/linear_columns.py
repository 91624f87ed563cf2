"""The columns that a linear model learns from, and how its coefficients become tables."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.additive_tables import FeatureTable
from mlops_cli.models.families.fit_request import Floats
from mlops_cli.models.families.task_info import TaskInfo

__all__ = ["LinearColumns", "TargetEncoding", "category_columns", "number_columns"]

_QUANTILES = 100
_KNOTS = 8
_SMOOTHING = 20.0
"""A category's mean counts as much as that of all after so many rows (m-estimate; Micci-Barreca
2001)."""
_FOLDS = 5
_LARGEST = 1e100
"""Of numbers beyond this, sums and squares may not fit into a float."""
_FEW_CATEGORIES = 10
"""Up to so many are one-hot in any case."""


class LinearColumns(Protocol):
    """Columns made of one feature."""

    @property
    def made(self) -> Floats:
        """Of the training rows, (n, columns)."""

    def part(self, weights: Floats) -> FeatureTable:
        """What the feature adds, from its columns' coefficients (columns, outputs)."""


@dataclass(frozen=True)
class _Number:
    """Values of the columns at knots (knots, columns), and where the feature is missing."""

    made: Floats
    knots: Floats
    at_knots: Floats
    at_missing: Floats

    def part(self, weights: Floats) -> FeatureTable:
        return FeatureTable(
            self.at_missing @ weights, knots=self.knots, values=self.at_knots @ weights
        )


@dataclass(frozen=True)
class _Category:
    """Values of the columns by code (codes + 1, columns), and where the feature is missing."""

    made: Floats
    by_code: Floats
    at_missing: Floats

    def part(self, weights: Floats) -> FeatureTable:
        return FeatureTable(self.at_missing @ weights, table=self.by_code @ weights)


def number_columns(column: Floats, scale: str) -> LinearColumns:
    """A number (n,), scaled, with a column that says where it is missing.

    Parameters
    ----------
    scale
        ``standard``: less the mean, by the standard deviation. ``quantile``: as the normal
        distribution has it at its rank. ``spline``: standard, and linear B-splines beside it.
    """
    empty = np.isnan(column)
    column = np.clip(column, -_LARGEST, _LARGEST)
    known = column[~empty]
    if not len(known):
        known = np.zeros(1)
    centre = float(np.median(known))
    filled = np.where(empty, centre, column)
    low, high = float(known.min()), float(known.max())
    mean, spread = float(filled.mean()), float(filled.std()) or 1.0
    if scale == "quantile":
        steps = np.linspace(0.0, 1.0, min(_QUANTILES, len(known)) or 1)
        knots, ranks = _distinct(np.quantile(known, steps), steps)
        at_knots = np.array([[NormalDist().inv_cdf(min(max(r, 0.005), 0.995))] for r in ranks])
    elif scale == "spline":
        knots, _ = _distinct(np.quantile(known, np.linspace(0.0, 1.0, _KNOTS)), np.zeros(_KNOTS))
        at_knots = np.column_stack([(knots - mean) / spread, np.eye(len(knots))])
    else:
        # Far outside of what was seen the line ends, so that a wild value can't decide alone.
        knots = np.unique([low - (high - low), high + (high - low)])
        at_knots = (knots[:, None] - mean) / spread
    made = np.column_stack([np.interp(filled, knots, values) for values in at_knots.T])
    at_missing = np.array([np.interp(centre, knots, values) for values in at_knots.T])
    if empty.any():
        made = np.column_stack([made, empty])
        at_knots = np.column_stack([at_knots, np.zeros(len(knots))])
        at_missing = np.append(at_missing, 1.0)
    return _Number(made, knots, at_knots, at_missing)


def _distinct(knots: Floats, ranks: Floats) -> tuple[Floats, Floats]:
    """Each knot once, with the mean of its ranks."""
    once, place = np.unique(knots, return_inverse=True)
    return once, np.bincount(place, weights=ranks) / np.bincount(place)


@dataclass(frozen=True)
class TargetEncoding:
    """What categories are replaced by: the truth as numbers (n, outputs), and each row's weight."""

    truth: Floats
    weight: Floats
    odds: bool
    """Whether the numbers are shares, whose log-odds are meant."""

    @classmethod
    def of(
        cls, y: npt.NDArray[np.int64] | Floats, weight: Floats | None, task: TaskInfo
    ) -> TargetEncoding:
        """From class codes from 0, or values."""
        counts = np.ones(len(y)) if weight is None else weight
        if not task.classes:
            return cls(y.astype(np.float64)[:, None], counts, odds=False)
        codes = y.astype(np.intp)
        truth = np.eye(int(codes.max()) + 1)[codes]
        return cls(truth[:, 1:] if truth.shape[1] == 2 else truth, counts, odds=True)  # noqa: PLR2004

    def by_code(
        self, codes: npt.NDArray[np.intp], size: int, rows: npt.NDArray[np.bool_]
    ) -> Floats:
        """Smoothed means (or their log-odds) by code (size, outputs), learnt from some rows."""
        weight, truth = self.weight[rows], self.truth[rows]
        counts = np.bincount(codes[rows], weights=weight, minlength=size)[:, None]
        sums = np.column_stack(
            [np.bincount(codes[rows], weights=weight * t, minlength=size) for t in truth.T]
        )
        prior = (weight[:, None] * truth).sum(axis=0) / max(float(weight.sum()), 1e-12)
        means = (sums + _SMOOTHING * prior) / (counts + _SMOOTHING)
        if not self.odds:
            return np.asarray(means)
        means = np.clip(means, 1e-4, 1 - 1e-4)
        return np.asarray(np.log(means / (1 - means)))


def category_columns(
    column: Floats, most: int, encoded: TargetEncoding | None, folds: npt.NDArray[np.intp]
) -> LinearColumns:
    """A category (n,): one-hot, or with ``encoded`` and many codes by its smoothed mean.

    Parameters
    ----------
    most
        One-hot: so many codes have columns of their own; rarer and unseen ones share one.
    folds
        Per row: the part of the rows that it belongs to. Its mean is learnt from the other parts:
        learnt with it, the column would give the truth of rare categories away.
    """
    empty = np.isnan(column)
    size = int(np.nanmax(column)) + 1 if not empty.all() else 0
    codes = np.where(empty, size + 1, column).astype(np.intp)
    if encoded is None or size <= _FEW_CATEGORIES:
        return _one_hot(codes, size, most)
    rows = np.ones(len(codes), dtype=bool)
    whole = encoded.by_code(codes, size + 2, rows)
    made = np.empty((len(codes), whole.shape[1]))
    for fold in range(_FOLDS):
        inside = folds == fold
        made[inside] = encoded.by_code(codes, size + 2, ~inside)[codes[inside]]
    mean, spread = made.mean(axis=0), made.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    made, whole = (made - mean) / spread, (whole - mean) / spread
    return _Category(made, whole[: size + 1], whole[size + 1])


def _one_hot(codes: npt.NDArray[np.intp], size: int, most: int) -> LinearColumns:
    counts = np.bincount(codes, minlength=size + 2)
    frequent = np.argsort(-counts[:size], kind="stable")[:most]
    place = np.full(size + 2, len(frequent))
    place[frequent] = np.arange(len(frequent))
    place[size + 1] = len(frequent) + 1
    table = np.eye(len(frequent) + 2)[place]
    return _Category(table[codes], table[: size + 1], table[size + 1])
