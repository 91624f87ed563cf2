"""The aggregates of a window from prefix sums that are kept by key, as `core.aggregates` has them.

For one row in Python's numbers, for many in NumPy's: the same operations, so the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.features.aggregates import EXTREMES, SQUARE_SCALE, SUM_SCALE, Aggregate
from mlops_cli.online.growable_array import GrowableArray, Places

__all__ = ["One", "Several", "aggregate_row", "aggregate_rows"]

One = Callable[[Sequence[Any], int, int], Any]
"""Columns (see ``Aggregate.running``), the first event and the end of events -> the aggregate."""
Several = Callable[[Sequence[GrowableArray], Places, Places], npt.NDArray[Any]]
"""The same for many rows; NaN where there is no value."""

_GATHERED = 1_000_000
"""Values of all windows together up to which they are copied beside each other."""


def aggregate_row(aggregate: Aggregate, place: int) -> One:
    """A function for one row; the aggregate's columns begin at ``place``."""
    if aggregate.function in EXTREMES:
        best: Callable[..., Any] = min if aggregate.function == "min" else max

        def extreme(columns: Sequence[Any], first: int, end: int) -> Any:
            return best((v for v in columns[place][first:end] if v == v), default=None)  # noqa: PLR0124

        return extreme

    def count(columns: Sequence[Any], first: int, end: int) -> int:
        running = columns[place]
        return int(running[end] - running[first])

    def total(columns: Sequence[Any], first: int, end: int) -> float:
        running = columns[place + 1]
        return float(running[end] - running[first]) / SUM_SCALE

    def mean(columns: Sequence[Any], first: int, end: int) -> float | None:
        running = columns[place]
        n = running[end] - running[first]
        if not n:
            return None
        running = columns[place + 1]
        return float(running[end] - running[first]) / SUM_SCALE / n  # type: ignore[no-any-return]

    def std(columns: Sequence[Any], first: int, end: int) -> float | None:
        n, fixed, squared = (c[end] - c[first] for c in columns[place : place + 3])
        if n < 2:  # noqa: PLR2004 - one value has no spread
            return None
        mean = float(fixed) / SQUARE_SCALE
        squares = float(squared) / (SQUARE_SCALE * SQUARE_SCALE)
        return sqrt(max((squares - mean * mean / n) / (n - 1), 0.0))

    return {"count": count, "sum": total, "mean": mean, "std": std}[aggregate.function]


def aggregate_rows(aggregate: Aggregate, place: int) -> Several:
    """A function for many rows; the aggregate's columns begin at ``place``."""
    if aggregate.function in EXTREMES:
        best = np.fmin if aggregate.function == "min" else np.fmax
        return lambda columns, first, end: _extremes(columns[place], first, end, best)

    def within(column: GrowableArray, first: Places, end: Places) -> npt.NDArray[Any]:
        return np.asarray(column.at(end) - column.at(first))

    def counts(columns: Sequence[GrowableArray], first: Places, end: Places) -> Places:
        return within(columns[place], first, end)

    def totals(
        columns: Sequence[GrowableArray], first: Places, end: Places
    ) -> npt.NDArray[np.float64]:
        found = within(columns[place + 1], first, end).astype(np.float64)
        return np.asarray(found / SUM_SCALE)

    def means(
        columns: Sequence[GrowableArray], first: Places, end: Places
    ) -> npt.NDArray[np.float64]:
        # Nothing by nothing is NaN.
        return np.asarray(totals(columns, first, end) / counts(columns, first, end))

    def stds(
        columns: Sequence[GrowableArray], first: Places, end: Places
    ) -> npt.NDArray[np.float64]:
        n = counts(columns, first, end)
        mean = within(columns[place + 1], first, end).astype(np.float64) / SQUARE_SCALE
        squares = within(columns[place + 2], first, end).astype(np.float64)
        squares /= SQUARE_SCALE * SQUARE_SCALE
        variance = (squares - mean * mean / n) / (n - 1)
        return np.where(n > 1, np.sqrt(np.maximum(variance, 0.0)), nan)

    return {"count": counts, "sum": totals, "mean": means, "std": stds}[aggregate.function]


def _extremes(
    column: GrowableArray, first: Places, end: Places, best: np.ufunc
) -> npt.NDArray[np.float64]:
    """The least or greatest number of each stretch that isn't NaN; NaN if there is none."""
    sizes = end - first
    found = np.full(len(first), nan)
    some = sizes > 0
    if int(sizes.sum()) > _GATHERED:
        for i in np.flatnonzero(some).tolist():
            found[i] = best.reduce(column.part(int(first[i]), int(end[i])))
    elif some.any():
        sizes, first = sizes[some], first[some]
        begins = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(first - begins, sizes)
        found[some] = best.reduceat(column.at(places), begins)
    return found
