"""Table rules: structure, unique keys, references between tables, size and freshness.

Row positions start at 0; row numbers of examples start at 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data.column_types import DTYPES, type_name
from mlops_cli.errors import BadParams, nearest
from mlops_cli.validation.column_rules import ColumnRule, RuleFinding

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from mlops_cli.params.validate import Reference, SourceRules

__all__ = ["cast", "duplicates", "freshness", "missing_references", "size", "structure"]

_POSITION = "_at"


def structure(source: str, rules: SourceRules, table: pl.LazyFrame, rows: int) -> list[RuleFinding]:
    """Find columns that are missing, have another type, or have no rules.

    An integer column counts as number, too. A number column with only whole values counts as
    integer. A column without any value has every type.
    """
    schema = table.collect_schema()
    findings = []
    for column, column_rules in rules.columns.items():
        expectation = f"params.yaml says {column_rules.type}"
        if column not in schema:
            available = [c for c in schema if not c.startswith("_")]
            message = (
                f"{source} has no column {column!r}, {expectation}. {nearest(column, available)}"
            )
            check = ColumnRule(source, (column,), "present")
            findings.append(RuleFinding(check, rows, rows, (), message.strip().rstrip(".")))
        elif not _fits(table.select(column), schema[column], DTYPES[column_rules.type]):
            message = f"{source}.{column} is {type_name(schema[column])}, {expectation}"
            check = ColumnRule(source, (column,), f"type {column_rules.type}")
            findings.append(RuleFinding(check, rows, rows, (), message))
    others = [c for c in schema if c not in rules.columns and not c.startswith("_")]
    if others and rules.other_columns != "allow":
        check = ColumnRule(source, (), "no other columns", rules.other_columns)
        message = f"{source} has columns that params.yaml doesn't name: {', '.join(others[:5])}"
        names = tuple((None, name) for name in others[:5])
        findings.append(RuleFinding(check, len(others), len(schema), names, message))
    return findings


def _fits(column: pl.LazyFrame, actual: pl.DataType, expected: pl.DataType) -> bool:
    if actual == expected or (actual == DTYPES["integer"] and expected == DTYPES["number"]):
        return True
    if actual == DTYPES["number"] and expected == DTYPES["integer"]:
        is_whole = column.select((pl.all().round() == pl.all()).all())
        return bool(is_whole.collect(engine="streaming").item())
    is_empty = column.select(pl.all().is_null().all())
    return bool(is_empty.collect(engine="streaming").item())


def cast(column: str, actual: pl.DataType, expected: pl.DataType) -> pl.Expr:
    """Cast a column that ``structure`` has accepted to the type of its rules."""
    if actual.is_numeric() and expected.is_numeric():
        return pl.col(column).cast(expected)
    # The column has no values, and not every pair of types has a cast.
    return pl.when(pl.col(column).is_null()).then(pl.lit(None, expected)).alias(column)


def duplicates(table: pl.LazyFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Find rows with the key of an earlier row; keys with a null are ignored.

    Returns the positions (column ``_at``) and the key.
    """
    key = [pl.col(c) for c in columns]
    whole_key = key[0] if len(key) == 1 else pl.struct(key)
    return (
        table.select(key)
        .with_row_index(_POSITION)
        .filter(c.is_not_null() for c in key)
        .filter(~whole_key.is_first_distinct())
        .collect()
    )


def missing_references(
    table: pl.LazyFrame, reference: Reference, other: pl.LazyFrame, setting: str
) -> pl.DataFrame:
    """Find rows whose key isn't in the referenced table; keys with a null are ignored.

    Returns the positions (column ``_at``) and the key.

    Raises
    ------
    BadParams
        If columns don't exist, or can't be compared.
    """
    if len(reference.columns) != len(reference.to) or not reference.columns:
        raise BadParams(
            f"{setting} pairs {len(reference.columns)} columns with {len(reference.to)}",
            "Give `columns` and `to` the same number of columns.",
        )
    own_schema, other_schema = table.collect_schema(), other.collect_schema()
    left, right = [], []
    for column, target in zip(reference.columns, reference.to, strict=True):
        for name, schema in ((column, own_schema), (target, other_schema)):
            if name not in schema:
                raise BadParams(
                    f"{setting} names the column {name!r}, which is not there",
                    nearest(name, schema),
                )
        types = {own_schema[column], other_schema[target]}
        if len(types) > 1 and not all(t.is_numeric() for t in types):
            raise BadParams(
                f"{setting} compares {column!r} ({type_name(own_schema[column])}) with "
                f"{reference.source}.{target} ({type_name(other_schema[target])})",
                "State the same type for both under `types`.",
            )
        common = own_schema[column] if len(types) == 1 else DTYPES["number"]
        left.append(pl.col(column).cast(common))
        right.append(pl.col(target).cast(common).alias(column))
    keys = table.select(left).with_row_index(_POSITION).filter(c.is_not_null() for c in left)
    other_keys = other.select(right).unique()
    missing = keys.join(other_keys, on=list(reference.columns), how="anti")
    return missing.sort(_POSITION).collect(engine="streaming")


def size(source: str, rows: int, bounds: tuple[int, int | None]) -> RuleFinding:
    """Compare the number of rows with its bounds."""
    low, high = bounds
    text = f"rows >= {low}" if high is None else f"rows {low} to {high}"
    broken = rows < low or (high is not None and rows > high)
    message = f"{source} has {rows} rows, and params.yaml asks for `{text}`"
    examples: tuple[tuple[Any, Any], ...] = ((None, rows),) if broken else ()
    return RuleFinding(ColumnRule(source, (), text), int(broken), 1, examples, message)


def freshness(
    check: ColumnRule, table: pl.LazyFrame, until: dt.datetime, within: str
) -> RuleFinding:
    """Compare the newest time of the check's column with the data clock."""
    newest = pl.col(check.columns[0]).max().cast(DTYPES["datetime"])
    oldest_allowed = pl.lit(until, DTYPES["datetime"]).dt.offset_by(f"-{within}")
    times = table.select(newest.alias("newest"), (newest < oldest_allowed).alias("stale")).collect()
    last, stale = times.row(0)
    broken = stale is None or stale
    message = f"{check.subject} is at most {last}, more than {within} before the data clock {until}"
    return RuleFinding(check, int(broken), 1, ((None, str(last)),) if broken else (), message)
