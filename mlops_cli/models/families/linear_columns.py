"""Design-matrix columns of a linear model, and their coefficients as additive tables."""

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
"""Number of rows at which a category's own mean and the overall mean weigh the same (m-estimate;
Micci-Barreca 2001)."""
_FOLDS = 5
_LARGEST = 1e100
"""Numbers are clipped to this, as sums and squares of larger ones may overflow a float."""
_FEW_CATEGORIES = 10
"""Up to this number of categories, a feature is always one-hot encoded."""


class LinearColumns(Protocol):
    """The columns of the design matrix for one feature."""

    @property
    def values(self) -> Floats:
        """The columns for the training rows, (n, columns)."""

    def to_table(self, weights: Floats) -> FeatureTable:
        """The feature's contribution to the score, from coefficients (columns, outputs)."""


@dataclass(frozen=True)
class _Number:
    """Values of the columns at knots (knots, columns), and for a missing value (columns,)."""

    values: Floats
    knots: Floats
    at_knots: Floats
    at_missing: Floats

    def to_table(self, weights: Floats) -> FeatureTable:
        return FeatureTable(
            self.at_missing @ weights, knots=self.knots, values=self.at_knots @ weights
        )


@dataclass(frozen=True)
class _Category:
    """Values of the columns by code (codes + 1, columns), and for a missing value (columns,)."""

    values: Floats
    by_code: Floats
    at_missing: Floats

    def to_table(self, weights: Floats) -> FeatureTable:
        return FeatureTable(self.at_missing @ weights, table=self.by_code @ weights)


def number_columns(column: Floats, scale: str) -> LinearColumns:
    """Scaled columns of a number (n,), with an indicator column if values are missing.

    Parameters
    ----------
    column
        The feature's values; NaN means missing.
    scale
        ``standard``: subtract the mean and divide by the standard deviation. ``quantile``: the
        normal quantile of the value's rank. ``spline``: as standard, plus linear B-splines.
    """
    empty = np.isnan(column)
    column = np.clip(column, -_LARGEST, _LARGEST)
    present = column[~empty]
    if not len(present):
        present = np.zeros(1)
    centre = float(np.median(present))
    filled = np.where(empty, centre, column)
    low, high = float(present.min()), float(present.max())
    mean, spread = float(filled.mean()), float(filled.std()) or 1.0
    if scale == "quantile":
        steps = np.linspace(0.0, 1.0, min(_QUANTILES, len(present)) or 1)
        knots, ranks = _distinct(np.quantile(present, steps), steps)
        at_knots = np.array([[NormalDist().inv_cdf(min(max(r, 0.005), 0.995))] for r in ranks])
    elif scale == "spline":
        knots, _ = _distinct(np.quantile(present, np.linspace(0.0, 1.0, _KNOTS)), np.zeros(_KNOTS))
        at_knots = np.column_stack([(knots - mean) / spread, np.eye(len(knots))])
    else:
        # The line is flat far outside the training range, so that an outlier can't dominate.
        knots = np.unique([low - (high - low), high + (high - low)])
        at_knots = (knots[:, None] - mean) / spread
    columns = np.column_stack([np.interp(filled, knots, values) for values in at_knots.T])
    at_missing = np.array([np.interp(centre, knots, values) for values in at_knots.T])
    if empty.any():
        columns = np.column_stack([columns, empty])
        at_knots = np.column_stack([at_knots, np.zeros(len(knots))])
        at_missing = np.append(at_missing, 1.0)
    return _Number(columns, knots, at_knots, at_missing)


def _distinct(knots: Floats, ranks: Floats) -> tuple[Floats, Floats]:
    """The distinct knots, each with the mean of its ranks."""
    distinct, index = np.unique(knots, return_inverse=True)
    return distinct, np.bincount(index, weights=ranks) / np.bincount(index)


@dataclass(frozen=True)
class TargetEncoding:
    """Target encoding of categories, from labels as numbers (n, outputs) and row weights (n,)."""

    targets: Floats
    weight: Floats
    log_odds: bool
    """Whether the numbers are class indicators, so that means are encoded as log-odds."""

    @classmethod
    def from_labels(
        cls, y: npt.NDArray[np.int64] | Floats, weight: Floats | None, task: TaskInfo
    ) -> TargetEncoding:
        """Prepare the encoding of class codes, numbered from 0, or of values."""
        counts = np.ones(len(y)) if weight is None else weight
        if not task.classes:
            return cls(y.astype(np.float64)[:, None], counts, log_odds=False)
        codes = y.astype(np.intp)
        targets = np.eye(int(codes.max()) + 1)[codes]
        return cls(targets[:, 1:] if targets.shape[1] == 2 else targets, counts, log_odds=True)  # noqa: PLR2004

    def means_by_code(
        self, codes: npt.NDArray[np.intp], size: int, rows: npt.NDArray[np.bool_]
    ) -> Floats:
        """Smoothed means (or their log-odds) by code (size, outputs), fitted on the given rows."""
        weight, targets = self.weight[rows], self.targets[rows]
        counts = np.bincount(codes[rows], weights=weight, minlength=size)[:, None]
        sums = np.column_stack(
            [np.bincount(codes[rows], weights=weight * t, minlength=size) for t in targets.T]
        )
        prior = (weight[:, None] * targets).sum(axis=0) / max(float(weight.sum()), 1e-12)
        means = (sums + _SMOOTHING * prior) / (counts + _SMOOTHING)
        if not self.log_odds:
            return np.asarray(means)
        means = np.clip(means, 1e-4, 1 - 1e-4)
        return np.asarray(np.log(means / (1 - means)))


def category_columns(
    column: Floats,
    max_categories: int,
    target_encoding: TargetEncoding | None,
    folds: npt.NDArray[np.intp],
) -> LinearColumns:
    """Columns of a category (n,): one-hot, or target-encoded if it has many codes.

    Parameters
    ----------
    column
        The feature's codes; NaN means missing.
    max_categories
        One-hot: maximum number of codes with their own column; rarer and unseen codes share one.
    target_encoding
        The target encoding; None: one-hot.
    folds
        Fold of each row, (n,). Each fold's means are computed on the other folds, as the column
        would otherwise leak the labels of rare categories.
    """
    empty = np.isnan(column)
    size = int(np.nanmax(column)) + 1 if not empty.all() else 0
    codes = np.where(empty, size + 1, column).astype(np.intp)
    if target_encoding is None or size <= _FEW_CATEGORIES:
        return _one_hot(codes, size, max_categories)
    rows = np.ones(len(codes), dtype=bool)
    by_code = target_encoding.means_by_code(codes, size + 2, rows)
    columns = np.empty((len(codes), by_code.shape[1]))
    for fold in range(_FOLDS):
        in_fold = folds == fold
        columns[in_fold] = target_encoding.means_by_code(codes, size + 2, ~in_fold)[codes[in_fold]]
    mean, spread = columns.mean(axis=0), columns.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    columns, by_code = (columns - mean) / spread, (by_code - mean) / spread
    return _Category(columns, by_code[: size + 1], by_code[size + 1])


def _one_hot(codes: npt.NDArray[np.intp], size: int, max_categories: int) -> LinearColumns:
    counts = np.bincount(codes, minlength=size + 2)
    frequent = np.argsort(-counts[:size], kind="stable")[:max_categories]
    column_of_code = np.full(size + 2, len(frequent))
    column_of_code[frequent] = np.arange(len(frequent))
    column_of_code[size + 1] = len(frequent) + 1
    table = np.eye(len(frequent) + 2)[column_of_code]
    return _Category(table[codes], table[: size + 1], table[size + 1])
