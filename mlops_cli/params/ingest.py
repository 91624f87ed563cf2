"""Section ``ingest``: the sources, and the data clock."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlops_cli.params.base import ColumnName, Moment, Names, Section, Sql

__all__ = ["Ingest", "Source", "TypeName"]

TypeName = Literal["integer", "number", "string", "boolean", "date", "datetime"]


class Source(Section):
    """Where a table comes from, and when its values become known."""

    uri: Annotated[str, Field(pattern=r"\S")]
    """A path, glob or folder below the project, an http(s) URL, or python:module:attribute."""
    format: Literal["csv", "parquet", "jsonl"] | None = None
    """The file format; by default it follows from the extension."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    null_values: Names | dict[str, Names] = ()
    """CSV only: texts that mean a missing value, besides the empty one: of all columns, or by
    column. A column with a list of its own is text, unless `types` states another type."""
    types: dict[str, TypeName] = {}
    """Types of columns; the other types are inferred."""
    derive: dict[ColumnName, Sql] = {}
    """New columns, in order; each may use the ones before it."""
    time: str | None = None
    """The column with the time of a row's event; required for the data clock."""
    known_at: dict[str, str] = {}
    """Column -> the time column that says when its value becomes known; "*" means the whole row."""


class Ingest(Section):
    """The sources, and the data clock."""

    until: Moment | None = None
    """The data clock: data known at or after this moment (UTC) are left out."""
    sources: Annotated[dict[ColumnName, Source], Field(min_length=1)]
