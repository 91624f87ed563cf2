"""Infers the types of text columns: from every value, never from the first few alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_cli.data.sql.tokens import is_selectable

if TYPE_CHECKING:
    from collections.abc import Callable

    import polars as pl

    from mlops_cli.params.ingest import TypeName

    Test = Callable[[pl.Expr], pl.Expr]

__all__ = ["TextTypes", "cast_columns", "read_text_types", "to_date", "to_datetime"]

MISSING = (
    "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NaT", "NULL", "Null", "null", "None", "none",
    "?", "-", "--", ".", "inf", "-inf",
)  # fmt: skip
"""Texts that mean a missing value if all other values of a column are of one type."""

TRUE_FALSE = ("true", "false", "True", "False", "TRUE", "FALSE")

INTEGER = r"^-?(0|[1-9][0-9]{0,18})$"
# Whole numbers that a float can't distinguish are codes: of an account, of an order.
LONG_CODE = r"^[+-]?[0-9]{19,}$"
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
# 00123 is a code (of a place, a product), and its zeros mean something.
CODE = r"^[+-]?0[0-9]"
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
DATETIME = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?"
    r"(Z|[+-][0-9]{2}:?[0-9]{2})?$"
)

HEAD = 20_000
"""Rows that decide which types are tested over the whole table."""


@dataclass(frozen=True)
class TextTypes:
    """The type of each text column, and the texts that mean a missing value in it."""

    types: dict[str, TypeName]
    null_values: dict[str, tuple[str, ...]] = field(default_factory=dict)


def read_text_types(frame: pl.LazyFrame, *, only_dates: bool = False) -> TextTypes:
    """Infer the types of a table whose columns are all text.

    Every value of a column is of its inferred type, or empty, or one of its ``null_values``. A
    column that stays text has none, because any text may be a value. Two streaming passes: over
    the first rows, and over all of them for the types that are then still possible.

    Parameters
    ----------
    frame
        String columns only.
    only_dates
        Infer only dates and datetimes: text that holds numbers was meant to be text.
    """
    kinds: tuple[TypeName, ...] = ("date", "datetime") if only_dates else tuple(_TESTS)
    names = frame.collect_schema().names()
    possible = _passing_types(
        frame.head(HEAD), {n: kinds if is_selectable(n) else () for n in names}
    )
    passing = _passing_types(frame, possible)
    # Only a column without any value passes every test.
    types: dict[str, TypeName] = {
        n: passing[n][0] if passing[n] and passing[n] != kinds else "string" for n in names
    }
    parsed = [n for n in names if types[n] != "string"]
    return TextTypes(types, {} if only_dates else _missing_texts(frame, parsed))


def cast_columns(frame: pl.LazyFrame, found: TextTypes) -> pl.LazyFrame:
    """Cast each text column to its inferred type."""
    import polars as pl

    casts = []
    for name, kind in found.types.items():
        if not is_selectable(name):
            continue
        text = pl.col(name)
        text = pl.when(~text.is_in(["", *found.null_values.get(name, ())])).then(text)
        if kind == "integer":
            text = _trim(text).cast(pl.Int64, strict=False)
        elif kind == "number":
            text = _trim(text).cast(pl.Float64, strict=False)
        elif kind == "boolean":
            text = text.str.to_lowercase() == "true"
        elif kind == "date":
            text = to_date(text)
        elif kind == "datetime":
            text = to_datetime(text)
        casts.append(text.alias(name))
    return frame.with_columns(casts)


def to_date(text: pl.Expr) -> pl.Expr:
    """Parse ISO dates; null if the text is none."""
    return text.str.to_date("%Y-%m-%d", strict=False)


def to_datetime(text: pl.Expr) -> pl.Expr:
    """Parse ISO datetimes to UTC; without an offset they are UTC."""
    import polars as pl

    normalised = text.str.replace("T", " ", literal=True).str.replace(r"Z$", "+00:00")
    normalised = normalised.str.replace(r"([+-][0-9]{2}):?([0-9]{2})$", "${1}${2}")
    with_offset = pl.when(text.str.contains(r":[0-9.]+(Z|[+-][0-9:]+)$")).then(normalised)
    without_offset = [
        normalised.str.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone("UTC")
        for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M")
    ]
    zoned = [
        with_offset.str.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
        for form in ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
    ]
    return pl.coalesce(*without_offset, *zoned)


def _trim(text: pl.Expr) -> pl.Expr:
    # CSV readers skip blanks before a number, and nothing else.
    return text.str.strip_chars_start(" ")


def _is_integer(text: pl.Expr) -> pl.Expr:
    import polars as pl

    # Some numbers of 19 digits don't fit into 64 bits.
    return text.str.contains(INTEGER) & text.cast(pl.Int64, strict=False).is_not_null()


def _is_number(text: pl.Expr) -> pl.Expr:
    return text.str.contains(NUMBER) & ~text.str.contains(CODE) & ~text.str.contains(LONG_CODE)


def _is_date(text: pl.Expr) -> pl.Expr:
    return text.str.contains(DATE) & to_date(text).is_not_null()


def _is_datetime(text: pl.Expr) -> pl.Expr:
    return text.str.contains(DATETIME) & to_datetime(text).is_not_null()


# In order of preference: what parses as an integer parses as a number, too.
_TESTS: dict[TypeName, Test] = {
    "boolean": lambda text: text.is_in(TRUE_FALSE),
    "integer": _is_integer,
    "number": _is_number,
    "date": _is_date,
    "datetime": _is_datetime,
}


def _passing_types(
    frame: pl.LazyFrame, kinds: dict[str, tuple[TypeName, ...]]
) -> dict[str, tuple[TypeName, ...]]:
    """Of the candidate types of each column, those that every value fits or is missing."""
    import polars as pl

    tests = []
    for i, (name, candidates) in enumerate(kinds.items()):
        for kind in candidates:
            text = pl.col(name)
            text = _trim(text) if kind in ("integer", "number") else text
            missing = text.is_null() | text.is_in(["", *MISSING])
            tests.append((missing | _TESTS[kind](text)).all().alias(f"{i} {kind}"))
    if not tests:
        return kinds
    results = frame.select(tests).collect(engine="streaming").row(0, named=True)
    return {
        name: tuple(k for k in candidates if results[f"{i} {k}"])
        for i, (name, candidates) in enumerate(kinds.items())
    }


def _missing_texts(frame: pl.LazyFrame, columns: list[str]) -> dict[str, tuple[str, ...]]:
    import polars as pl

    if not columns:
        return {}
    queries = [
        pl.col(name).filter(_trim(pl.col(name)).is_in(MISSING)).unique().implode().alias(str(i))
        for i, name in enumerate(columns)
    ]
    results = frame.select(queries).collect(engine="streaming").row(0)
    return {
        name: tuple(sorted(texts)) for name, texts in zip(columns, results, strict=True) if texts
    }
