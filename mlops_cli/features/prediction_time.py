"""Prediction time: checks of its expression, and which values are known by then."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, cast

from mlops_cli.data.source_schema import dtype_name, utc_moment
from mlops_cli.errors import BadParams
from mlops_cli.features.windows import PREDICTION_TIME, Span

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from mlops_cli.data.source_schema import SourceSchema
    from mlops_cli.data.sql.expressions import Expression

__all__ = ["blank_late_values", "check_prediction_time", "prediction_span"]


def check_prediction_time(expression: Expression, base: SourceSchema, source: str) -> None:
    """Check the expression over the base source that gives the prediction time.

    Raises
    ------
    BadParams
        If it reads a value that is known only later, or isn't a date or time.
    """
    import polars as pl

    late = [c for c in expression.columns if c in base.late_columns]
    if late:
        raise BadParams(
            f"{expression.setting} reads {late[0]!r}, which is known only at "
            f"{base.late_columns[late[0]]!r}",
            "The moment of prediction must follow from what is known before it.",
        )
    dtype = expression.result_type(pl.Schema(base.schema))
    if not dtype.is_temporal():
        raise BadParams(
            f"{expression.setting} is of type {dtype_name(dtype)}; it must be a moment",
            f"State its type under `ingest.sources.{source}.types`.",
        )


def blank_late_values(
    columns: Iterable[str], base: SourceSchema, *, has_prediction_time: bool = True
) -> list[pl.Expr]:
    """Base columns with null for values that become known at or after the prediction time.

    Without a prediction time (``has_prediction_time`` is false), all of their values are null.
    """
    import polars as pl

    schema, known_at = base.schema, base.late_columns
    if not has_prediction_time:
        return [pl.lit(None, dtype=schema[c]).alias(c) for c in columns]
    return [
        pl.when(utc_moment(pl.col(known_at[c]), schema[known_at[c]]) < pl.col(PREDICTION_TIME))
        .then(pl.col(c))
        .alias(c)
        for c in columns
    ]


def prediction_span(frame: pl.DataFrame) -> Span:
    """First and last prediction time; 1970 as a placeholder if there is none."""
    moments = frame[PREDICTION_TIME].drop_nulls() if PREDICTION_TIME in frame.columns else None
    if moments is None or not len(moments):
        placeholder = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        return placeholder, placeholder
    return cast("dt.datetime", moments.min()), cast("dt.datetime", moments.max())
