"""Converts plain Python values, such as those of JSON, to typed columns.

The values of a column are converted together where possible. One by one, they would take a
hundred times as long, and a client that sends malformed values could keep a service busy.
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

__all__ = ["MAX_TEXT_CHARACTERS", "float_columns", "mixed_column", "single_value", "typed_column"]

_PLAIN: dict[Any, set[type]] = {
    pl.Int64: {int},
    pl.Float64: {float, int},
    pl.String: {str},
    pl.Boolean: {bool},
}
"""Python types whose values need no individual check; a boolean is no number here."""
_SUSPECT: set[type] = {list, dict, str}
_LONGEST_PARSED = 1_000
"""Maximum number of characters of a text that is parsed as a number or a moment."""
MAX_TEXT_CHARACTERS = 100_000
"""Maximum number of characters of a text; expressions may make it many times longer."""
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_CONVERSION_ERRORS = (TypeMismatch, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError)


def typed_column(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """Values as a column of a type; values of other types are converted by the rules of ingest."""
    python_types = set(map(type, values)) - {NoneType}
    kind = type(dtype)
    if (
        kind is pl.Datetime
        and python_types == {str}
        and (moments := _parse_moments(values)) is not None
    ):
        return pl.Series(name, moments, dtype=pl.Int64).cast(dtype)
    if kind in _PLAIN and python_types <= _PLAIN[kind]:
        # NaN is missing; JSON has none, but a caller from Python may pass it.
        if float in python_types and any(v != v for v in values):  # noqa: PLR0124
            values = [None if v != v else v for v in values]  # noqa: PLR0124
        if str in python_types and any(
            v is not None and len(v) > MAX_TEXT_CHARACTERS for v in values
        ):
            raise TypeError(name)
        column = pl.Series(name, values, dtype=dtype, strict=False)
        if column.null_count() != values.count(None):
            # Python's integers are unbounded, and the column's aren't.
            raise TypeMismatch(name, max(values, key=_magnitude), type_name(dtype))
        return column
    if python_types & _SUSPECT and any(_is_inconvertible(v, dtype) for v in values):
        raise TypeError(name)
    return convert(pl.Series(name, values, strict=True), dtype)


def float_columns(rows: Sequence[Sequence[Any]], names: Sequence[str]) -> pl.DataFrame | None:
    """Float columns from a few rows of many values; None if a value needs an individual check.

    The result is the same as that of ``typed_column``, in a fiftieth of the time.
    """
    series = list[pl.Series]()
    for values in rows:
        if not set(map(type, values)) <= {float, int, NoneType}:
            return None
        row = pl.Series("", values, dtype=pl.Float64, strict=False)
        if row.null_count() != values.count(None) or row.is_nan().any():
            return None
        series.append(row.alias(str(len(series))))
    return pl.DataFrame(series).transpose(column_names=list(names))


def _magnitude(value: Any) -> float:
    return 0.0 if value is None else abs(value)


def _is_inconvertible(value: Any, dtype: pl.DataType) -> bool:
    """Whether a value can't be of the type, in cases that take Polars long to find out."""
    if isinstance(value, str):
        return len(value) > (MAX_TEXT_CHARACTERS if dtype == pl.String else _LONGEST_PARSED)
    return isinstance(value, (list, dict)) and not dtype.is_nested()


def mixed_column(
    name: str, values: Sequence[Any], dtype: pl.DataType
) -> tuple[pl.Series, list[int]]:
    """A column of values of several types, with null for misfits; and the misfits' positions.

    Values of one Python type are converted together.
    """
    positions_by_type: dict[type, list[int]] = {}
    for position, value in enumerate(values):
        positions_by_type.setdefault(type(value), []).append(position)
    parts, all_positions, misfits = [pl.Series(name, [], dtype=dtype)], list[int](), list[int]()
    for kind, positions in positions_by_type.items():
        part, bad = _convert_kind(name, kind, [values[i] for i in positions], dtype)
        parts.append(part)
        all_positions += positions
        misfits += [positions[i] for i in bad]
    order = pl.Series(all_positions, dtype=pl.Int64).arg_sort()
    return pl.concat(parts).gather(order), sorted(misfits)


def _convert_kind(
    name: str, kind: type, values: list[Any], dtype: pl.DataType
) -> tuple[pl.Series, list[int]]:
    """Convert values of one Python type: the column, with null for misfits, and their positions."""
    if kind is NoneType:
        return pl.Series(name, values, dtype=dtype), []
    if kind is int and not dtype.is_float():
        bad = [i for i, v in enumerate(values) if not -(2**63) <= v < 2**63]
    else:
        bad = [i for i, v in enumerate(values) if _is_inconvertible(v, dtype)]
    good: list[Any] = list(values)
    for i in bad:
        good[i] = None
    if len(bad) == len(values):
        return pl.Series(name, good, dtype=dtype), bad
    try:
        if kind is int:
            column = pl.Series(name, good, dtype=pl.Float64 if dtype.is_float() else pl.Int64)
        else:
            column = pl.Series(name, good, strict=True)
        column, unfit = convert_or_null(column, dtype)
    except _CONVERSION_ERRORS:
        singles = [None if v is None else single_value(name, v, dtype) for v in good]
        misfits = [
            i for i, single in enumerate(singles) if single is None and values[i] is not None
        ]
        null = pl.Series(name, [None], dtype=dtype)
        return pl.concat([null if single is None else single for single in singles]), misfits
    if unfit is not None:
        bad = sorted({*bad, *unfit.arg_true().to_list()})
    return column, bad


def _parse_moments(texts: Sequence[str | None]) -> list[int | None] | None:
    """Parse ISO 8601 moments to microseconds; None if one needs the general parser."""
    microseconds: dict[str | None, int | None] = {None: None}
    for text in set(texts) - {None}:
        assert text is not None  # noqa: S101 - removed
        if not _MOMENT.fullmatch(text):
            return None
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        epoch_us = (moment - _EPOCH) // _MICROSECOND
        if not FIRST_MOMENT <= epoch_us <= LAST_MOMENT:
            return None
        microseconds[text] = epoch_us
    return [microseconds[text] for text in texts]


def single_value(name: str, value: Any, dtype: pl.DataType) -> pl.Series | None:
    """A column of one value; None if it can't be of the type."""
    if _is_inconvertible(value, dtype):
        return None
    try:
        column = pl.Series(name, [value])
        if column.dtype != ingested_type(column.dtype) and column.dtype != pl.Null:
            column = convert(column, ingested_type(column.dtype))
        return convert(column, dtype)
    except _CONVERSION_ERRORS:
        return None
