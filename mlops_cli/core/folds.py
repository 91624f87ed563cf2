"""Which known rows teach and which decide in the search: folds of a cross-validation, or one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mlops_cli.core.metrics import Floats, Metric, Truth

    Ids = npt.NDArray[np.int64]

__all__ = ["Fold", "Judge", "cross_validation", "hold_out", "parts_of", "strata"]

_STRATA = 10
"""The values of a regression's target are spread over the folds by so many quantiles."""


@dataclass(frozen=True)
class Fold:
    """Rows that teach and rows that decide, as positions (n,) or a slice of the matrix."""

    fit: Ids | slice
    score: Ids | slice


@dataclass(frozen=True)
class Judge:
    """The metric of a prediction for all deciding rows: the mean over the folds' parts.

    Parameters
    ----------
    metric
        By what to judge.
    y
        Truth of the deciding rows, (n,).
    parts
        The positions in ``y`` of each fold's rows.
    weight
        How much each row counts, (n,); by default once.
    """

    metric: Metric
    y: Truth
    parts: tuple[Ids | slice, ...]
    weight: Floats | None = None

    def __call__(self, prediction: Floats) -> float:
        """The metric's value, NaN where it isn't defined at all."""
        values = [self._of(prediction, part) for part in self.parts]
        if len(values) > 1 and not np.isfinite(values).all():
            # A fold may lack a class; together they have all.
            return self._of(prediction, slice(None))
        return float(np.mean(values))

    def gain(self, prediction: Floats) -> float:
        """The value with the sign that makes larger better; the worst of all where undefined."""
        value = self(prediction)
        if not np.isfinite(value):
            return -np.inf
        return value if self.metric.maximise else -value

    def _of(self, prediction: Floats, part: Ids | slice) -> float:
        weight = None if self.weight is None else self.weight[part]
        return float(self.metric(self.y[part], prediction[part], weight))


def hold_out(rows: int, validation: int) -> list[Fold]:
    """One fold: the first rows teach, the ``validation`` rows that follow decide."""
    return [Fold(slice(0, rows), slice(rows, rows + validation))]


def cross_validation(
    units: Ids, classes: Ids | None, folds: int, seed: int, *, grouped: bool
) -> list[Fold]:
    """Deal rows into folds; each decides once, taught by the others.

    Parameters
    ----------
    units
        Rows of the same number stay together, (n,), numbered from 0.
    classes
        Class of each row, (n,): each fold gets its share of every class.
    folds
        How many; there are no more than units.
    seed
        Of the dealing.
    grouped
        Units are large and of unlike sizes: folds are made alike in rows, not in classes.
    """
    count = int(units.max()) + 1
    folds = max(2, min(folds, count))
    order = np.random.default_rng(seed).permutation(count)
    where = np.empty(count, dtype=np.int64)
    if grouped:
        sizes = np.bincount(units, minlength=count)
        filled = np.zeros(folds, dtype=np.int64)
        for unit in order[np.argsort(-sizes[order], kind="stable")]:
            where[unit] = filled.argmin()
            filled[where[unit]] += sizes[unit]
    else:
        if classes is not None:
            first = np.zeros(count, dtype=np.int64)
            first[units[::-1]] = classes[::-1]
            order = order[np.argsort(first[order], kind="stable")]
        where[order] = np.arange(count) % folds
    codes = where[units]
    parts = [(codes == fold) for fold in range(folds)]
    return [Fold(np.flatnonzero(~part), np.flatnonzero(part)) for part in parts if part.any()]


def strata(y: Truth, classes: int) -> Ids:
    """What the folds shall have equal shares of: classes, or the quantiles of values, (n,)."""
    if classes:
        return y.astype(np.int64)
    ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    return ranks * _STRATA // max(1, len(y))


def parts_of(folds: Sequence[Fold]) -> tuple[Ids | slice, ...]:
    """Each fold's place among all deciding rows."""
    return (slice(None),) if len(folds) == 1 else tuple(fold.score for fold in folds)
