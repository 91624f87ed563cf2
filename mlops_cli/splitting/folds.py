"""Which known rows teach and which decide in the search: folds of a cross-validation, or one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mlops_cli.metrics.weighted import Truth

    Ids = npt.NDArray[np.int64]

__all__ = ["Fold", "cross_validation", "fold_parts", "hold_out", "strata"]

_STRATA = 10
"""The values of a regression's target are spread over the folds by so many quantiles."""


@dataclass(frozen=True)
class Fold:
    """Rows that teach and rows that decide, as positions (n,) or a slice of the matrix."""

    fit: Ids | slice
    score: Ids | slice


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


def fold_parts(folds: Sequence[Fold]) -> tuple[Ids | slice, ...]:
    """Each fold's place among all deciding rows."""
    return (slice(None),) if len(folds) == 1 else tuple(fold.score for fold in folds)
