"""Whether an expression gives a row the same value alone as among others, tried on made-up rows.

The grammar of expressions has only functions that do. This is the proof by trying: what reads other
rows, the clock or chance gives other values in another order, in a smaller table or a second time.
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
    """Whether each row's value, to the bit, is the row's own.

    Values that the expression cannot take, such as a text that is no number, are passed over.
    """
    import polars as pl

    rows = sample_rows(schema)
    try:
        together = _values(expr, rows)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return _without_misfits(expr, rows)
    try:
        return _values(expr, rows.reverse()) == together[::-1] and all(
            _values(expr, rows[at : at + 1]) == together[at : at + 1] for at in range(rows.height)
        )
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        # Such as REPLACE by a column: a missing value is taken among others, and not alone.
        return False


def sample_rows(schema: pl.Schema) -> pl.DataFrame:
    """Some rows of odd values, no two columns of a type alike."""
    import polars as pl

    return pl.DataFrame(
        [_column(name, dtype, shift) for shift, (name, dtype) in enumerate(schema.items())]
        or [pl.Series("", _NUMBERS)]
    )


def _column(name: str, dtype: pl.DataType, shift: int) -> pl.Series:
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


def _values(expr: pl.Expr, rows: pl.DataFrame) -> list[str]:
    # Beside the rows' own columns: a single value, as of an aggregate, stands in every row then.
    column = rows.lazy().with_columns_seq(expr.alias("_value")).collect(engine="in-memory")
    return [repr(value) for value in column["_value"].to_list()]


def _without_misfits(expr: pl.Expr, rows: pl.DataFrame) -> bool:
    """The same for the rows that the expression can take."""
    import polars as pl

    fit, alone = [], []
    for at in range(rows.height):
        try:
            alone += _values(expr, rows[at : at + 1])
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            continue
        fit.append(at)
    try:
        return _values(expr, rows[fit[::-1]]) == alone[::-1]
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
