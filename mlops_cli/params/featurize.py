"""Section ``featurize``: cleaning, joins, windows and features."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlops_cli.params.base import ColumnName, Duration, Names, Section, Sql

__all__ = ["AsOfJoin", "CleanRule", "Featurize", "Window"]


class CleanRule(Section):
    """Cleaning of one source before features are computed: rows dropped, or values replaced."""

    source: str
    keep: Sql | None = None
    """A condition; other rows are dropped and counted."""
    set: dict[str, Sql] = {}
    """Column -> expression of its new values."""


class AsOfJoin(Section):
    """Join with another source: equal keys and, if `as_of`, the latest row known."""

    source: str
    on: Annotated[dict[str, str], Field(min_length=1)]
    """Column of the base (or of an earlier join) -> column of the source."""
    columns: Names
    """Columns to add; each becomes `<join>_<column>`."""
    as_of: bool = False
    """Take the latest row known before the prediction time; else a key may have only one row."""
    within: Duration | None = None
    """With as_of: the maximum age of that row."""


class Window(Section):
    """Aggregates of past rows with the same key, over a span that ends at the prediction time."""

    source: str
    by: dict[str, str] | Names
    """Base column -> source column; a list where the names are the same; empty for all rows."""
    over: Duration
    delay: Duration | None = None
    """An additional delay after which a value counts as known."""
    where: Sql | None = None
    """A condition on the source rows."""
    aggregates: Annotated[dict[ColumnName, Sql], Field(min_length=1)]
    """Name -> count(*), count(x), sum(x), mean(x), std(x), min(x), max(x); the feature is
    `<window>_<name>`."""


class Featurize(Section):
    """The feature program."""

    base: str
    """The source with one row for each prediction."""
    target: Sql
    unlabelled: dict[str, Sql] = {}
    """Reason -> expression: why rows without a label have none; the first true one counts."""
    predict_at: Sql | None = None
    """The prediction time; by default the base source's `time`."""
    keep: Names = ()
    """Base columns for splitting and slicing that aren't features."""
    clean: Annotated[tuple[CleanRule, ...], Field(strict=False)] = ()
    joins: dict[ColumnName, AsOfJoin] = {}
    windows: dict[ColumnName, Window] = {}
    hook: str | None = None
    """module:function of the project: DataFrame -> DataFrame with more columns, row by row."""
    features: dict[ColumnName, Sql] = {}
    """Name -> expression over base, join, window and hook columns. Window aggregates are
    features without being listed here."""
    text: Names = ()
    """Free-text features, encoded by character n-grams instead of as categories."""
    slice_rows: Annotated[int, Field(ge=1)] = 500_000
    """Number of rows that are processed at a time, which limits memory."""
