"""Tests on sample rows whether an expression computes each row from that row alone.

The grammar of expressions has only functions that do. This checks it by experiment: an expression
that reads other rows, the clock or random numbers gives other values in another order, in a
smaller table, or the second time.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

__all__ = ["is_row_by_row", "sample_rows"]

_NUMBERS = (3, -7, 0, None, 2**53 + 1, 1, 2**63 - 1, -(2**63))
_FLOATS = (1.5, -2.25, 0.0, None, float("nan"), 1e300)
_TEXTS = ("2024-02-03", "a b", None, "12.5", "", "01/02/2023")
_DAYS = (dt.date(2024, 2, 29), dt.date(1969, 12, 31), None, dt.date(2023, 1, 1))


def is_row_by_row(expr: pl.Expr, schema: pl.Schema) -> bool:
    """Whether each row's value, to the bit, depends on that row alone.

    Rows that the expression can't evaluate, such as a text that is no number, are skipped.

    Raises
    ------
    polars.exceptions.PolarsError
        If its types don't fit together: it can't even evaluate a table without rows, or its
        values are of several types.
    """
    import polars as pl

    rows = sample_rows(schema)
    try:
        values = _evaluate(expr, rows)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return _is_row_by_row_where_valid(expr, rows)
    try:
        return _evaluate(expr, rows.reverse()) == values[::-1] and all(
            _evaluate(expr, rows[i : i + 1]) == values[i : i + 1] for i in range(rows.height)
        )
    except pl.exceptions.SchemaError:
        raise
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        # Such as REPLACE by a column: it accepts a missing value among others, but not alone.
        return False


def sample_rows(schema: pl.Schema) -> pl.DataFrame:
    """Rows of edge cases; no two columns of a type are alike."""
    import polars as pl

    return pl.DataFrame(
        [_sample_column(name, dtype, shift) for shift, (name, dtype) in enumerate(schema.items())]
        or [pl.Series("", _NUMBERS)]
    )


def _sample_column(name: str, dtype: pl.DataType, shift: int) -> pl.Series:
    import polars as pl

    values: tuple[Any, ...] = (None,)
    if dtype.is_integer():
        values = _NUMBERS
    elif dtype.is_float():
        values = _FLOATS
    elif dtype == pl.Boolean:
        values = (True, False, None)
    elif dtype == pl.String:
        values = _TEXTS
    elif dtype in (pl.Date, pl.Datetime):
        values = _DAYS
    column = pl.Series(name, [values[(i + shift) % len(values)] for i in range(len(_NUMBERS))])
    return column.cast(dtype, strict=False)


def _evaluate(expr: pl.Expr, rows: pl.DataFrame) -> list[str]:
    import polars as pl

    # With the rows' own columns: a single value, as of an aggregate, is then repeated in each row.
    table = rows.lazy().with_columns_seq(expr.alias("_value"))
    values = table.collect(engine="in-memory")["_value"]
    if values.dtype != table.collect_schema()["_value"]:
        msg = "its values are of several types"
        raise pl.exceptions.SchemaError(msg)
    return [repr(value) for value in values.to_list()]


def _is_row_by_row_where_valid(expr: pl.Expr, rows: pl.DataFrame) -> bool:
    """The same test for the rows that the expression can evaluate."""
    import polars as pl

    valid, values = [], []
    for i in range(rows.height):
        try:
            values += _evaluate(expr, rows[i : i + 1])
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            continue
        valid.append(i)
    if not valid:
        return not _evaluate(expr, rows[:0])
    try:
        return _evaluate(expr, rows[valid[::-1]]) == values[::-1]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
