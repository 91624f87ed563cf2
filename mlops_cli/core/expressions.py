"""SQL expressions of ``params.yaml`` as Polars expressions, with errors that name the place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from mlops_cli.errors import BadParams, nearest

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Expression"]


@dataclass(frozen=True)
class Expression:
    """One SQL expression and the place in ``params.yaml`` where it stands.

    Parameters
    ----------
    sql
        In Polars' dialect, over columns of one table. It must work row by row: no aggregates,
        no windows, because the same expression later sees one row only.
    place
        Such as ``featurize.features.hour``; errors name it.
    """

    sql: str
    place: str

    @cached_property
    def expr(self) -> pl.Expr:
        """The Polars expression.

        Raises
        ------
        BadParams
            If it doesn't parse, or looks at more than one row.
        """
        import polars as pl

        try:
            parsed = pl.sql_expr(self.sql)
        except (pl.exceptions.PolarsError, ValueError) as error:
            raise BadParams(
                f"{self.place} is not an expression: {self.sql!r} ({_first_line(error)})",
                "Write one SQL expression over columns, such as `distance / 2`.",
            ) from None
        if not _row_by_row(parsed):
            raise self._not_row_by_row()
        return parsed

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads, each once, in order."""
        return tuple(dict.fromkeys(self.expr.meta.root_names()))

    def over(self, known: Iterable[str]) -> pl.Expr:
        """The Polars expression, after checking that ``known`` has all its columns.

        Raises
        ------
        BadParams
            If it reads a column that isn't there; the nearest one is suggested.
        """
        known = list(known)
        for column in self.columns:
            if column not in known:
                raise BadParams(
                    f"{self.place} reads the column {column!r}, which is not there: {self.sql!r}",
                    nearest(column, [k for k in known if not k.startswith("_")]),
                )
        return self.expr

    def column(self, name: str, dtype: pl.DataType) -> pl.Expr:
        """A table's column of a type; NaN, as of nothing by nothing, is missing, as in a source."""
        made = self.expr.cast(dtype)
        return (made.fill_nan(None) if dtype.is_float() else made).alias(name)

    def type_in(self, schema: pl.Schema) -> pl.DataType:
        """The type that it gives over a table of this schema.

        Raises
        ------
        BadParams
            If the types don't fit together.
        """
        import polars as pl

        checked = self.over(schema).alias("x")
        try:
            # A frame of all columns takes longer to make than the expression to check.
            read = {c: schema[c] for c in self.columns} or schema
            found = pl.LazyFrame(schema=read).select(checked).collect()
        except pl.exceptions.PolarsError as error:
            raise BadParams(
                f"{self.place} cannot be computed: {self.sql!r} ({_first_line(error)})",
                "Check the types of its columns; CAST(x AS DOUBLE) changes one.",
            ) from None
        if found.height and self.columns:
            raise self._not_row_by_row()
        return found.schema["x"]

    def _not_row_by_row(self) -> BadParams:
        return BadParams(
            f"{self.place} looks at more than one row: {self.sql!r}",
            "Aggregates over past rows are written under `featurize.windows`.",
        )


def _row_by_row(parsed: pl.Expr) -> bool:
    """Whether a row's result depends on that row alone, as far as can be told without types."""
    import polars as pl

    try:
        separable = bool(parsed.meta.is_row_separable())
    except pl.exceptions.ColumnNotFoundError:
        # Polars asks for the columns' types where the meaning depends on them (number * interval).
        separable = True
    # SQL aggregates arrive wrapped in a condition that passes for separable.
    return separable and not re.search(r"\.(over|sum|count|mean|min|max|len|first)\(", str(parsed))


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]
