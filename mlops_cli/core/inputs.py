"""A caller's rows as typed columns of the base source, with an error for each unfit value."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import NoneType
from typing import Any

import polars as pl

from mlops_cli.core.columntypes import (
    FIRST_MOMENT,
    LAST_MOMENT,
    MisfitError,
    convert,
    fitted,
    normal,
    printable,
    type_name,
)
from mlops_cli.errors import nearest

__all__ = ["Inputs", "Read", "RowError", "RowWarning", "shown"]

_SHOWN = 80
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
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class RowError:
    """Why a row can't be scored.

    Attributes
    ----------
    row
        Its position, from 0; None where every row has the fault.
    column, value
        Where, and what was given, shortened.
    """

    row: int | None
    column: str
    value: str | None
    message: str


@dataclass(frozen=True)
class RowWarning:
    """Why a row's prediction rests on less than it seems (see ``core.policies``).

    Attributes
    ----------
    row, column, value, message
        As in ``RowError``.
    kind
        missing, range or unseen.
    policy
        flag, or impute where the value was taken as missing.
    """

    row: int
    column: str
    value: str | None
    message: str
    kind: str
    policy: str


@dataclass(frozen=True)
class Read:
    """Rows that were understood, where they stood, and what was wrong with the others."""

    frame: pl.DataFrame
    index: Sequence[int]
    errors: tuple[RowError, ...] = ()
    warnings: tuple[RowWarning, ...] = ()

    def part(self, start: int, size: int) -> Read:
        """Some of the rows, as if only they had been given; where none was refused."""
        warnings = tuple(
            replace(w, row=w.row - start) for w in self.warnings if start <= w.row < start + size
        )
        frame = self.frame.slice(start, size)
        return Read(frame, range(frame.height), (), warnings)

    def only(self, good: pl.Series, errors: Sequence[RowError]) -> Read:
        """Without the rows for which ``good`` is false, of which ``errors`` tell why."""
        if not errors:
            return self
        index = [row for row, fits in zip(self.index, good, strict=True) if fits]
        left = set(index)
        warnings = tuple(w for w in self.warnings if w.row in left)
        told = sorted((*self.errors, *errors), key=lambda e: -1 if e.row is None else e.row)
        return Read(self.frame.filter(good), index, tuple(told), warnings)


@dataclass(frozen=True)
class Inputs:
    """The raw columns of the base source, as the calling system knows them.

    Parameters
    ----------
    columns
        Every column that may be given, with the type that it is brought to.
    needed
        Those that must be given (though a value may be null).
    optional
        Those that are looked at if they are given; all others are passed over.
    """

    columns: Mapping[str, pl.DataType]
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def read(self, rows: Sequence[Mapping[str, Any]]) -> Read:
        """Typed columns of rows, such as JSON gives them."""
        try:
            given = {c: [row[c] for row in rows] for c in self.needed}
        except KeyError:
            return self._lacking(rows)
        for c in self.optional:
            given[c] = [row.get(c) for row in rows]
        return self._typed(given, range(len(rows)))

    def read_frame(self, frame: pl.DataFrame) -> Read:
        """Typed columns of a table."""
        lacking = tuple(
            self._missing(c, frame.columns, None) for c in self.needed if c not in frame.columns
        )
        if lacking:
            return Read(frame.clear(), (), lacking)
        columns: list[pl.Series] = []
        errors: list[RowError] = []
        for c in (*self.needed, *self.optional):
            dtype = self.columns[c]
            if c not in frame.columns:
                columns.append(pl.repeat(None, frame.height, dtype=dtype, eager=True).alias(c))
                continue
            made, lost = _fitted(frame.get_column(c), dtype)
            columns.append(made)
            if lost is not None:
                errors += self._misfits(frame.get_column(c), lost)
        typed = pl.DataFrame(columns)
        if not errors:
            return Read(typed, range(frame.height))
        bad = {e.row for e in errors}
        good = [i for i in range(frame.height) if i not in bad]
        ordered = sorted(errors, key=lambda e: e.row or 0)
        return Read(typed[good], good, tuple(ordered))

    def values(self, given: Mapping[str, Any]) -> list[Any] | None:
        """Some columns' values of one row, typed; None where one doesn't fit."""
        found = []
        for c, value in given.items():
            one = _alone(c, value, self.columns[c]) if c in self.columns else pl.Series(c, [value])
            if one is None:
                return None
            found.append(one[0])
        return found

    def _typed(self, given: Mapping[str, Sequence[Any]], index: Sequence[int]) -> Read:
        try:
            columns = [_column(c, values, self.columns[c]) for c, values in given.items()]
            return Read(pl.DataFrame(columns), index)
        except (MisfitError, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            return self._row_by_row(given, index)

    def _row_by_row(self, given: Mapping[str, Sequence[Any]], index: Sequence[int]) -> Read:
        """The good rows; slow, as each value is looked at by itself."""
        errors: list[RowError] = []
        converted: dict[str, list[pl.Series]] = {}
        for c, values in given.items():
            converted[c] = []
            for position, value in zip(index, values, strict=True):
                one = _alone(c, value, self.columns[c])
                if one is None:
                    wanted = type_name(self.columns[c])
                    errors.append(self._misfit(position, c, value, wanted))
                    one = pl.Series(c, [None], dtype=self.columns[c])
                converted[c].append(one)
        bad = {e.row for e in errors}
        good = [i for i, position in enumerate(index) if position not in bad]
        frame = pl.DataFrame([pl.concat(parts) for parts in converted.values()])[good]
        return Read(frame, [index[i] for i in good], tuple(errors))

    def _misfits(self, given: pl.Series, lost: pl.Series) -> list[RowError]:
        wanted = type_name(self.columns[given.name])
        rows = lost.arg_true()
        return [
            self._misfit(row, given.name, value, wanted)
            for row, value in zip(
                rows.to_list(), printable(given.gather(rows)).to_list(), strict=True
            )
        ]

    def _misfit(self, row: int, column: str, value: Any, wanted: str) -> RowError:
        text = shown(value)
        return RowError(row, column, text, f"{text} in column {column!r} is not of type {wanted}")

    def _lacking(self, rows: Sequence[Mapping[str, Any]]) -> Read:
        errors = [
            self._missing(c, row, position)
            for position, row in enumerate(rows)
            for c in self.needed
            if c not in row
        ]
        asked = (*self.needed, *self.optional)
        found = self._typed({c: [row.get(c) for row in rows] for c in asked}, range(len(rows)))
        lacking = {e.row for e in errors}
        good = [i for i, position in enumerate(found.index) if position not in lacking]
        ordered = sorted((*errors, *found.errors), key=lambda e: (e.row, e.column))
        return Read(found.frame[good], [found.index[i] for i in good], tuple(ordered))

    def _missing(self, column: str, given: Any, row: int | None) -> RowError:
        unknown = [c for c in given if c not in self.columns]
        hint = nearest(column, unknown) if unknown else ""
        return RowError(
            row, column, None, " ".join([f"column {column!r} is missing.", hint]).strip()
        )


def _column(name: str, values: Sequence[Any], dtype: pl.DataType) -> pl.Series:
    """Values in their type, by the rules of ingest where they come in another one."""
    found = set(map(type, values)) - {NoneType}
    kind = type(dtype)
    if kind is pl.Datetime and found == {str} and (moments := _moments(values)) is not None:
        return pl.Series(name, moments, dtype=pl.Int64).cast(dtype)
    if kind in _PLAIN and found <= _PLAIN[kind]:
        # Not numbers are missing; JSON has none, but who calls from Python may.
        if float in found and any(v != v for v in values):  # noqa: PLR0124
            values = [None if v != v else v for v in values]  # noqa: PLR0124
        made = pl.Series(name, values, dtype=dtype, strict=False)
        if made.null_count() != values.count(None):
            # Python's integers have no end, and the column's have.
            raise MisfitError(name, max(values, key=_size), type_name(dtype))
        return made
    if found & _SUSPECT and any(_hopeless(v, dtype) for v in values):
        raise TypeError(name)
    return convert(pl.Series(name, values, strict=True), dtype)


def _size(value: Any) -> float:
    return 0.0 if value is None else abs(value)


def _hopeless(value: Any, dtype: pl.DataType) -> bool:
    """Whether a value can't be of the type, where Polars would take long to find out."""
    if isinstance(value, str):
        return len(value) > _LONGEST and dtype != pl.String
    return isinstance(value, (list, dict)) and not dtype.is_nested()


def _fitted(values: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, pl.Series | None]:
    try:
        return fitted(values, dtype)
    except pl.exceptions.PolarsError:
        # No value of such a type, such as a list, can be read.
        return pl.Series(values.name, [None] * len(values), dtype=dtype), values.is_not_null()


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


def _alone(name: str, value: Any, dtype: pl.DataType) -> pl.Series | None:
    """A column of one value; None where it can't be of the type."""
    if _hopeless(value, dtype):
        return None
    try:
        one = pl.Series(name, [value])
        if one.dtype != normal(one.dtype) and one.dtype != pl.Null:
            one = convert(one, normal(one.dtype))
        return convert(one, dtype)
    except (MisfitError, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return None


def shown(value: Any) -> str:
    """A value as messages have it, shortened."""
    if isinstance(value, str):
        value = value[:_SHOWN]
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
