"""Checks that look at a whole table, or at two: types, keys, references, size, freshness.

Row positions are counted from 0; examples number rows from 1.
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

    from mlops_cli.params.data import Reference, SourceRules

__all__ = ["cast", "duplicates", "freshness", "missing_references", "size", "structure"]

_AT = "_at"


def structure(source: str, rules: SourceRules, table: pl.LazyFrame, rows: int) -> list[RuleFinding]:
    """Find columns that are missing, of another type, or without rules.

    An integer is a number; a number whose values are all whole is an integer; a column without any
    value is of every type.
    """
    schema = table.collect_schema()
    found = []
    for column, given in rules.columns.items():
        says = f"params.yaml says {given.type}"
        if column not in schema:
            known = [c for c in schema if not c.startswith("_")]
            message = f"{source} has no column {column!r}, {says}. {nearest(column, known)}"
            check = ColumnRule(source, (column,), "present")
            found.append(RuleFinding(check, rows, rows, (), message.strip().rstrip(".")))
        elif not _fits(table.select(column), schema[column], DTYPES[given.type]):
            message = f"{source}.{column} is {type_name(schema[column])}, {says}"
            check = ColumnRule(source, (column,), f"type {given.type}")
            found.append(RuleFinding(check, rows, rows, (), message))
    others = [c for c in schema if c not in rules.columns and not c.startswith("_")]
    if others and rules.other_columns != "allow":
        check = ColumnRule(source, (), "no other columns", rules.other_columns)
        message = f"{source} has columns that params.yaml doesn't name: {', '.join(others[:5])}"
        names = tuple((None, name) for name in others[:5])
        found.append(RuleFinding(check, len(others), len(schema), names, message))
    return found


def _fits(column: pl.LazyFrame, given: pl.DataType, wanted: pl.DataType) -> bool:
    if given == wanted or (given == DTYPES["integer"] and wanted == DTYPES["number"]):
        return True
    if given == DTYPES["number"] and wanted == DTYPES["integer"]:
        whole = column.select((pl.all().round() == pl.all()).all())
        return bool(whole.collect(engine="streaming").item())
    empty = column.select(pl.all().is_null().all())
    return bool(empty.collect(engine="streaming").item())


def cast(column: str, given: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """Bring a column that ``structure`` accepts to the type that its rules say."""
    if given.is_numeric() and wanted.is_numeric():
        return pl.col(column).cast(wanted)
    # There is no value in it, and not every pair of types has a cast.
    return pl.when(pl.col(column).is_null()).then(pl.lit(None, wanted)).alias(column)


def duplicates(table: pl.LazyFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Find rows whose key an earlier row has; a key with a null is none.

    Returns the positions (column ``_at``) and the key.
    """
    key = [pl.col(c) for c in columns]
    one = key[0] if len(key) == 1 else pl.struct(key)
    return (
        table.select(key)
        .with_row_index(_AT)
        .filter(c.is_not_null() for c in key)
        .filter(~one.is_first_distinct())
        .collect()
    )


def missing_references(
    table: pl.LazyFrame, reference: Reference, other: pl.LazyFrame, place: str
) -> pl.DataFrame:
    """Find rows whose key is not in the table that it refers to; a key with a null refers to none.

    Returns the positions (column ``_at``) and the key.

    Raises
    ------
    BadParams
        If the columns aren't there, or cannot be compared.
    """
    if len(reference.columns) != len(reference.to) or not reference.columns:
        raise BadParams(
            f"{place} pairs {len(reference.columns)} columns with {len(reference.to)}",
            "Give `columns` and `to` the same number of columns.",
        )
    mine, theirs = table.collect_schema(), other.collect_schema()
    left, right = [], []
    for column, to in zip(reference.columns, reference.to, strict=True):
        for name, schema in ((column, mine), (to, theirs)):
            if name not in schema:
                raise BadParams(
                    f"{place} names the column {name!r}, which is not there", nearest(name, schema)
                )
        types = {mine[column], theirs[to]}
        if len(types) > 1 and not all(t.is_numeric() for t in types):
            raise BadParams(
                f"{place} compares {column!r} ({type_name(mine[column])}) with "
                f"{reference.source}.{to} ({type_name(theirs[to])})",
                "State the same type for both under `types`.",
            )
        common = mine[column] if len(types) == 1 else DTYPES["number"]
        left.append(pl.col(column).cast(common))
        right.append(pl.col(to).cast(common).alias(column))
    keys = table.select(left).with_row_index(_AT).filter(c.is_not_null() for c in left)
    known = other.select(right).unique()
    found = keys.join(known, on=list(reference.columns), how="anti")
    return found.sort(_AT).collect(engine="streaming")


def size(source: str, rows: int, bounds: tuple[int, int | None]) -> RuleFinding:
    """Compare the number of rows with its bounds."""
    least, most = bounds
    text = f"rows >= {least}" if most is None else f"rows {least} to {most}"
    wrong = rows < least or (most is not None and rows > most)
    message = f"{source} has {rows} rows, and params.yaml asks for `{text}`"
    examples: tuple[tuple[Any, Any], ...] = ((None, rows),) if wrong else ()
    return RuleFinding(ColumnRule(source, (), text), int(wrong), 1, examples, message)


def freshness(
    check: ColumnRule, table: pl.LazyFrame, until: dt.datetime, within: str
) -> RuleFinding:
    """Compare the newest time, in the check's column, with the data clock."""
    newest = pl.col(check.columns[0]).max().cast(DTYPES["datetime"])
    oldest_allowed = pl.lit(until, DTYPES["datetime"]).dt.offset_by(f"-{within}")
    found = table.select(newest.alias("newest"), (newest < oldest_allowed).alias("stale")).collect()
    last, stale = found.row(0)
    wrong = stale is None or stale
    message = f"{check.subject} is at most {last}, more than {within} before the data clock {until}"
    return RuleFinding(check, int(wrong), 1, ((None, str(last)),) if wrong else (), message)
