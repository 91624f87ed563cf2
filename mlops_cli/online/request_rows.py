"""A caller's rows as typed columns of the base source, with an error for each unfit value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any

import polars as pl

from mlops_cli.data.column_types import (
    TypeMismatch,
    convert_or_null,
    printable,
    table_of,
    type_name,
)
from mlops_cli.data.plain_values import (
    LONGEST_TEXT,
    float_columns,
    mixed_column,
    single_value,
    typed_column,
)
from mlops_cli.errors import nearest

__all__ = [
    "FEW_ROWS",
    "WIDE",
    "FlaggedRows",
    "ParsedRows",
    "RequestRows",
    "RowError",
    "RowErrors",
    "RowWarning",
    "shorten_value",
]

FEW_ROWS, WIDE = 8, 32
"""Up to so many rows of at least so many columns are taken row by row: a column has its own cost.
"""
_SHOWN = 80
_MANY = 100
"""Errors from which on a row is given no more than its first."""
_HINTS = 5
"""Missing columns for which a similar name is looked for, among so many that aren't known."""
_UNKNOWN = 200


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
    """Why a row's prediction rests on less than it seems (see ``online.value_policies``).

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
class FlaggedRows:
    """The rows whose value in a column a policy flags, or takes as missing.

    Attributes
    ----------
    kind, policy
        As in ``RowWarning``.
    rows
        True where it does, shape (rows,).
    """

    column: str
    kind: str
    policy: str
    rows: pl.Series


@dataclass(frozen=True)
class ParsedRows:
    """Rows that were understood, where they stood, and what was wrong with the others.

    Attributes
    ----------
    warnings
        As many as are listed; ``flagged`` has all.
    """

    frame: pl.DataFrame
    index: Sequence[int]
    errors: tuple[RowError, ...] = ()
    warnings: tuple[RowWarning, ...] = ()
    flagged: tuple[FlaggedRows, ...] = ()

    def unlisted(self) -> dict[int, int]:
        """Row -> how many of its warnings are not listed, of rows that have such."""
        if sum(f.rows.sum() for f in self.flagged) == len(self.warnings):
            return {}
        counts = pl.zeros(self.frame.height, dtype=pl.UInt32, eager=True)
        for one in self.flagged:
            counts += one.rows.cast(pl.UInt32)
        left = dict(zip(self.index, counts.to_list(), strict=True))
        for warning in self.warnings:
            left[warning.row] -= 1
        return {row: count for row, count in left.items() if count}

    def part(self, start: int, size: int) -> ParsedRows:
        """Some of the rows, as if only they had been given; where none was refused."""
        warnings = tuple(
            replace(w, row=w.row - start) for w in self.warnings if start <= w.row < start + size
        )
        frame = self.frame.slice(start, size)
        flagged = tuple(replace(f, rows=f.rows.slice(start, size)) for f in self.flagged)
        return ParsedRows(frame, range(frame.height), (), warnings, flagged)

    def only(self, good: pl.Series, errors: Sequence[RowError]) -> ParsedRows:
        """Without the rows for which ``good`` is false, of which ``errors`` tell why."""
        if not errors:
            return self
        index = [row for row, fits in zip(self.index, good, strict=True) if fits]
        left = set(index)
        warnings = tuple(w for w in self.warnings if w.row in left)
        told = sorted((*self.errors, *errors), key=lambda e: -1 if e.row is None else e.row)
        flagged = tuple(replace(f, rows=f.rows.filter(good)) for f in self.flagged)
        return ParsedRows(self.frame.filter(good), index, tuple(told), warnings, flagged)


@dataclass(frozen=True)
class RequestRows:
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

    def read(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        """Typed columns of rows, such as JSON gives them."""
        try:
            given = {c: [row[c] for row in rows] for c in self.needed}
        except KeyError:
            return self._lacking(rows)
        for c in self.optional:
            given[c] = [row.get(c) for row in rows]
        return self._typed(given, range(len(rows)))

    def read_frame(self, frame: pl.DataFrame, *, thorough: bool = False) -> ParsedRows:
        """Typed columns of a table; with ``thorough``, every error of every row."""
        missing = [c for c in self.needed if c not in frame.columns]
        if missing:
            hints = self._hints(missing, frame.columns)
            lacking = (_missing(c, None, hints) for c in missing[:_MANY])
            return ParsedRows(frame.clear(), (), tuple(lacking))
        columns: list[pl.Series] = []
        errors = RowErrors(thorough=thorough)
        for c in (*self.needed, *self.optional):
            dtype = self.columns[c]
            if c not in frame.columns:
                columns.append(pl.repeat(None, frame.height, dtype=dtype, eager=True).alias(c))
                continue
            values = frame.get_column(c)
            made, lost = _fitted(values, dtype)
            columns.append(made)
            if lost is not None:
                wanted = type_name(dtype)
                rows = errors.some(lost.arg_true().to_list())
                shown_values = printable(values.gather(rows)).to_list()
                for row, value in zip(rows, shown_values, strict=True):
                    errors.add(self._misfit(row, c, value, wanted), row)
        typed = table_of(columns)
        if not errors.rows:
            return ParsedRows(typed, range(frame.height))
        good = [i for i in range(frame.height) if i not in errors.rows]
        return ParsedRows(typed[good], good, errors.in_order())

    def values(self, given: Mapping[str, Any]) -> list[Any] | None:
        """Some columns' values of one row, typed; None where one doesn't fit."""
        found = []
        for c, value in given.items():
            one = (
                single_value(c, value, self.columns[c])
                if c in self.columns
                else pl.Series(c, [value])
            )
            if one is None:
                return None
            found.append(one[0])
        return found

    def _typed(self, given: Mapping[str, Sequence[Any]], index: Sequence[int]) -> ParsedRows:
        columns: list[pl.Series] = []
        errors = RowErrors()
        numbers = self._few_numbers(given, len(index))
        for c, values in given.items():
            if c in numbers:
                columns.append(numbers[c])
                continue
            dtype = self.columns[c]
            try:
                columns.append(typed_column(c, values, dtype))
            except (TypeMismatch, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
                made, lost = mixed_column(c, values, dtype)
                columns.append(made)
                wanted = type_name(dtype)
                for i in errors.some(lost):
                    errors.add(self._misfit(index[i], c, values[i], wanted), i)
        frame = table_of(columns)
        if not errors.rows:
            return ParsedRows(frame, index)
        good = [i for i in range(len(index)) if i not in errors.rows]
        return ParsedRows(frame[good], [index[i] for i in good], errors.in_order())

    def _few_numbers(
        self, given: Mapping[str, Sequence[Any]], rows: int
    ) -> Mapping[str, pl.Series]:
        """The columns of numbers of a few wide rows, all at once; none where that saves nothing."""
        if not 0 < rows <= FEW_ROWS or len(self._numbers) < WIDE:
            return {}
        values = [[given[c][row] for c in self._numbers] for row in range(rows)]
        frame = float_columns(values, self._numbers)
        return {} if frame is None else {c.name: c for c in frame.get_columns()}

    @cached_property
    def _numbers(self) -> list[str]:
        return [c for c in (*self.needed, *self.optional) if self.columns[c] == pl.Float64]

    def _misfit(self, row: int, column: str, value: Any, wanted: str) -> RowError:
        text, why = shorten_value(value), f"is not of type {wanted}"
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            why = f"has {len(value):,} characters, and may have {LONGEST_TEXT:,}"
        return RowError(row, column, text, f"{text} in column {column!r} {why}")

    def _lacking(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        asked = (*self.needed, *self.optional)
        read = self._typed({c: [row.get(c) for row in rows] for c in asked}, range(len(rows)))
        errors, hints = RowErrors(), dict[str, str]()
        for place, row in enumerate(rows):
            missing = [c for c in self.needed if c not in row]
            if missing and not hints:
                hints = self._hints(missing, row)
            for c in missing:
                if errors.some([place]):
                    errors.add(_missing(c, place, hints), place)
        good = [i for i, position in enumerate(read.index) if position not in errors.rows]
        ordered = sorted((*errors.all, *read.errors), key=lambda e: (e.row, e.column))
        return ParsedRows(read.frame[good], [read.index[i] for i in good], tuple(ordered))

    def _hints(self, missing: Sequence[str], given: Iterable[str]) -> dict[str, str]:
        """For the first missing columns, the most similar names among those that aren't known."""
        others = (c[:_SHOWN] for c in given if c not in self.columns)
        unknown = list(islice(others, _UNKNOWN))
        return {c: nearest(c, unknown) if unknown else "" for c in missing[:_HINTS]}


class RowErrors:
    """The errors of many rows: each row has its first; the first hundred are all told.

    Parameters
    ----------
    thorough
        Whether all are.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        self.all: list[RowError] = []
        self.rows: set[int] = set()
        self._thorough = thorough

    def some(self, places: Sequence[int]) -> list[int]:
        """Those of the rows whose further error is worth to be told."""
        if self._thorough:
            return list(places)
        room = max(0, _MANY - len(self.all))
        return [*places[:room], *(i for i in places[room:] if i not in self.rows)]

    def add(self, error: RowError, place: int) -> None:
        """Keep a row's error."""
        self.all.append(error)
        self.rows.add(place)

    def in_order(self) -> tuple[RowError, ...]:
        """By their rows."""
        return tuple(sorted(self.all, key=lambda e: e.row or 0))


def _missing(column: str, row: int | None, hints: Mapping[str, str]) -> RowError:
    message = f"column {column!r} is missing. {hints.get(column, '')}"
    return RowError(row, column, None, message.strip())


def _fitted(values: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, pl.Series | None]:
    """A column in its type; infinity stays one, as policies say what becomes of it."""
    try:
        made, lost = convert_or_null(values, dtype)
        if dtype == pl.String and (made.str.len_bytes() > LONGEST_TEXT).any():
            long = (made.str.len_chars() > LONGEST_TEXT).fill_null(value=False)
            if long.any():
                lost = long if lost is None else lost | long
    except pl.exceptions.PolarsError:
        # No value of such a type, such as a list, can be read.
        return pl.Series(values.name, [None] * len(values), dtype=dtype), values.is_not_null()
    if dtype.is_float() and made.null_count() > values.null_count():
        numbers = values.cast(dtype, strict=False)
        infinite = numbers.is_infinite().fill_null(value=False)
        if infinite.any():
            made = made.zip_with(~infinite, numbers)
    return made, lost


def shorten_value(value: Any) -> str:
    """A value as messages have it, shortened."""
    if isinstance(value, str):
        value = value[:_SHOWN]
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
