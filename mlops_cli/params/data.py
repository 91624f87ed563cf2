"""Parameters of the data stages: ingest, validate, featurize, split."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from mlops_cli.params.base import ColumnName, Duration, Moment, Names, Portion, Section, Share, Sql

__all__ = [
    "AsOfJoin",
    "CleanRule",
    "ColumnRules",
    "Featurize",
    "Ingest",
    "Policy",
    "Reference",
    "Rule",
    "Source",
    "SourceRules",
    "Split",
    "TypeName",
    "Validate",
    "Window",
]

TypeName = Literal["integer", "number", "string", "boolean", "date", "datetime"]
Policy = Literal["fail", "quarantine", "warn"]
T = TypeVar("T")


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


class Rule(Section, Generic[T]):
    """A limit, and the policy for rows that break it."""

    value: T
    policy: Policy = "fail"
    tolerate: Share | None = None
    """The largest share of offending rows with which the stage passes. By default none for
    `fail`, any for `quarantine` and `warn`."""

    @model_validator(mode="before")
    @classmethod
    def _expand_short_form(cls, value: Any) -> Any:
        # `min: 0` is short for `min: {value: 0}`.
        return value if isinstance(value, dict) else {"value": value}


Scalar = bool | int | float | str


class ColumnRules(Section):
    """Rules of one column; each may be a bare value or {value, policy, tolerate}."""

    type: TypeName
    nullable: Rule[bool] = Rule(value=True)
    unique: Rule[bool] = Rule(value=False)
    min: Rule[int | float | Moment] | None = None
    max: Rule[int | float | Moment] | None = None
    allowed: Rule[Annotated[tuple[Scalar, ...], Field(strict=False)]] | None = None
    pattern: Rule[str] | None = None


class Reference(Section):
    """Foreign key: values of `columns` must exist in the `to` columns of `source`."""

    columns: Names
    source: str
    to: Names
    policy: Policy = "fail"
    tolerate: Share | None = None


class SourceRules(Section):
    """Rules of one source."""

    columns: dict[str, ColumnRules] = {}
    other_columns: Literal["allow", "warn", "fail"] = "allow"
    """What to do about columns without rules."""
    unique: Rule[Names] | None = None
    """Columns that together identify a row."""
    rows: Annotated[tuple[int, int | None], Field(strict=False)] = (1, None)
    """Minimum and maximum number of rows (null: no limit)."""
    fresh_within: Duration | None = None
    """How much older than the data clock the newest row may be."""
    references: Annotated[tuple[Reference, ...], Field(strict=False)] = ()


class Validate(Section):
    """Validation rules by source."""

    sources: dict[str, SourceRules] = {}
    examples: Annotated[int, Field(ge=0, le=20)] = 3
    """Number of offending values that the report shows for each rule."""
    show_values: bool = False
    """Whether they are shown as they are; else as shapes, except if they break `min` or `max`."""


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


class Split(Section):
    """How rows are split into train, validation and test."""

    strategy: Literal["random", "stratified", "grouped", "time"] = "random"
    validation: Portion = 0.2
    test: Portion = 0.2
    """A share of the rows; with `time` also a duration before the data clock, such as 1mo."""
    group: str | None = None
    """With `grouped`: rows with the same value in this column stay together."""
    gap: Duration | None = None
    """With `time`: rows of this span before validation and before test are left out."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Split:
        if (self.strategy == "grouped") != (self.group is not None):
            msg = "strategy 'grouped' and `group` go together"
            raise ValueError(msg)
        for name in ("validation", "test"):
            share = getattr(self, name)
            if isinstance(share, str) and self.strategy != "time":
                msg = f"{name} is the span {share!r}; strategy {self.strategy!r} takes a share"
                raise ValueError(msg)
        if isinstance(self.validation, float) and isinstance(self.test, float):
            total = self.validation + self.test
            if total >= 1:
                msg = f"validation and test together take {total:g} of the rows; train gets none"
                raise ValueError(msg)
        if self.gap is not None and self.strategy != "time":
            msg = f"gap is only for strategy 'time', not {self.strategy!r}"
            raise ValueError(msg)
        return self
