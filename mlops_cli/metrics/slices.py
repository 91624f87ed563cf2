"""Slices: groups of rows by the values of a column, to break down a metric."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

__all__ = ["MAX_DISTINCT_VALUES", "Slice", "slices"]

MAX_DISTINCT_VALUES = 24
"""A numeric or time column with more values than this is cut at its quartiles."""


@dataclass(frozen=True)
class Slice:
    """The rows in which a column has a certain value, or is in a certain range.

    Attributes
    ----------
    value
        The value; a range is a text such as ``[3, 7)``; a missing value is None.
    rows
        Row numbers, ascending, (n,).
    """

    value: str | int | float | bool | None
    rows: NDArray[np.intp]


def slices(column: pl.Series) -> list[Slice]:
    """Group rows by the column's values, in ascending order; missing values (or NaN) come last.

    A numeric or time column with more than ``MAX_DISTINCT_VALUES`` values is cut at its quartiles.
    """
    import polars as pl

    if column.dtype.is_float():
        column = column.fill_nan(None)
    ordered = column.dtype.is_numeric() or column.dtype.is_temporal()
    labels: list[str] | None = None
    if ordered and column.n_unique() > MAX_DISTINCT_VALUES:
        column, labels = _quartiles(column)
    groups = (
        pl.DataFrame({"value": column})
        .with_row_index("row")
        .group_by("value", maintain_order=True)
        .agg("row")
        .sort("value", nulls_last=True)
    )
    return [
        Slice(_plain(value) if labels is None or value is None else labels[value], np.array(rows))
        for value, rows in groups.iter_rows()
    ]


def _quartiles(column: pl.Series) -> tuple[pl.Series, list[str]]:
    """Number the ranges between quartiles for each row, and give the ranges as texts."""
    import polars as pl

    values = column.drop_nulls().sort()
    # Edges are values of the column, so the cut is exact for every type; the highest value is
    # always above some edge, or the column would have one value only.
    candidates = {values[len(values) * q // 4] for q in (1, 2, 3)} - {values[0]}
    edges = sorted(candidates or {values.filter(values > values[0])[0]})
    range_number = (column >= edges[0]).cast(pl.Int8)
    for edge in edges[1:]:
        range_number += column >= edge
    texts = [f"{e:.6g}" if isinstance(e, float) else str(e) for e in edges]
    inner = [f"[{low}, {high})" for low, high in pairwise(texts)]
    return range_number, [f"< {texts[0]}", *inner, f">= {texts[-1]}"]


def _plain(value: object) -> str | int | float | bool | None:
    if isinstance(value, float) and not isfinite(value):
        return str(value)  # JSON can't represent infinity
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return str(value)
