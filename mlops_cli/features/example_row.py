"""A made-up row that a caller could send: no row of the data, and nothing that few rows have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

__all__ = ["SHARED", "example_row"]

SHARED = 10
"""A value stands in the example as it is if at least so many rows have it."""
_SHARE = 100
"""And one in so many rows."""
_COLUMNS = 100
_TEXT = "text"
_PERIODS = ("1h", "1d", "1mo", "1y")


def example_row(rows: pl.LazyFrame, columns: Sequence[str]) -> dict[str, Any] | None:
    """Medians of numbers, the most frequent texts, and times of a whole hour, day or month.

    A number that few rows have is rounded to two digits; instead of a text that few rows have
    stands ``text``.

    Returns
    -------
    dict or None
        Column -> value, as JSON has it; None where there are no rows.
    """
    total = int(rows.select(pl.len()).collect().item())
    if not total:
        return None
    least = max(SHARED, total // _SHARE)
    # Some at a time: one by one each read begins anew, and all together take memory.
    return {
        column.name: _of(column, column.dtype, least)
        for start in range(0, len(columns), _COLUMNS)
        for column in rows.select(columns[start : start + _COLUMNS]).collect()
    }


def _of(column: pl.Series, dtype: pl.DataType, least: int) -> Any:
    values = column.drop_nulls()
    if not len(values):
        return None
    if dtype.is_numeric():
        return _number(values, least)
    if dtype == pl.Boolean:
        return bool(values.mean() > 0.5)  # type: ignore[operator]  # noqa: PLR2004
    if dtype == pl.String:
        return _frequent(values, least)
    if dtype in (pl.Date, pl.Datetime):
        return _moment(values, dtype, least)
    return None


def _number(values: pl.Series, least: int) -> int | float:
    median = values.cast(pl.Float64).quantile(0.5, "nearest")
    if median is None or int((values.cast(pl.Float64) == median).sum()) >= least:
        return _plain(median or 0.0, values.dtype)
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    rounded = [float(f"{median:.{digits}g}") for digits in range(2, 5)]
    # Near the largest float, rounding leads beyond it.
    rounded = [value for value in rounded if math.isfinite(value)] or [0.0]
    inside = next((value for value in rounded if low <= value <= high), rounded[0])
    return _plain(inside, values.dtype)


def _plain(value: float, dtype: pl.DataType) -> int | float:
    return round(value) if dtype.is_integer() else value


def _frequent(values: pl.Series, least: int) -> str:
    # The column's own name may be any, also that of the counts.
    counts = values.alias("value").value_counts(name="n")
    counts = counts.sort(["n", "value"], descending=[True, False])
    value, count = counts.row(0)
    # One person may have many rows: what looks like an address or a number of theirs is left out.
    personal = "@" in value or sum(c.isdigit() for c in value) > 5  # noqa: PLR2004
    return _TEXT if count < least or personal else str(value)


def _moment(values: pl.Series, dtype: pl.DataType, least: int) -> str:
    """The newest whole hour, day, month or year that enough rows share."""
    for period in _PERIODS[dtype == pl.Date :]:
        counts = values.alias("value").dt.truncate(period).value_counts(name="n")
        shared = counts.filter(pl.col("n") >= least)["value"]
        if len(shared):
            return _written(shared.max())
    return _written(values.dt.truncate(_PERIODS[-1]).max())


def _written(moment: Any) -> str:
    text = str(moment.isoformat())
    return text.replace("+00:00", "Z")
