"""Expressions of ``featurize.clean`` that replace values in a source's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlops_cli.data.column_types import DTYPES, ingested_type, type_name
from mlops_cli.data.sql.expressions import Expression
from mlops_cli.errors import BadParams, nearest

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.featurize import CleanRule

__all__ = ["cleaning_expressions"]


def cleaning_expressions(
    source: str, rules: Sequence[CleanRule], schema: Mapping[str, pl.DataType]
) -> list[dict[str, pl.Expr]]:
    """For each rule, the columns that it replaces; each keeps its type.

    Raises
    ------
    BadParams
        If a column doesn't exist, or gets values of another type.
    """
    return [
        {
            column: _replacement(
                Expression(sql, f"featurize.clean.{i}.set.{column}"), column, schema
            )
            for column, sql in rule.set.items()
        }
        for i, rule in enumerate(rules)
        if rule.source == source
    ]


def _replacement(expression: Expression, column: str, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    import polars as pl

    if column not in schema:
        raise BadParams(
            f"{expression.setting} replaces a column that is not there", nearest(column, schema)
        )
    dtype, result = schema[column], expression.result_type(pl.Schema(schema))
    # Joins, windows and rules rely on the type of the column.
    fits = ingested_type(result) == dtype or result == pl.Null
    if not fits and not (result.is_integer() and dtype == DTYPES["number"]):
        raise BadParams(
            f"{expression.setting} gives the type {type_name(result)}, "
            f"and {column} is of type {type_name(dtype)}",
            f"State another type under ingest.sources, or cast: {expression.sql!r}.",
        )
    return expression.as_column(column, dtype)
