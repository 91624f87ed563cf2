"""Window aggregates of request rows, from the prefix sums of each key (`features.aggregates`).

One row is computed with Python's numbers, many rows with NumPy. The operations are the same, and so
are the results, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import nan, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.features.aggregates import EXTREMES, SQUARE_SCALE, SUM_SCALE, Aggregate
from mlops_cli.online.growable_array import GrowableArray, Positions

__all__ = ["ArrayFunction", "RowFunction", "aggregate_row", "aggregate_rows"]

RowFunction = Callable[[Sequence[Any], int, int], Any]
"""Function for one row: columns (see ``Aggregate.prefix_sums``), first event, end -> value."""
ArrayFunction = Callable[[Sequence[GrowableArray], Positions, Positions], npt.NDArray[Any]]
"""Function for many rows: the same arguments as arrays -> array; NaN where there is no value."""

_GATHERED = 1_000_000
"""Limit of values, in all windows together, up to which they are copied into one array."""


def aggregate_row(aggregate: Aggregate, first_column: int) -> RowFunction:
    """Make the function for one row; the aggregate's columns begin at ``first_column``."""
    if aggregate.function in EXTREMES:
        best: Callable[..., Any] = min if aggregate.function == "min" else max

        def extreme(columns: Sequence[Any], first: int, end: int) -> Any:
            return best((v for v in columns[first_column][first:end] if v == v), default=None)  # noqa: PLR0124

        return extreme

    def count(columns: Sequence[Any], first: int, end: int) -> int:
        running = columns[first_column]
        return int(running[end] - running[first])

    def total(columns: Sequence[Any], first: int, end: int) -> float:
        running = columns[first_column + 1]
        return float(running[end] - running[first]) / SUM_SCALE

    def mean(columns: Sequence[Any], first: int, end: int) -> float | None:
        running = columns[first_column]
        n = running[end] - running[first]
        if not n:
            return None
        running = columns[first_column + 1]
        return float(running[end] - running[first]) / SUM_SCALE / n  # type: ignore[no-any-return]

    def std(columns: Sequence[Any], first: int, end: int) -> float | None:
        n, fixed, squared = (c[end] - c[first] for c in columns[first_column : first_column + 3])
        if n < 2:  # noqa: PLR2004 - one value has no standard deviation
            return None
        mean = float(fixed) / SQUARE_SCALE
        squares = float(squared) / (SQUARE_SCALE * SQUARE_SCALE)
        return sqrt(max((squares - mean * mean / n) / (n - 1), 0.0))

    return {"count": count, "sum": total, "mean": mean, "std": std}[aggregate.function]


def aggregate_rows(aggregate: Aggregate, first_column: int) -> ArrayFunction:
    """Make the function for many rows; the aggregate's columns begin at ``first_column``."""
    if aggregate.function in EXTREMES:
        best = np.fmin if aggregate.function == "min" else np.fmax
        return lambda columns, first, end: _extremes(columns[first_column], first, end, best)

    def difference(column: GrowableArray, first: Positions, end: Positions) -> npt.NDArray[Any]:
        return np.asarray(column.gather(end) - column.gather(first))

    def counts(columns: Sequence[GrowableArray], first: Positions, end: Positions) -> Positions:
        return difference(columns[first_column], first, end)

    def totals(
        columns: Sequence[GrowableArray], first: Positions, end: Positions
    ) -> npt.NDArray[np.float64]:
        sums = difference(columns[first_column + 1], first, end).astype(np.float64)
        return np.asarray(sums / SUM_SCALE)

    def means(
        columns: Sequence[GrowableArray], first: Positions, end: Positions
    ) -> npt.NDArray[np.float64]:
        # Zero divided by zero is NaN.
        return np.asarray(totals(columns, first, end) / counts(columns, first, end))

    def stds(
        columns: Sequence[GrowableArray], first: Positions, end: Positions
    ) -> npt.NDArray[np.float64]:
        n = counts(columns, first, end)
        mean = difference(columns[first_column + 1], first, end).astype(np.float64) / SQUARE_SCALE
        squares = difference(columns[first_column + 2], first, end).astype(np.float64)
        squares /= SQUARE_SCALE * SQUARE_SCALE
        variance = (squares - mean * mean / n) / (n - 1)
        return np.where(n > 1, np.sqrt(np.maximum(variance, 0.0)), nan)

    return {"count": counts, "sum": totals, "mean": means, "std": stds}[aggregate.function]


def _extremes(
    column: GrowableArray, first: Positions, end: Positions, best: np.ufunc
) -> npt.NDArray[np.float64]:
    """Minimum or maximum of each range of events, without NaN; NaN if there is none."""
    sizes = end - first
    extremes = np.full(len(first), nan)
    has_events = sizes > 0
    if int(sizes.sum()) > _GATHERED:
        for i in np.flatnonzero(has_events).tolist():
            extremes[i] = best.reduce(column.slice(int(first[i]), int(end[i])))
    elif has_events.any():
        sizes, first = sizes[has_events], first[has_events]
        starts = np.cumsum(sizes) - sizes
        places = np.arange(sizes.sum()) + np.repeat(first - starts, sizes)
        extremes[has_events] = best.reduceat(column.gather(places), starts)
    return extremes
