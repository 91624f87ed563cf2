"""Compiles SQL expressions of ``params.yaml`` to Polars; errors name the parameter."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mlops_cli.data.sql.grammar import GrammarError, Sql, parse
from mlops_cli.data.sql.row_independence import is_row_by_row
from mlops_cli.errors import BadParams, DataRefused, nearest

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Expression", "finite", "value_refusal"]

_SHOWN = 200
_DIVERGES = re.compile(r"/|\b(exp|ln|log\w*|pow(er)?|cotd?|tand?)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Expression:
    """One SQL expression, and its place in ``params.yaml``.

    Parameters
    ----------
    sql
        An expression in Polars' dialect, over columns of one table, limited to the grammar of
        ``data.sql.grammar``. It must work row by row (no aggregates, no windows, no clock),
        because a request computes it for one row only.
    setting
        The parameter, such as ``featurize.features.hour``; errors name it.
    """

    sql: str
    setting: str

    @cached_property
    def parsed(self) -> Sql:
        """The expression as parsed by our own grammar.

        Raises
        ------
        BadParams
            If it doesn't parse, or could read more than the columns of its row.
        """
        try:
            return parse(self.sql)
        except GrammarError as error:
            if error.reads_other_rows:
                raise self._not_row_by_row() from None
            raise self._not_an_expression(str(error), error.hint) from None

    @cached_property
    def expr(self) -> pl.Expr:
        """The Polars expression.

        Raises
        ------
        BadParams
            If it doesn't parse, or reads more than one row.
        """
        import polars as pl

        try:
            expr = pl.sql_expr(self.parsed.text)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, ValueError) as error:
            raise self._not_an_expression(_first_line(error)) from None
        if not _is_separable(expr):
            raise self._not_row_by_row()
        return expr

    @cached_property
    def may_be_infinite(self) -> bool:
        """Whether finite values may give infinity, by division by zero, a logarithm or a power."""
        return _DIVERGES.search(self.parsed.text) is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, each once, in order."""
        return tuple(dict.fromkeys(self.expr.meta.root_names()))

    def checked_expr(self, column_names: Collection[str]) -> pl.Expr:
        """The Polars expression, after checking that ``column_names`` has all its columns.

        Raises
        ------
        BadParams
            If it reads a column that doesn't exist; the nearest one is suggested.
        """
        for column in self.columns:
            if column not in column_names:
                raise BadParams(
                    f"{self.setting} reads the column {column!r}, which is not there: "
                    f"{self._shown}",
                    nearest(column, [k for k in column_names if not k.startswith("_")]),
                )
        return self.expr

    def as_column(self, name: str, dtype: pl.DataType) -> pl.Expr:
        """The expression as a column of a type; NaN and infinity, as of x / 0, become null."""
        values = self.expr.cast(dtype)
        if dtype.is_float():
            values = (
                finite(values.fill_nan(None)) if self.may_be_infinite else values.fill_nan(None)
            )
        return values.alias(name)

    def as_feature(self, dtype: pl.DataType) -> pl.Expr:
        """The expression, whose values have this type; infinity becomes null."""
        return finite(self.expr) if self.may_be_infinite and dtype.is_float() else self.expr

    def result_type(self, schema: pl.Schema) -> pl.DataType:
        """The type of its values over a table with this schema.

        Raises
        ------
        BadParams
            If the types don't fit together.
        """
        import polars as pl

        expr = self.checked_expr(schema)
        if expr.meta.is_column():
            return schema[self.columns[0]]
        # Creating a frame with all columns takes longer than checking the expression.
        columns_read = pl.Schema({c: schema[c] for c in self.columns})
        try:
            dtype = _type_over(expr, columns_read or schema)
            row_by_row = is_row_by_row(expr, columns_read)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise BadParams(
                f"{self.setting} cannot be computed: {self._shown} ({_first_line(error)})",
                "Check the types of its columns; CAST(x AS DOUBLE) changes one.",
            ) from None
        if not row_by_row:
            raise self._not_row_by_row()
        return dtype

    def check_condition(self, schema: pl.Schema) -> None:
        """Check that it is boolean over a table with this schema.

        Raises
        ------
        BadParams
            If it is of another type, or the types don't fit together.
        """
        import polars as pl

        from mlops_cli.data.column_types import type_name

        dtype = self.result_type(schema)
        if dtype not in (pl.Boolean, pl.Null):
            raise BadParams(
                f"{self.setting} is of type {type_name(dtype)}, and a condition is true or false: "
                f"{self._shown}",
                "Compare it with something, such as `x > 0` or `x IS NOT NULL`.",
            )

    @property
    def _shown(self) -> str:
        return repr(self.sql if len(self.sql) <= _SHOWN else f"{self.sql[:_SHOWN]}...")

    def _not_an_expression(self, reason: str, hint: str = "") -> BadParams:
        return BadParams(
            f"{self.setting} is not an expression: {self._shown} ({reason})",
            hint or "Write one SQL expression over columns, such as `distance / 2`.",
        )

    def _not_row_by_row(self) -> BadParams:
        return BadParams(
            f"{self.setting} looks at more than one row: {self._shown}",
            "Aggregates over past rows are written under `featurize.windows`.",
        )


def value_refusal(error: Exception, section: str) -> DataRefused:
    """The error for a value of the data that an expression of a section can't convert.

    Polars' message has the values themselves; they are left out, as they may be personal.
    """
    match = re.search(r"conversion from `[^`]*` to `[^`]*` failed in column '[^']*'", str(error))
    cause = match[0] if match else type(error).__name__
    return DataRefused(
        f"an expression of {section} can't take a value of the data ({cause})",
        "TRY_CAST(x AS TYPE) gives null for such a value; CASE or `clean` replaces it before.",
    )


def _type_over(expr: pl.Expr, schema: pl.Schema) -> pl.DataType:
    import polars as pl

    return pl.LazyFrame(schema=schema).select(expr.alias("x")).collect().schema["x"]


def _is_separable(expr: pl.Expr) -> bool:
    """Whether, according to Polars, a row's result depends on that row alone."""
    import polars as pl

    try:
        return bool(expr.meta.is_row_separable())
    except pl.exceptions.ColumnNotFoundError:
        # Polars needs the columns' types if the meaning depends on them (number * interval).
        return True


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def finite(numbers: pl.Expr) -> pl.Expr:
    """Replace infinity by null in a float expression."""
    import polars as pl

    return pl.when(~numbers.is_infinite()).then(numbers)
