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
    """Where a table comes from, and when what it says becomes known."""

    uri: Annotated[str, Field(pattern=r"\S")]
    """A path, glob or folder below the project, an http(s) URL, or python:module:attribute."""
    format: Literal["csv", "parquet", "jsonl"] | None = None
    """How the bytes are to be read; by default the name's ending tells."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8"
    null_values: Names | dict[str, Names] = ()
    """CSV only: texts that mean a missing value, besides the empty one: of all columns, or by
    column. A column with texts of its own is read as text, unless `types` states another type."""
    types: dict[str, TypeName] = {}
    """Columns whose type is stated rather than inferred."""
    derive: dict[ColumnName, Sql] = {}
    """New columns, in order; each may use those before it."""
    time: str | None = None
    """The column with the moment that a row is about; needed for the data clock."""
    known_at: dict[str, str] = {}
    """Column -> the time column that says when its value becomes known; "*" stands for the row."""


class Ingest(Section):
    """The sources, and the data clock."""

    until: Moment | None = None
    """The data clock: nothing that became known at or after this moment (UTC) is taken."""
    sources: Annotated[dict[ColumnName, Source], Field(min_length=1)]


class Rule(Section, Generic[T]):
    """A limit, and what happens to rows that break it."""

    value: T
    policy: Policy = "fail"
    tolerate: Share | None = None
    """The largest share of offending rows that doesn't fail the stage. By default none for
    `fail`, any for `quarantine` and `warn`."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        # `min: 0` is short for `min: {value: 0}`.
        return given if isinstance(given, dict) else {"value": given}


Scalar = bool | int | float | str


class ColumnRules(Section):
    """What must hold for one column. Each rule may be a bare value or {value, policy, tolerate}."""

    type: TypeName
    nullable: Rule[bool] = Rule(value=True)
    unique: Rule[bool] = Rule(value=False)
    min: Rule[int | float | Moment] | None = None
    max: Rule[int | float | Moment] | None = None
    allowed: Rule[Annotated[tuple[Scalar, ...], Field(strict=False)]] | None = None
    pattern: Rule[str] | None = None


class Reference(Section):
    """Values of `columns` must appear in `source`'s `to` columns (a foreign key)."""

    columns: Names
    source: str
    to: Names
    policy: Policy = "fail"
    tolerate: Share | None = None


class SourceRules(Section):
    """What must hold for one source."""

    columns: dict[str, ColumnRules] = {}
    other_columns: Literal["allow", "warn", "fail"] = "allow"
    """What to do about columns that have no rules."""
    unique: Rule[Names] | None = None
    """Columns that together identify a row."""
    rows: Annotated[tuple[int, int | None], Field(strict=False)] = (1, None)
    """Least and most rows (null: no limit)."""
    fresh_within: Duration | None = None
    """The newest row may be this much older than the data clock."""
    references: Annotated[tuple[Reference, ...], Field(strict=False)] = ()


class Validate(Section):
    """Rules by source."""

    sources: dict[str, SourceRules] = {}
    examples: Annotated[int, Field(ge=0, le=20)] = 3
    """How many offending values a report shows for each rule."""
    show_values: bool = False
    """Whether they are shown as they are; else as shapes, but where a limit is broken."""


class CleanRule(Section):
    """A repair of one source before features are made: rows kept, or values replaced."""

    source: str
    keep: Sql | None = None
    """Rows for which this isn't true are left out (and counted)."""
    set: dict[str, Sql] = {}
    """Column -> expression that replaces it."""


class AsOfJoin(Section):
    """A look-up: facts of another source, equal on keys and, if `as_of`, the latest known."""

    source: str
    on: Annotated[dict[str, str], Field(min_length=1)]
    """Column of the base (or of an earlier join) -> column of the source."""
    columns: Names
    """What to bring; each becomes `<join>_<column>`."""
    as_of: bool = False
    """Take the latest row known at the moment of prediction, rather than the only one."""
    within: Duration | None = None
    """With as_of: how old that row may be."""


class Window(Section):
    """Aggregates of past rows that share a key, over a span that ends when predicting."""

    source: str
    by: dict[str, str] | Names
    """Base column -> source column; a list where the names are the same; empty for all rows."""
    over: Duration
    delay: Duration | None = None
    """Further delay after which a value counts as known."""
    where: Sql | None = None
    """Only source rows for which this is true."""
    aggregates: Annotated[dict[ColumnName, Sql], Field(min_length=1)]
    """Name -> count(*), count(x), sum(x), mean(x), std(x), min(x), max(x); the feature is
    `<window>_<name>`."""


class Featurize(Section):
    """The feature program."""

    base: str
    """The source of which each row is one prediction."""
    target: Sql
    unlabelled: dict[str, Sql] = {}
    """Reason -> expression: why rows without a label have none; the first that is true counts."""
    predict_at: Sql | None = None
    """The moment of prediction; by default the base's time."""
    keep: Names = ()
    """Base columns carried along for splitting and slicing; not features."""
    clean: Annotated[tuple[CleanRule, ...], Field(strict=False)] = ()
    joins: dict[ColumnName, AsOfJoin] = {}
    windows: dict[ColumnName, Window] = {}
    hook: str | None = None
    """module:function of the project: DataFrame -> DataFrame with more columns, row by row."""
    features: dict[ColumnName, Sql] = {}
    """Name -> expression over base, joined, window and hook columns. Windows' aggregates are
    features by themselves."""
    text: Names = ()
    """Features that are free text: their words count, not their values as a whole."""
    slice_rows: Annotated[int, Field(ge=1)] = 500_000
    """Rows that are worked on at a time: what bounds the memory."""


class Split(Section):
    """Which rows teach, which decide, which judge."""

    strategy: Literal["random", "stratified", "grouped", "time"] = "random"
    validation: Portion = 0.2
    test: Portion = 0.2
    """A share of the rows; with `time` also a span before the data clock, such as 1mo."""
    group: str | None = None
    """With `grouped`: the column whose values stay together."""
    gap: Duration | None = None
    """With `time`: rows in this span before validation and before test are left out."""

    @model_validator(mode="after")
    def _consistent(self) -> Split:
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
