"""Column rules of ``params.yaml`` compiled to pandera schemas, and the findings of checks."""

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

    from mlops_cli.params.ingest import TypeName
    from mlops_cli.params.validate import ColumnRules, Policy, Rule, SourceRules

__all__ = ["NOT_NULL", "ColumnRule", "RowChecks", "RuleFinding", "compile_rows"]

NOT_NULL = "not null"
"""Name of the rule on nullability."""
_LISTED_VALUES = 5
"""Maximum allowed values in the name of a rule."""
_SCHEMA_COLUMNS = 50
"""Columns of one pandera schema."""


@dataclass(frozen=True)
class ColumnRule:
    """A rule on a source, and the policy for rows that break it.

    Parameters
    ----------
    source, columns
        Source and columns of the rule; without columns, it is about the whole table.
    name
        The rule as users see it, such as ``min 0`` or ``pattern ^[A-Z]{2}$``.
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
        """Source and columns, as in error messages."""
        return ".".join(filter(None, (self.source, "+".join(self.columns))))

    @property
    def label(self) -> str:
        """Columns and rule, unique within a source."""
        return " ".join(filter(None, ("+".join(self.columns), self.name)))

    @property
    def tolerated_share(self) -> float:
        """Largest share of offending rows with which the rule passes."""
        if self.tolerate is not None:
            return self.tolerate
        return 0.0 if self.policy == "fail" else 1.0


@dataclass(frozen=True)
class RuleFinding:
    """Result of a check.

    Parameters
    ----------
    rule
        The rule that was checked.
    count, total
        Number of offending rows, and of all rows.
    examples
        Row number from 1 and value of the first offending rows.
    message
        Error message, if the default one (rule, count and share) doesn't fit.
    """

    rule: ColumnRule
    count: int
    total: int
    examples: tuple[tuple[int | None, Any], ...] = ()
    message: str = ""

    @property
    def share(self) -> float:
        """Share of offending rows."""
        return self.count / self.total if self.total else float(self.count > 0)

    @property
    def passed(self) -> bool:
        """Whether the share of offending rows is tolerated."""
        return self.share <= self.rule.tolerated_share

    def format_examples(self) -> str:
        """Format the values of the examples."""
        return ", ".join(_format(value) for _, value in self.examples)

    def describe(self) -> str:
        """Describe the finding, with counts and examples."""
        if self.message:
            return self.message
        examples = self.format_examples()
        return (
            f"{self.rule.subject} breaks `{self.rule.name}` in {self.count} of {self.total} rows "
            f"({self.share:.3%})" + (f": {examples}" if examples else "")
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for the report."""
        return {
            "rule": self.rule.name,
            "column": "+".join(self.rule.columns) or None,
            "policy": self.rule.policy,
            "count": self.count,
            "share": round(self.share, 6),
            "tolerated": self.rule.tolerated_share,
            "passed": self.passed,
            "examples": [
                {"row": row, "value": _to_json_value(value)} for row, value in self.examples
            ],
        }


@dataclass(frozen=True)
class RowChecks:
    """The checks of one source that test each row by itself.

    Parameters
    ----------
    types
        Column -> the type as which it is read.
    checks
        Name that pandera reports -> check.
    schema_names
        Column -> its name in the schemas. Pandera takes a column with an empty name for the whole
        table, so columns are named by their positions there.
    not_null_labels
        Name in the schemas of a column that must not be null -> the label of that check. Pandera
        reports the nullability of all columns under one name.
    schemas
        Schemas of a few columns each: pandera's work grows with the square of a table's width.
    """

    types: dict[str, pl.DataType]
    checks: dict[str, ColumnRule]
    schema_names: dict[str, str]
    not_null_labels: dict[str, str]
    schemas: tuple[pa.DataFrameSchema, ...]

    def failures(self, frame: pl.DataFrame) -> dict[str, pl.Series]:
        """Find the rows that break each check: name of the check -> positions, ascending.

        ``frame`` has the columns of ``types``, in those types.
        """
        positions: dict[str, pl.Series] = {}
        frame = frame.rename(self.schema_names)
        for schema in self.schemas:
            positions |= self._failures(frame.select(list(schema.columns)), schema)
        return positions

    def _failures(self, frame: pl.DataFrame, schema: pa.DataFrameSchema) -> dict[str, pl.Series]:
        from pandera.errors import SchemaErrors

        try:
            schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            cases = errors.failure_cases
        else:
            return {}
        is_null_check = pl.col("check") == "not_nullable"
        key = (
            pl.when(is_null_check)
            .then(pl.col("column").replace(self.not_null_labels))
            .otherwise(pl.col("check"))
        )
        cases = cases.select(key.alias("key"), pl.col("index").cast(pl.UInt32))
        groups = cases.partition_by("key", as_dict=True, include_key=False)
        return {str(name): rows["index"].sort() for (name,), rows in groups.items()}


def compile_rows(source: str, rules: SourceRules) -> RowChecks:
    """Compile the rules on nullability, ranges, allowed values and patterns.

    Raises
    ------
    BadParams
        If a rule doesn't fit the type of its column.
    """
    import pandera.polars as pa

    checks: dict[str, ColumnRule] = {}
    columns: dict[str, pa.Column] = {}
    schema_names = {column: f"column_{number}" for number, column in enumerate(rules.columns)}
    not_null_labels: dict[str, str] = {}
    for column, column_rules in rules.columns.items():
        setting = f"validate.sources.{source}.columns.{column}"
        pandera_checks = []
        for name, rule, make_check in _pandera_checks(column_rules, setting):
            check = ColumnRule(source, (column,), name, rule.policy, rule.tolerate)
            checks[check.label] = check
            pandera_checks.append(make_check(check.label))
        if not column_rules.nullable.value:
            rule = column_rules.nullable
            check = ColumnRule(source, (column,), NOT_NULL, rule.policy, rule.tolerate)
            checks[check.label] = check
            not_null_labels[schema_names[column]] = check.label
        columns[schema_names[column]] = pa.Column(
            DTYPES[column_rules.type], pandera_checks, nullable=column_rules.nullable.value
        )
    types = {c: DTYPES[r.type] for c, r in rules.columns.items()}
    named_columns = list(columns.items())
    blocks = (
        dict(named_columns[start : start + _SCHEMA_COLUMNS])
        for start in range(0, len(named_columns), _SCHEMA_COLUMNS)
    )
    return RowChecks(
        types, checks, schema_names, not_null_labels, tuple(map(pa.DataFrameSchema, blocks))
    )


def _pandera_checks(rules: ColumnRules, setting: str) -> Iterator[tuple[str, Rule[Any], Any]]:
    """Yield name, rule, and a function that makes the pandera check with a certain error name."""
    import pandera.polars as pa

    if rules.min is not None:
        low = _parse_limit(rules.min.value, rules.type, f"{setting}.min")
        yield f"min {rules.min.value}", rules.min, lambda error: pa.Check.ge(low, error=error)
    if rules.max is not None:
        high = _parse_limit(rules.max.value, rules.type, f"{setting}.max")
        yield f"max {rules.max.value}", rules.max, lambda error: pa.Check.le(high, error=error)
    if rules.allowed is not None:
        allowed = rules.allowed.value
        values = [_parse_value(v, rules.type, f"{setting}.allowed") for v in allowed]
        ellipsis = ", ..." if len(allowed) > _LISTED_VALUES else ""
        name = f"allowed {', '.join(str(v) for v in allowed[:_LISTED_VALUES])}{ellipsis}"
        yield name, rules.allowed, lambda error: pa.Check.isin(values, error=error)
    if rules.pattern is not None:
        pattern = rules.pattern.value
        _check_pattern(pattern, rules.type, f"{setting}.pattern")
        yield (
            f"pattern {pattern}",
            rules.pattern,
            lambda error: pa.Check.str_contains(pattern, error=error),
        )


def _parse_limit(value: Any, kind: TypeName, setting: str) -> Any:
    if kind in {"string", "boolean"}:
        raise BadParams(
            f"{setting} is {value!r}, but the column's type is {kind}, which has no order to limit",
            "Use `allowed` or `pattern`.",
        )
    return _parse_value(value, kind, setting)


def _parse_value(value: Any, kind: TypeName, setting: str) -> Any:
    """Convert a value of the parameters to the type of its column."""
    if isinstance(value, str) and kind in {"date", "datetime"}:
        value = _parse_time(value)
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
            f"{setting} has {value!r}, which is not of the column's type {kind}",
            "Quote a text that looks like something else, or correct the column's `type`.",
        )
    if kind == "datetime":
        return in_utc(value)
    return value.date() if isinstance(value, dt.datetime) else value


def _parse_time(text: str) -> Any:
    """Parse a date or time; other texts stay as they are, and are rejected by the caller."""
    try:
        return dt.datetime.fromisoformat(text)
    except ValueError:
        return text


def _check_pattern(pattern: str, kind: TypeName, setting: str) -> None:
    if kind != "string":
        raise BadParams(
            f"{setting} is {pattern!r}, but the column's type is {kind}",
            "Patterns are for strings.",
        )
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.ComputeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise BadParams(
            f"{setting} is {pattern!r}, which is not a regular expression ({reason})",
            "Correct it; a backslash before a character takes it literally.",
        ) from None


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(_format(v) for v in value)})"
    return str(value) if isinstance(value, dt.date) else repr(value)


def _to_json_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_to_json_value(v) for v in value]
    plain = value is None or isinstance(value, (bool, int, str))
    if isinstance(value, float):
        return value if abs(value) != float("inf") else str(value)
    return value if plain else str(value)
