"""Example row for a request: made up, without values that only few rows have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import polars as pl

__all__ = ["MIN_SHARED_ROWS", "example_row"]

MIN_SHARED_ROWS = 10
"""Minimum number of rows with a value for it to appear in the example as it is."""
_SHARE = 100
"""And at least one in so many rows must have it."""
_COLUMNS = 100
_TEXT = "text"
_PERIODS = ("1h", "1d", "1mo", "1y")


def example_row(rows: pl.LazyFrame, columns: Sequence[str]) -> dict[str, Any] | None:
    """Medians of numbers, the most frequent texts, and times of a whole hour, day or month.

    A number that few rows have is rounded to two digits; a text that few rows have is replaced by
    ``text``.

    Returns
    -------
    dict or None
        Column -> JSON value; None if there are no rows.
    """
    total = int(rows.select(pl.len()).collect().item())
    if not total:
        return None
    min_rows = max(MIN_SHARED_ROWS, total // _SHARE)
    # In groups: single columns would each read the file again, and all together need memory.
    return {
        column.name: _example_value(column, column.dtype, min_rows)
        for start in range(0, len(columns), _COLUMNS)
        for column in rows.select(columns[start : start + _COLUMNS]).collect()
    }


def _example_value(column: pl.Series, dtype: pl.DataType, min_rows: int) -> Any:
    values = column.drop_nulls()
    if not len(values):
        return None
    if dtype.is_numeric():
        return _example_number(values, min_rows)
    if dtype == pl.Boolean:
        return bool(values.mean() > 0.5)  # type: ignore[operator]  # noqa: PLR2004
    if dtype == pl.String:
        return _example_text(values, min_rows)
    if dtype in (pl.Date, pl.Datetime):
        return _example_moment(values, dtype, min_rows)
    return None


def _example_number(values: pl.Series, min_rows: int) -> int | float:
    median = values.cast(pl.Float64).quantile(0.5, "nearest")
    if median is None or int((values.cast(pl.Float64) == median).sum()) >= min_rows:
        return _to_type(median or 0.0, values.dtype)
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    rounded = [float(f"{median:.{digits}g}") for digits in range(2, 5)]
    # Near the largest float, rounding may give infinity.
    rounded = [value for value in rounded if math.isfinite(value)] or [0.0]
    in_range = next((value for value in rounded if low <= value <= high), rounded[0])
    return _to_type(in_range, values.dtype)


def _to_type(value: float, dtype: pl.DataType) -> int | float:
    return round(value) if dtype.is_integer() else value


def _example_text(values: pl.Series, min_rows: int) -> str:
    # Renamed, because the column may have the name of the counts.
    counts = values.alias("value").value_counts(name="n")
    counts = counts.sort(["n", "value"], descending=[True, False])
    value, count = counts.row(0)
    # One person may have many rows: a text like an e-mail address or a phone number is left out.
    personal = "@" in value or sum(c.isdigit() for c in value) > 5  # noqa: PLR2004
    return _TEXT if count < min_rows or personal else str(value)


def _example_moment(values: pl.Series, dtype: pl.DataType, min_rows: int) -> str:
    """The newest whole hour, day, month or year that enough rows share."""
    for period in _PERIODS[dtype == pl.Date :]:
        counts = values.alias("value").dt.truncate(period).value_counts(name="n")
        shared = counts.filter(pl.col("n") >= min_rows)["value"]
        if len(shared):
            return _format_moment(shared.max())
    return _format_moment(values.dt.truncate(_PERIODS[-1]).max())


def _format_moment(moment: Any) -> str:
    text = str(moment.isoformat())
    return text.replace("+00:00", "Z")
