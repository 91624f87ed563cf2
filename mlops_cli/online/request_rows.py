"""Parses request rows to typed columns of the base source, with an error for each bad value."""

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
"""Up to FEW_ROWS rows of at least WIDE columns are processed row by row, because each Polars column
has a fixed overhead."""
_MAX_SHOWN = 80
"""Characters of a value or a name that a message shows."""
_MAX_ERRORS = 100
"""After so many errors, only the first error of each further row is listed."""
_MAX_HINTS = 5
"""Missing columns for which a similar name is searched."""
_MAX_UNKNOWN = 200
"""Unknown columns of a row among which it is searched."""


@dataclass(frozen=True)
class RowError:
    """Why a row can't be scored.

    Attributes
    ----------
    row
        Position of the row, from 0; None if all rows have the error.
    column, value
        The column, and the shortened value.
    """

    row: int | None
    column: str
    value: str | None
    message: str


@dataclass(frozen=True)
class RowWarning:
    """Why a row's prediction is less reliable (see ``online.value_policies``).

    Attributes
    ----------
    row, column, value, message
        As in ``RowError``.
    kind
        missing, range or unseen.
    policy
        flag; or impute, if the value was replaced by null.
    """

    row: int
    column: str
    value: str | None
    message: str
    kind: str
    policy: str


@dataclass(frozen=True)
class FlaggedRows:
    """The rows whose value in a column was flagged or imputed by a policy.

    Attributes
    ----------
    kind, policy
        As in ``RowWarning``.
    rows
        True for each such row, shape (rows,).
    """

    column: str
    kind: str
    policy: str
    rows: pl.Series


@dataclass(frozen=True)
class ParsedRows:
    """Parsed rows, and the errors of the others.

    Attributes
    ----------
    frame
        The valid rows with typed columns.
    index
        Position in the request of each row of ``frame``.
    errors
        Why the other rows can't be scored.
    warnings
        The listed warnings; their number is limited.
    flagged
        All flagged values, for each column and kind of check.
    """

    frame: pl.DataFrame
    index: Sequence[int]
    errors: tuple[RowError, ...] = ()
    warnings: tuple[RowWarning, ...] = ()
    flagged: tuple[FlaggedRows, ...] = ()

    def unlisted(self) -> dict[int, int]:
        """Count the warnings of each row that aren't listed; rows without such are left out."""
        if sum(f.rows.sum() for f in self.flagged) == len(self.warnings):
            return {}
        counts = pl.zeros(self.frame.height, dtype=pl.UInt32, eager=True)
        for flags in self.flagged:
            counts += flags.rows.cast(pl.UInt32)
        unlisted = dict(zip(self.index, counts.to_list(), strict=True))
        for warning in self.warnings:
            unlisted[warning.row] -= 1
        return {row: count for row, count in unlisted.items() if count}

    def part(self, start: int, size: int) -> ParsedRows:
        """Return a part of the rows, like a request of its own; only if no row was refused."""
        warnings = tuple(
            replace(w, row=w.row - start) for w in self.warnings if start <= w.row < start + size
        )
        frame = self.frame.slice(start, size)
        flagged = tuple(replace(f, rows=f.rows.slice(start, size)) for f in self.flagged)
        return ParsedRows(frame, range(frame.height), (), warnings, flagged)

    def only(self, good: pl.Series, errors: Sequence[RowError]) -> ParsedRows:
        """Drop the rows for which ``good`` is false, and add their ``errors``."""
        if not errors:
            return self
        index = [row for row, is_good in zip(self.index, good, strict=True) if is_good]
        rows = set(index)
        warnings = tuple(w for w in self.warnings if w.row in rows)
        all_errors = sorted((*self.errors, *errors), key=lambda e: -1 if e.row is None else e.row)
        flagged = tuple(replace(f, rows=f.rows.filter(good)) for f in self.flagged)
        return ParsedRows(self.frame.filter(good), index, tuple(all_errors), warnings, flagged)


@dataclass(frozen=True)
class RequestRows:
    """The raw columns of requests, which are columns of the base source.

    Parameters
    ----------
    columns
        All columns that requests may have, with the types to which values are converted.
    needed
        Columns that each request must have (a value may be null).
    optional
        Columns that are read if a request has them; all others are ignored.
    """

    columns: Mapping[str, pl.DataType]
    needed: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def read(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        """Parse rows from JSON."""
        try:
            columns = {c: [row[c] for row in rows] for c in self.needed}
        except KeyError:
            return self._parse_incomplete(rows)
        for c in self.optional:
            columns[c] = [row.get(c) for row in rows]
        return self._parse_columns(columns, range(len(rows)))

    def read_frame(self, frame: pl.DataFrame, *, thorough: bool = False) -> ParsedRows:
        """Parse the rows of a table; with ``thorough``, list every error of every row."""
        missing = [c for c in self.needed if c not in frame.columns]
        if missing:
            hints = self._hints(missing, frame.columns)
            missing_errors = (_missing_error(c, None, hints) for c in missing[:_MAX_ERRORS])
            return ParsedRows(frame.clear(), (), tuple(missing_errors))
        columns: list[pl.Series] = []
        errors = RowErrors(thorough=thorough)
        for c in (*self.needed, *self.optional):
            dtype = self.columns[c]
            if c not in frame.columns:
                columns.append(pl.repeat(None, frame.height, dtype=dtype, eager=True).alias(c))
                continue
            values = frame.get_column(c)
            converted, lost = _convert_column(values, dtype)
            columns.append(converted)
            if lost is not None:
                type_text = type_name(dtype)
                rows = errors.some(lost.arg_true().to_list())
                shown_values = printable(values.gather(rows)).to_list()
                for row, value in zip(rows, shown_values, strict=True):
                    errors.add(self._type_error(row, c, value, type_text), row)
        typed = table_of(columns)
        if not errors.rows:
            return ParsedRows(typed, range(frame.height))
        good = [i for i in range(frame.height) if i not in errors.rows]
        return ParsedRows(typed[good], good, errors.in_order())

    def values(self, given: Mapping[str, Any]) -> list[Any] | None:
        """Convert some columns' values of one row; None if a value can't be converted."""
        values = []
        for c, value in given.items():
            column = (
                single_value(c, value, self.columns[c])
                if c in self.columns
                else pl.Series(c, [value])
            )
            if column is None:
                return None
            values.append(column[0])
        return values

    def _parse_columns(
        self, given: Mapping[str, Sequence[Any]], index: Sequence[int]
    ) -> ParsedRows:
        """Convert columns of plain values; ``index`` has the position of each row."""
        columns: list[pl.Series] = []
        errors = RowErrors()
        numbers = self._few_number_columns(given, len(index))
        for c, values in given.items():
            if c in numbers:
                columns.append(numbers[c])
                continue
            dtype = self.columns[c]
            try:
                columns.append(typed_column(c, values, dtype))
            except (TypeMismatch, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
                converted, lost = mixed_column(c, values, dtype)
                columns.append(converted)
                type_text = type_name(dtype)
                for i in errors.some(lost):
                    errors.add(self._type_error(index[i], c, values[i], type_text), i)
        frame = table_of(columns)
        if not errors.rows:
            return ParsedRows(frame, index)
        good = [i for i in range(len(index)) if i not in errors.rows]
        return ParsedRows(frame[good], [index[i] for i in good], errors.in_order())

    def _few_number_columns(
        self, given: Mapping[str, Sequence[Any]], rows: int
    ) -> Mapping[str, pl.Series]:
        """Convert the number columns of a few wide rows at once; none if that isn't faster."""
        if not 0 < rows <= FEW_ROWS or len(self._number_columns) < WIDE:
            return {}
        values = [[given[c][row] for c in self._number_columns] for row in range(rows)]
        frame = float_columns(values, self._number_columns)
        return {} if frame is None else {c.name: c for c in frame.get_columns()}

    @cached_property
    def _number_columns(self) -> list[str]:
        return [c for c in (*self.needed, *self.optional) if self.columns[c] == pl.Float64]

    def _type_error(self, row: int, column: str, value: Any, type_text: str) -> RowError:
        text, problem = shorten_value(value), f"is not of type {type_text}"
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            problem = f"has {len(value):,} characters, and may have {LONGEST_TEXT:,}"
        return RowError(row, column, text, f"{text} in column {column!r} {problem}")

    def _parse_incomplete(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        """Parse rows of which some lack a needed column."""
        columns = (*self.needed, *self.optional)
        read = self._parse_columns(
            {c: [row.get(c) for row in rows] for c in columns}, range(len(rows))
        )
        errors, hints = RowErrors(), dict[str, str]()
        for place, row in enumerate(rows):
            missing = [c for c in self.needed if c not in row]
            if missing and not hints:
                hints = self._hints(missing, row)
            for c in missing:
                if errors.some([place]):
                    errors.add(_missing_error(c, place, hints), place)
        good = [i for i, position in enumerate(read.index) if position not in errors.rows]
        ordered = sorted((*errors.all, *read.errors), key=lambda e: (e.row, e.column))
        return ParsedRows(read.frame[good], [read.index[i] for i in good], tuple(ordered))

    def _hints(self, missing: Sequence[str], given: Iterable[str]) -> dict[str, str]:
        """Find similar names of unknown columns, for the first missing columns."""
        others = (c[:_MAX_SHOWN] for c in given if c not in self.columns)
        unknown = list(islice(others, _MAX_UNKNOWN))
        return {c: nearest(c, unknown) if unknown else "" for c in missing[:_MAX_HINTS]}


class RowErrors:
    """Collects the errors of many rows: the first hundred, then only the first of each row.

    Parameters
    ----------
    thorough
        Whether to list all errors.
    """

    def __init__(self, *, thorough: bool = False) -> None:
        self.all: list[RowError] = []
        self.rows: set[int] = set()
        self._thorough = thorough

    def some(self, places: Sequence[int]) -> list[int]:
        """Return those of the rows whose next error is to be listed."""
        if self._thorough:
            return list(places)
        room = max(0, _MAX_ERRORS - len(self.all))
        return [*places[:room], *(i for i in places[room:] if i not in self.rows)]

    def add(self, error: RowError, place: int) -> None:
        """Add the error of a row."""
        self.all.append(error)
        self.rows.add(place)

    def in_order(self) -> tuple[RowError, ...]:
        """Return the errors, sorted by row."""
        return tuple(sorted(self.all, key=lambda e: e.row or 0))


def _missing_error(column: str, row: int | None, hints: Mapping[str, str]) -> RowError:
    message = f"column {column!r} is missing. {hints.get(column, '')}"
    return RowError(row, column, None, message.strip())


def _convert_column(values: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, pl.Series | None]:
    """Convert a column; infinity is kept, as its policy decides (see ``value_policies``)."""
    try:
        converted, lost = convert_or_null(values, dtype)
        if dtype == pl.String and (converted.str.len_bytes() > LONGEST_TEXT).any():
            too_long = (converted.str.len_chars() > LONGEST_TEXT).fill_null(value=False)
            if too_long.any():
                lost = too_long if lost is None else lost | too_long
    except pl.exceptions.PolarsError:
        # Values of such a type, such as lists, can't be converted.
        return pl.Series(values.name, [None] * len(values), dtype=dtype), values.is_not_null()
    if dtype.is_float() and converted.null_count() > values.null_count():
        numbers = values.cast(dtype, strict=False)
        infinite = numbers.is_infinite().fill_null(value=False)
        if infinite.any():
            converted = converted.zip_with(~infinite, numbers)
    return converted, lost


def shorten_value(value: Any) -> str:
    """Format a value for messages, shortened."""
    if isinstance(value, str):
        value = value[:_MAX_SHOWN]
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 3] + "..."
