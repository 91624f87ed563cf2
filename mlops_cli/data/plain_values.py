"""Plain Python values, such as JSON gives them, as columns of a type.

All values of a column are looked at together where they can be: one by one they would take a
hundred times as long, and who sends nonsense could have a service do nothing else.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from types import NoneType
from typing import Any

import polars as pl

from mlops_cli.data.column_types import (
    FIRST_MOMENT,
    LAST_MOMENT,
    TypeMismatch,
    convert,
    convert_or_null,
    ingested_type,
    type_name,
)

__all__ = ["LONGEST_TEXT", "float_columns", "mixed_column", "single_value", "typed_column"]

_PLAIN: dict[Any, set[type]] = {
    pl.Int64: {int},
    pl.Float64: {float, int},
    pl.String: {str},
    pl.Boolean: {bool},
}
"""Python types whose values need no look by themselves; true is no number here."""
_SUSPECT: set[type] = {list, dict, str}
_LONGEST = 1_000
"""Characters of the longest text that says a number or a moment."""
LONGEST_TEXT = 100_000
"""Characters of a text: what expressions and features make of one may be many times as long."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_UNFIT = (TypeMismatch, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)


def typed_column(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """Values in their type, by the rules of ingest where they come in another one."""
    found = set(map(type, values)) - {NoneType}
    kind = type(dtype)
    if kind is pl.Datetime and found == {str} and (moments := _moments(values)) is not None:
        return pl.Series(name, moments, dtype=pl.Int64).cast(dtype)
    if kind in _PLAIN and found <= _PLAIN[kind]:
        # Not numbers are missing; JSON has none, but who calls from Python may.
        if float in found and any(v != v for v in values):  # noqa: PLR0124
            values = [None if v != v else v for v in values]  # noqa: PLR0124
        if str in found and any(v is not None and len(v) > LONGEST_TEXT for v in values):
            raise TypeError(name)
        made = pl.Series(name, values, dtype=dtype, strict=False)
        if made.null_count() != values.count(None):
            # Python's integers have no end, and the column's have.
            raise TypeMismatch(name, max(values, key=_size), type_name(dtype))
        return made
    if found & _SUSPECT and any(_hopeless(v, dtype) for v in values):
        raise TypeError(name)
    return convert(pl.Series(name, values, strict=True), dtype)


def float_columns(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> pl.DataFrame | None:
    """Float columns from a few rows of many values; None where a value needs a look by itself.

    The same as ``typed_column`` gives, in a fiftieth of the time.
    """
    lines = list[pl.Series]()
    for values in rows:
        if not set(map(type, values)) <= {float, int, NoneType}:
            return None
        line = pl.Series("", values, dtype=pl.Float64, strict=False)
        if line.null_count() != values.count(None) or line.is_nan().any():
            return None
        lines.append(line.alias(str(len(lines))))
    return pl.DataFrame(lines).transpose(column_names=list(names))


def _size(value: Any) -> float:
    return 0.0 if value is None else abs(value)


def _hopeless(value: Any, dtype: pl.DataType) -> bool:
    """Whether a value can't be of the type, where Polars would take long to find out."""
    if isinstance(value, str):
        return len(value) > (LONGEST_TEXT if dtype == pl.String else _LONGEST)
    return isinstance(value, (list, dict)) and not dtype.is_nested()


def mixed_column(
    name: str, values: Sequence[Any], dtype: pl.DataType
) -> tuple[pl.Series, list[int]]:
    """A column of values of several types, with null for those that don't fit; and where these are.

    Values of one Python type are converted together.
    """
    kinds: dict[type, list[int]] = {}
    for place, value in enumerate(values):
        kinds.setdefault(type(value), []).append(place)
    parts, places, lost = [pl.Series(name, [], dtype=dtype)], list[int](), list[int]()
    for kind, its in kinds.items():
        part, bad = _of_kind(name, kind, [values[i] for i in its], dtype)
        parts.append(part)
        places += its
        lost += [its[i] for i in bad]
    order = pl.Series(places, dtype=pl.Int64).arg_sort()
    return pl.concat(parts).gather(order), sorted(lost)


def _of_kind(
    name: str, kind: type, values: list[Any], dtype: pl.DataType
) -> tuple[pl.Series, list[int]]:
    """Values of one Python type, as for ``mixed_column``."""
    if kind is NoneType:
        return pl.Series(name, values, dtype=dtype), []
    if kind is int and not dtype.is_float():
        bad = [i for i, v in enumerate(values) if not -(2**63) <= v < 2**63]
    else:
        bad = [i for i, v in enumerate(values) if _hopeless(v, dtype)]
    good: list[Any] = list(values)
    for i in bad:
        good[i] = None
    if len(bad) == len(values):
        return pl.Series(name, good, dtype=dtype), bad
    try:
        if kind is int:
            made = pl.Series(name, good, dtype=pl.Float64 if dtype.is_float() else pl.Int64)
        else:
            made = pl.Series(name, good, strict=True)
        made, unfit = convert_or_null(made, dtype)
    except _UNFIT:
        singles = [None if v is None else single_value(name, v, dtype) for v in good]
        missed = [i for i, one in enumerate(singles) if one is None and values[i] is not None]
        nothing = pl.Series(name, [None], dtype=dtype)
        return pl.concat([nothing if one is None else one for one in singles]), missed
    if unfit is not None:
        bad = sorted({*bad, *unfit.arg_true().to_list()})
    return made, bad


def _moments(texts: Sequence[str | None]) -> list[int | None] | None:
    """ISO 8601 moments in microseconds; None where one has a shape that needs more care."""
    read: dict[str | None, int | None] = {None: None}
    for text in set(texts) - {None}:
        assert text is not None  # noqa: S101 - taken out
        if not _MOMENT.fullmatch(text):
            return None
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        exact = (moment - _EPOCH) // _MICROSECOND
        if not FIRST_MOMENT <= exact <= LAST_MOMENT:
            return None
        read[text] = exact
    return [read[text] for text in texts]


def single_value(name: str, value: Any, dtype: pl.DataType) -> pl.Series | None:
    """A column of one value; None where it can't be of the type."""
    if _hopeless(value, dtype):
        return None
    try:
        one = pl.Series(name, [value])
        if one.dtype != ingested_type(one.dtype) and one.dtype != pl.Null:
            one = convert(one, ingested_type(one.dtype))
        return convert(one, dtype)
    except _UNFIT:
        return None
