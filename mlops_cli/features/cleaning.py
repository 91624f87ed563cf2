"""What ``featurize.clean`` replaces in a source's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlops_cli.data.column_types import DTYPES, ingested_type, type_name
from mlops_cli.data.sql.expressions import Expression
from mlops_cli.errors import BadParams, nearest

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.data import CleanRule

__all__ = ["cleaning_expressions"]


def cleaning_expressions(
    source: str, rules: Sequence[CleanRule], schema: Mapping[str, pl.DataType]
) -> list[dict[str, pl.Expr]]:
    """Rule by rule the columns that are replaced; each keeps its type.

    Raises
    ------
    BadParams
        If a column isn't there, or gets values of another type.
    """
    return [
        {
            column: _replaced(Expression(sql, f"featurize.clean.{i}.set.{column}"), column, schema)
            for column, sql in rule.set.items()
        }
        for i, rule in enumerate(rules)
        if rule.source == source
    ]


def _replaced(expression: Expression, column: str, schema: Mapping[str, pl.DataType]) -> pl.Expr:
    import polars as pl

    if column not in schema:
        raise BadParams(
            f"{expression.place} replaces a column that is not there", nearest(column, schema)
        )
    dtype, made = schema[column], expression.type_in(pl.Schema(schema))
    # What looks the column up knows it by its type.
    fits = ingested_type(made) == dtype or made == pl.Null
    if not fits and not (made.is_integer() and dtype == DTYPES["number"]):
        raise BadParams(
            f"{expression.place} gives the type {type_name(made)}, "
            f"and {column} is of type {type_name(dtype)}",
            f"State another type under ingest.sources, or cast: {expression.sql!r}.",
        )
    return expression.column(column, dtype)
