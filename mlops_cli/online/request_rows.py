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
    MAX_TEXT_CHARACTERS,
    float_columns,
    mixed_column,
    single_value,
    typed_column,
)
from mlops_cli.errors import nearest

__all__ = [
    "FEW_ROWS",
    "WIDE_COLUMNS",
    "FlaggedRows",
    "ParsedRows",
    "RequestRows",
    "RowError",
    "RowErrors",
    "RowWarning",
    "shorten_value",
]

FEW_ROWS, WIDE_COLUMNS = 8, 32
"""Up to FEW_ROWS rows of at least WIDE_COLUMNS columns are processed row by row, because each
Polars column has a fixed overhead."""
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
    is_flagged
        True for each such row, shape (rows,).
    """

    column: str
    kind: str
    policy: str
    is_flagged: pl.Series


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

    def count_unlisted_warnings(self) -> dict[int, int]:
        """Count the warnings of each row that aren't listed; rows without such are left out."""
        if sum(f.is_flagged.sum() for f in self.flagged) == len(self.warnings):
            return {}
        counts = pl.zeros(self.frame.height, dtype=pl.UInt32, eager=True)
        for flags in self.flagged:
            counts += flags.is_flagged.cast(pl.UInt32)
        unlisted = dict(zip(self.index, counts.to_list(), strict=True))
        for warning in self.warnings:
            unlisted[warning.row] -= 1
        return {row: count for row, count in unlisted.items() if count}

    def slice(self, start: int, size: int) -> ParsedRows:
        """Return a part of the rows, like a request of its own; only if no row was refused."""
        warnings = tuple(
            replace(w, row=w.row - start) for w in self.warnings if start <= w.row < start + size
        )
        frame = self.frame.slice(start, size)
        flagged = tuple(
            replace(f, is_flagged=f.is_flagged.slice(start, size)) for f in self.flagged
        )
        return ParsedRows(frame, range(frame.height), (), warnings, flagged)

    def keep_valid(self, is_valid: pl.Series, errors: Sequence[RowError]) -> ParsedRows:
        """Drop the rows for which ``is_valid`` is false, and add their ``errors``."""
        if not errors:
            return self
        index = [row for row, is_good in zip(self.index, is_valid, strict=True) if is_good]
        rows = set(index)
        warnings = tuple(w for w in self.warnings if w.row in rows)
        all_errors = sorted((*self.errors, *errors), key=lambda e: -1 if e.row is None else e.row)
        flagged = tuple(replace(f, is_flagged=f.is_flagged.filter(is_valid)) for f in self.flagged)
        return ParsedRows(self.frame.filter(is_valid), index, tuple(all_errors), warnings, flagged)


@dataclass(frozen=True)
class RequestRows:
    """The raw columns of requests, which are columns of the base source.

    Parameters
    ----------
    columns
        All columns that requests may have, with the types to which values are converted.
    required
        Columns that each request must have (a value may be null).
    optional
        Columns that are read if a request has them; all others are ignored.
    """

    columns: Mapping[str, pl.DataType]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def parse(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        """Parse rows from JSON."""
        try:
            columns = {c: [row[c] for row in rows] for c in self.required}
        except KeyError:
            return self._parse_incomplete(rows)
        for c in self.optional:
            columns[c] = [row.get(c) for row in rows]
        return self._parse_columns(columns, range(len(rows)))

    def parse_frame(self, frame: pl.DataFrame, *, list_all: bool = False) -> ParsedRows:
        """Parse the rows of a table; with ``list_all``, list every error of every row."""
        missing = [c for c in self.required if c not in frame.columns]
        if missing:
            hints = self._hints(missing, frame.columns)
            missing_errors = (_missing_error(c, None, hints) for c in missing[:_MAX_ERRORS])
            return ParsedRows(frame.clear(), (), tuple(missing_errors))
        columns: list[pl.Series] = []
        errors = RowErrors(list_all=list_all)
        for c in (*self.required, *self.optional):
            dtype = self.columns[c]
            if c not in frame.columns:
                columns.append(pl.repeat(None, frame.height, dtype=dtype, eager=True).alias(c))
                continue
            values = frame.get_column(c)
            converted, lost = _convert_column(values, dtype)
            columns.append(converted)
            if lost is not None:
                type_text = type_name(dtype)
                rows = errors.select_listed(lost.arg_true().to_list())
                shown_values = printable(values.gather(rows)).to_list()
                for row, value in zip(rows, shown_values, strict=True):
                    errors.add(self._type_error(row, c, value, type_text), row)
        typed = table_of(columns)
        if not errors.bad_rows:
            return ParsedRows(typed, range(frame.height))
        good = [i for i in range(frame.height) if i not in errors.bad_rows]
        return ParsedRows(typed[good], good, errors.sorted_by_row())

    def convert_values(self, row: Mapping[str, Any]) -> list[Any] | None:
        """Convert some columns' values of one row; None if a value can't be converted."""
        values = []
        for c, value in row.items():
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
        self, column_values: Mapping[str, Sequence[Any]], index: Sequence[int]
    ) -> ParsedRows:
        """Convert columns of plain values; ``index`` has the position of each row."""
        columns: list[pl.Series] = []
        errors = RowErrors()
        numbers = self._few_number_columns(column_values, len(index))
        for c, values in column_values.items():
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
                for i in errors.select_listed(lost):
                    errors.add(self._type_error(index[i], c, values[i], type_text), i)
        frame = table_of(columns)
        if not errors.bad_rows:
            return ParsedRows(frame, index)
        good = [i for i in range(len(index)) if i not in errors.bad_rows]
        return ParsedRows(frame[good], [index[i] for i in good], errors.sorted_by_row())

    def _few_number_columns(
        self, column_values: Mapping[str, Sequence[Any]], rows: int
    ) -> Mapping[str, pl.Series]:
        """Convert the number columns of a few wide rows at once; none if that isn't faster."""
        if not 0 < rows <= FEW_ROWS or len(self._number_columns) < WIDE_COLUMNS:
            return {}
        values = [[column_values[c][row] for c in self._number_columns] for row in range(rows)]
        frame = float_columns(values, self._number_columns)
        return {} if frame is None else {c.name: c for c in frame.get_columns()}

    @cached_property
    def _number_columns(self) -> list[str]:
        return [c for c in (*self.required, *self.optional) if self.columns[c] == pl.Float64]

    def _type_error(self, row: int, column: str, value: Any, type_text: str) -> RowError:
        text, problem = shorten_value(value), f"is not of type {type_text}"
        if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
            problem = f"has {len(value):,} characters, and may have {MAX_TEXT_CHARACTERS:,}"
        return RowError(row, column, text, f"{text} in column {column!r} {problem}")

    def _parse_incomplete(self, rows: Sequence[Mapping[str, Any]]) -> ParsedRows:
        """Parse rows of which some lack a needed column."""
        columns = (*self.required, *self.optional)
        read = self._parse_columns(
            {c: [row.get(c) for row in rows] for c in columns}, range(len(rows))
        )
        errors, hints = RowErrors(), dict[str, str]()
        for place, row in enumerate(rows):
            missing = [c for c in self.required if c not in row]
            if missing and not hints:
                hints = self._hints(missing, row)
            for c in missing:
                if errors.select_listed([place]):
                    errors.add(_missing_error(c, place, hints), place)
        good = [i for i, position in enumerate(read.index) if position not in errors.bad_rows]
        ordered = sorted((*errors.listed, *read.errors), key=lambda e: (e.row, e.column))
        return ParsedRows(read.frame[good], [read.index[i] for i in good], tuple(ordered))

    def _hints(self, missing: Sequence[str], names: Iterable[str]) -> dict[str, str]:
        """Find similar names of unknown columns, for the first missing columns."""
        others = (c[:_MAX_SHOWN] for c in names if c not in self.columns)
        unknown = list(islice(others, _MAX_UNKNOWN))
        return {c: nearest(c, unknown) if unknown else "" for c in missing[:_MAX_HINTS]}


class RowErrors:
    """Collects the errors of many rows: the first hundred, then only the first of each row.

    Parameters
    ----------
    list_all
        Whether to list all errors.
    """

    def __init__(self, *, list_all: bool = False) -> None:
        self.listed: list[RowError] = []
        self.bad_rows: set[int] = set()
        self._list_all = list_all

    def select_listed(self, rows: Sequence[int]) -> list[int]:
        """Return those of the rows whose next error is to be listed."""
        if self._list_all:
            return list(rows)
        room = max(0, _MAX_ERRORS - len(self.listed))
        return [*rows[:room], *(i for i in rows[room:] if i not in self.bad_rows)]

    def add(self, error: RowError, row: int) -> None:
        """Add the error of a row."""
        self.listed.append(error)
        self.bad_rows.add(row)

    def sorted_by_row(self) -> tuple[RowError, ...]:
        """Return the errors, sorted by row."""
        return tuple(sorted(self.listed, key=lambda e: e.row or 0))


def _missing_error(column: str, row: int | None, hints: Mapping[str, str]) -> RowError:
    message = f"column {column!r} is missing. {hints.get(column, '')}"
    return RowError(row, column, None, message.strip())


def _convert_column(values: pl.Series, dtype: pl.DataType) -> tuple[pl.Series, pl.Series | None]:
    """Convert a column; infinity is kept, as its policy decides (see ``value_policies``)."""
    try:
        converted, lost = convert_or_null(values, dtype)
        if dtype == pl.String and (converted.str.len_bytes() > MAX_TEXT_CHARACTERS).any():
            too_long = (converted.str.len_chars() > MAX_TEXT_CHARACTERS).fill_null(value=False)
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
