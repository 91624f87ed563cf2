"""Building blocks of the parameter models: strict sections, durations, names."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "LONGEST_NAME",
    "ColumnName",
    "Duration",
    "Moment",
    "Names",
    "Portion",
    "Section",
    "Share",
    "Sql",
]

LONGEST_NAME = 200
"""The most characters of a name that becomes part of a Git tag, a file or a container's name."""


class Section(BaseModel):
    """A section of ``params.yaml``: frozen, strict about types, without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


def _check_duration(value: str) -> str:
    if not re.fullmatch(r"([0-9]+(us|ms|s|m|h|d|w|mo|q|y))+", value):
        msg = f"{value!r} is not a duration; write a number and a unit, such as 30m, 24h, 7d, 1mo"
        raise ValueError(msg)
    return value


def _check_column_name(value: str) -> str:
    if not value or value.startswith("_"):
        msg = f"{value!r} cannot be a name here; a leading underscore is kept for bookkeeping"
        raise ValueError(msg)
    if value == "*" or (value.startswith("^") and value.endswith("$")) or not value.isprintable():
        msg = f"{value!r} cannot be a name here; SQL takes it for a pattern, or can't write it"
        raise ValueError(msg)
    return value


def _parse_moment(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        moment = dt.datetime.fromisoformat(value)
    except ValueError:
        msg = f"{value!r} is not a date or time; write it as 2013-10-01 or 2013-10-01T06:00:00Z"
        raise ValueError(msg) from None
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _check_sql(value: str) -> str:
    if not value.strip():
        msg = "an expression cannot be empty"
        raise ValueError(msg)
    return value


def _check_portion(value: float | str) -> float | str:
    if isinstance(value, str):
        return _check_duration(value)
    if not 0 < value < 1:
        msg = f"{value} is no share of the rows; it must lie between 0 and 1"
        raise ValueError(msg)
    return value


Duration = Annotated[str, AfterValidator(_check_duration)]
"""A span of time in Polars' notation: 30m, 24h, 7d, 1mo."""

Moment = Annotated[dt.datetime, BeforeValidator(_parse_moment)]
"""A date or time as ISO 8601 text, UTC where it has no zone."""

ColumnName = Annotated[str, AfterValidator(_check_column_name)]
"""The name of a column that the pipeline makes."""

Sql = Annotated[str, AfterValidator(_check_sql)]
"""A SQL expression over columns (Polars' dialect)."""

Names = Annotated[tuple[str, ...], Field(strict=False)]
"""Column names, written as a YAML list."""

Portion = Annotated[float | str, AfterValidator(_check_portion)]
"""A share of the rows, or a span of time."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A share of the rows, between 0 and 1."""
