"""Section ``validate``: rules of columns and tables."""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, model_validator

from mlops_cli.params.base import Duration, Moment, Names, Section, Share
from mlops_cli.params.ingest import TypeName

__all__ = ["ColumnRules", "Policy", "Reference", "Rule", "SourceRules", "Validate"]

Policy = Literal["fail", "quarantine", "warn"]
T = TypeVar("T")


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
