"""Rules of ``params.yaml`` compiled to pandera schemas, and what they find in a table."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.column_types import DTYPES
from mlops_cli.data.data_clock import in_utc
from mlops_cli.errors import BadParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandera.polars as pa

    from mlops_cli.params.data import ColumnRules, Policy, Rule, SourceRules, TypeName

__all__ = ["NOT_NULL", "ColumnRule", "RowChecks", "RuleFinding", "compile_rows"]

NOT_NULL = "not null"
"""Name of the rule on nullability."""
_LONGEST_LIST = 5
_COLUMNS = 50
"""Columns of one schema."""


@dataclass(frozen=True)
class ColumnRule:
    """One rule on one source, and what happens to rows that break it.

    Parameters
    ----------
    source, columns
        What it is about; no columns: the table as a whole.
    name
        The rule as a user reads it, such as ``min 0`` or ``pattern ^[A-Z]{2}$``.
    policy, tolerate
        As in ``params.yaml``.
    """

    source: str
    columns: tuple[str, ...]
    name: str
    policy: Policy = "fail"
    tolerate: float | None = None

    @property
    def subject(self) -> str:
        """The source and columns, as errors name them."""
        return ".".join(filter(None, (self.source, "+".join(self.columns))))

    @property
    def label(self) -> str:
        """The columns and the rule: unique within a source."""
        return " ".join(filter(None, ("+".join(self.columns), self.name)))

    @property
    def tolerated(self) -> float:
        """The largest share of offending rows with which the stage passes."""
        if self.tolerate is not None:
            return self.tolerate
        return 0.0 if self.policy == "fail" else 1.0


@dataclass(frozen=True)
class RuleFinding:
    """What a check found.

    Parameters
    ----------
    check
        The check.
    count, of
        Offending rows, and all rows.
    examples
        (row number from 1, value) of the first offending rows.
    message
        The sentence for an error, where "breaks in so many rows" doesn't say it.
    """

    check: ColumnRule
    count: int
    of: int
    examples: tuple[tuple[int | None, Any], ...] = ()
    message: str = ""

    @property
    def share(self) -> float:
        """Offending rows as a share of all."""
        return self.count / self.of if self.of else float(self.count > 0)

    @property
    def passed(self) -> bool:
        """Whether the share is within what is tolerated."""
        return self.share <= self.check.tolerated

    def shown(self) -> str:
        """Give the examples' values as text."""
        return ", ".join(_text(value) for _, value in self.examples)

    def sentence(self) -> str:
        """Say what is wrong, with counts and examples."""
        if self.message:
            return self.message
        shown = self.shown()
        return (
            f"{self.check.subject} breaks `{self.check.name}` in {self.count} of {self.of} rows "
            f"({self.share:.3%})" + (f": {shown}" if shown else "")
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for the report."""
        return {
            "rule": self.check.name,
            "column": "+".join(self.check.columns) or None,
            "policy": self.check.policy,
            "count": self.count,
            "share": round(self.share, 6),
            "tolerated": self.check.tolerated,
            "passed": self.passed,
            "examples": [{"row": row, "value": _plain(value)} for row, value in self.examples],
        }


@dataclass(frozen=True)
class RowChecks:
    """The checks of one source that look at each row by itself.

    Parameters
    ----------
    types
        Column -> the type that it is read as.
    checks
        By the name that pandera reports.
    places
        Column -> what the schemas call it. Pandera takes a column without a name for the whole
        table, so columns have their places' names there.
    nulls
        What the schemas call a column that must not be null -> the label of that check: Pandera
        has one name for the nullability of every column.
    schemas
        All of them, some columns a schema: pandera's work grows with the square of a table's width.
    """

    types: dict[str, pl.DataType]
    checks: dict[str, ColumnRule]
    places: dict[str, str]
    nulls: dict[str, str]
    schemas: tuple[pa.DataFrameSchema, ...]

    def failures(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Find the rows that break a check: its name -> their positions, ascending.

        ``frame`` has the columns of ``types``, in those types.
        """
        found: dict[str, pl.Series] = {}
        frame = frame.rename(self.places)
        for schema in self.schemas:
            found |= self._failures(frame.select(list(schema.columns)), schema)
        return found

    def _failures(self, frame: pl.DataFrame, schema: pa.DataFrameSchema) -> dict[str, pl.Series]:
        from pandera.errors import SchemaErrors

        try:
            schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            cases = errors.failure_cases
        else:
            return {}
        null = pl.col("check") == "not_nullable"
        key = pl.when(null).then(pl.col("column").replace(self.nulls)).otherwise(pl.col("check"))
        cases = cases.select(key.alias("key"), pl.col("index").cast(pl.UInt32))
        found = cases.partition_by("key", as_dict=True, include_key=False)
        return {str(name): rows["index"].sort() for (name,), rows in found.items()}


def compile_rows(source: str, rules: SourceRules) -> RowChecks:
    """Compile the rules on nullability, ranges, allowed values and patterns.

    Raises
    ------
    BadParams
        If a rule doesn't go with its column's type.
    """
    import pandera.polars as pa

    checks: dict[str, ColumnRule] = {}
    columns: dict[str, pa.Column] = {}
    places = {column: f"column_{at}" for at, column in enumerate(rules.columns)}
    nulls: dict[str, str] = {}
    for column, given in rules.columns.items():
        place = f"validate.sources.{source}.columns.{column}"
        made = []
        for name, rule, test in _tests(given, place):
            check = ColumnRule(source, (column,), name, rule.policy, rule.tolerate)
            checks[check.label] = check
            made.append(test(check.label))
        if not given.nullable.value:
            rule = given.nullable
            check = ColumnRule(source, (column,), NOT_NULL, rule.policy, rule.tolerate)
            checks[check.label] = check
            nulls[places[column]] = check.label
        columns[places[column]] = pa.Column(DTYPES[given.type], made, nullable=given.nullable.value)
    types = {c: DTYPES[r.type] for c, r in rules.columns.items()}
    named = list(columns.items())
    blocks = (dict(named[at : at + _COLUMNS]) for at in range(0, len(named), _COLUMNS))
    return RowChecks(types, checks, places, nulls, tuple(map(pa.DataFrameSchema, blocks)))


def _tests(rules: ColumnRules, place: str) -> Iterator[tuple[str, Rule[Any], Any]]:
    """Give each rule's name, the rule, and what makes its pandera check under a given name."""
    import pandera.polars as pa

    if rules.min is not None:
        least = _limit(rules.min.value, rules.type, f"{place}.min")
        yield f"min {rules.min.value}", rules.min, lambda n: pa.Check.ge(least, error=n)
    if rules.max is not None:
        most = _limit(rules.max.value, rules.type, f"{place}.max")
        yield f"max {rules.max.value}", rules.max, lambda n: pa.Check.le(most, error=n)
    if rules.allowed is not None:
        given = rules.allowed.value
        values = [_value(v, rules.type, f"{place}.allowed") for v in given]
        more = ", ..." if len(given) > _LONGEST_LIST else ""
        name = f"allowed {', '.join(str(v) for v in given[:_LONGEST_LIST])}{more}"
        yield name, rules.allowed, lambda n: pa.Check.isin(values, error=n)
    if rules.pattern is not None:
        pattern = rules.pattern.value
        _check_pattern(pattern, rules.type, f"{place}.pattern")
        yield f"pattern {pattern}", rules.pattern, lambda n: pa.Check.str_contains(pattern, error=n)


def _limit(value: Any, kind: TypeName, place: str) -> Any:
    if kind in {"string", "boolean"}:
        raise BadParams(
            f"{place} is {value!r}, but the column's type is {kind}, which has no order to limit",
            "Use `allowed` or `pattern`.",
        )
    return _value(value, kind, place)


def _value(value: Any, kind: TypeName, place: str) -> Any:
    """Give a value of the parameters as its column's type has it."""
    if isinstance(value, str) and kind in {"date", "datetime"}:
        value = _moment(value)
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        "integer": numeric,
        "number": numeric,
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "date": isinstance(value, dt.date),
        "datetime": isinstance(value, dt.date),
    }[kind]
    if not fits:
        raise BadParams(
            f"{place} has {value!r}, which is not of the column's type {kind}",
            "Quote a text that looks like something else, or correct the column's `type`.",
        )
    if kind == "datetime":
        return in_utc(value)
    return value.date() if isinstance(value, dt.datetime) else value


def _moment(text: str) -> Any:
    """Read a date or time; what is none stays a text, and is refused as such."""
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return text


def _check_pattern(pattern: str, kind: TypeName, place: str) -> None:
    if kind != "string":
        raise BadParams(
            f"{place} is {pattern!r}, but the column's type is {kind}", "Patterns are for strings."
        )
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BadParams(
            f"{place} is {pattern!r}, which is not a regular expression ({reason})",
            "Correct it; a backslash before a character takes it literally.",
        ) from None


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_text(v) for v in value)})"
    return str(value) if isinstance(value, dt.date) else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    plain = value is None or isinstance(value, (bool, int, str))
    if isinstance(value, float):
        return value if abs(value) != float("inf") else str(value)
    return value if plain else str(value)
