"""Folds of the search: cross-validation over train and validation rows, or one hold-out fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mlops_cli.metrics.weighted import Truth

    Ids = npt.NDArray[np.int64]

__all__ = ["Fold", "cross_validation", "fold_positions", "hold_out", "strata"]

_QUANTILES = 10
"""Number of quantiles by which folds of a regression are stratified."""


@dataclass(frozen=True)
class Fold:
    """Rows to fit on and rows to score, as positions (n,) or a slice of the matrix."""

    fit_rows: Ids | slice
    score_rows: Ids | slice


def hold_out(rows: int, validation: int) -> list[Fold]:
    """Make one fold: fit on the first rows, score on the ``validation`` rows that follow."""
    return [Fold(slice(0, rows), slice(rows, rows + validation))]


def cross_validation(
    units: Ids, classes: Ids | None, folds: int, seed: int, *, grouped: bool
) -> list[Fold]:
    """Assign rows to folds; each fold is scored once, and fitted on the others.

    Parameters
    ----------
    units
        Unit of each row, (n,), numbered from 0; rows of a unit stay in one fold.
    classes
        Class of each row, (n,), by which folds are stratified.
    folds
        Number of folds; at most the number of units.
    seed
        Random seed of the assignment.
    grouped
        Whether units are large and differ in size. Then folds are balanced by rows, not classes.
    """
    count = int(units.max()) + 1
    folds = max(2, min(folds, count))
    order = np.random.default_rng(seed).permutation(count)
    fold_of_unit = np.empty(count, dtype=np.int64)
    if grouped:
        sizes = np.bincount(units, minlength=count)
        fold_sizes = np.zeros(folds, dtype=np.int64)
        for unit in order[np.argsort(-sizes[order], kind="stable")]:
            fold_of_unit[unit] = fold_sizes.argmin()
            fold_sizes[fold_of_unit[unit]] += sizes[unit]
    else:
        if classes is not None:
            class_of_unit = np.zeros(count, dtype=np.int64)
            class_of_unit[units[::-1]] = classes[::-1]
            order = order[np.argsort(class_of_unit[order], kind="stable")]
        fold_of_unit[order] = np.arange(count) % folds
    fold_of_row = fold_of_unit[units]
    masks = [(fold_of_row == fold) for fold in range(folds)]
    return [
        Fold(np.flatnonzero(~is_scored), np.flatnonzero(is_scored))
        for is_scored in masks
        if is_scored.any()
    ]


def strata(y: Truth, classes: int) -> Ids:
    """Compute the strata of folds, (n,): class codes, or quantiles of a regression's target."""
    if classes:
        return y.astype(np.int64)
    ranks = np.argsort(np.argsort(y, kind="stable"), kind="stable")
    return ranks * _QUANTILES // max(1, len(y))


def fold_positions(folds: Sequence[Fold]) -> tuple[Ids | slice, ...]:
    """Give the positions of each fold's rows among all scored rows."""
    return (slice(None),) if len(folds) == 1 else tuple(fold.score_rows for fold in folds)
