"""A caller's rows as typed columns of the base source, with an error for each unfit value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mlops_cli.core.columntypes import MisfitError, convert, normal, type_name
from mlops_cli.errors import nearest

__all__ = ["Inputs", "Read", "RowError"]

_SHOWN = 80
_PLAIN = {pl.Int64(), pl.Float64(), pl.String(), pl.Boolean()}


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
class Read:
    """Rows that were understood, where they stood, and what was wrong with the others."""

    frame: pl.DataFrame
    index: Sequence[int]
    errors: tuple[RowError, ...] = ()


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
        asked = [c for c in (*self.needed, *self.optional) if c in frame.columns]
        return self._typed({c: frame.get_column(c) for c in asked}, range(frame.height))

    def _typed(self, given: Mapping[str, Sequence[Any] | pl.Series], index: Sequence[int]) -> Read:
        try:
            columns = [_column(c, values, self.columns[c]) for c, values in given.items()]
            return Read(pl.DataFrame(columns), index)
        except (MisfitError, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
            return self._row_by_row(given, index)

    def _row_by_row(
        self, given: Mapping[str, Sequence[Any] | pl.Series], index: Sequence[int]
    ) -> Read:
        """The good rows; slow, as each value is looked at by itself."""
        errors: list[RowError] = []
        converted: dict[str, list[pl.Series]] = {}
        for c, values in given.items():
            converted[c] = []
            for position, value in zip(index, values, strict=True):
                one = _alone(c, value, self.columns[c])
                if one is None:
                    wanted = type_name(self.columns[c])
                    message = f"{_shown(value)} in column {c!r} is not of type {wanted}"
                    errors.append(RowError(position, c, _shown(value), message))
                    one = pl.Series(c, [None], dtype=self.columns[c])
                converted[c].append(one)
        bad = {e.row for e in errors}
        good = [i for i, position in enumerate(index) if position not in bad]
        frame = pl.DataFrame([pl.concat(parts) for parts in converted.values()])[good]
        return Read(frame, [index[i] for i in good], tuple(errors))

    def _lacking(self, rows: Sequence[Mapping[str, Any]]) -> Read:
        errors = [
            self._missing(c, row, position)
            for position, row in enumerate(rows)
            for c in self.needed
            if c not in row
        ]
        bad = {e.row for e in errors}
        index = [i for i in range(len(rows)) if i not in bad]
        asked = (*self.needed, *self.optional)
        found = self._typed({c: [rows[i].get(c) for i in index] for c in asked}, index)
        ordered = sorted((*errors, *found.errors), key=lambda e: (e.row, e.column))
        return Read(found.frame, found.index, tuple(ordered))

    def _missing(self, column: str, given: Any, row: int | None) -> RowError:
        unknown = [c for c in given if c not in self.columns]
        hint = nearest(column, unknown) if unknown else ""
        return RowError(
            row, column, None, " ".join([f"column {column!r} is missing.", hint]).strip()
        )


def _column(name: str, values: Sequence[Any] | pl.Series, dtype: pl.DataType) -> pl.Series:
    """Values in their type, by the rules of ingest where they come in another one."""
    if isinstance(values, pl.Series):
        return convert(values, dtype)
    if dtype in _PLAIN:
        try:
            made = pl.Series(name, values, dtype=dtype, strict=True)
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
        else:
            # JSON has true for a truth value, which is no number here either.
            if dtype == pl.Boolean or True not in map(_is_truth, values):
                return made.fill_nan(None) if dtype == pl.Float64 else made
    return convert(pl.Series(name, values, strict=True), dtype)


def _is_truth(value: Any) -> bool:
    return value is True or value is False


def _alone(name: str, value: Any, dtype: pl.DataType) -> pl.Series | None:
    """A column of one value; None where it can't be of the type."""
    try:
        one = pl.Series(name, [value])
        if one.dtype != normal(one.dtype) and one.dtype != pl.Null:
            one = convert(one, normal(one.dtype))
        return convert(one, dtype)
    except (MisfitError, TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        return None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
