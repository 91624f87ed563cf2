"""Cached entries of one online store table, and look-ups in them.

The entries of all keys are stored one after the other in growable arrays. A few rows are looked up
one by one in Python, because the overhead of NumPy would be larger than the work. Many rows are
looked up at once with NumPy, in the same arrays.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlops_cli.online.growable_array import GrowableArray, Places

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.online.event_index import EventIndex
    from mlops_cli.online.query_times import QueryTimes
    from mlops_cli.online.window_aggregates import One, Several

    Column = list[Any] | pl.Series

__all__ = ["AsOfRows", "KeyedRows", "LookupTable", "WindowEvents", "restore_type", "window_answers"]

Answer = tuple[Any, ...]

_MAX_CHUNKS = 8
"""Chunks of a join's frame after which it is copied into one chunk."""


class LookupTable(ABC):
    """Entries of one table, by key number (see ``online.lookup_cache``).

    Parameters
    ----------
    columns
        The columns that the table adds, with their types.
    """

    def __init__(self, columns: dict[str, pl.DataType]) -> None:
        self.columns = columns

    @abstractmethod
    def take(self, number: int, entry: Any) -> None:
        """Add the entry of a key, None if it has no entry; key numbers are added in order."""

    @abstractmethod
    def of_few(self, numbers: Sequence[int], asked: QueryTimes) -> tuple[list[Column], int]:
        """Look up a few rows; return the table's columns, and the number of misses.

        ``numbers`` has the key number of each row.
        """


class _Rows:
    """Rows of a join's source, by position; the row at 0 is all null, for misses."""

    def __init__(self, columns: dict[str, pl.DataType]) -> None:
        import polars as pl

        self._columns = columns
        self._rows: list[Answer] = [(None,) * len(columns)]
        self._table = pl.DataFrame(schema=columns)

    def add(self, rows: Sequence[Sequence[Any]]) -> int:
        """Append rows; return the position of the first."""
        start = len(self._rows)
        self._rows += map(tuple, rows)
        return start

    def few(self, places: Sequence[int]) -> tuple[list[Column], int]:
        """Return the columns of a few rows, and the number of misses (position 0)."""
        rows = self._rows
        return list(map(list, zip(*[rows[i] for i in places], strict=True))), places.count(0)

    def many(self, places: Places) -> tuple[list[Column], int]:
        """Like ``few``, for many rows."""
        import polars as pl

        # UInt32 is the fastest index for Polars.
        table = self._frame()[pl.Series(places.astype(np.uint32))]
        return [*table.get_columns()], len(places) - int(np.count_nonzero(places))

    def _frame(self) -> pl.DataFrame:
        """Return all rows as a frame, extended by the rows since the last call."""
        import polars as pl

        table, rows = self._table, self._rows
        if len(rows) > table.height:
            new_rows = zip(*rows[table.height :], strict=True)
            columns = self._columns.items()
            new_columns = [
                restore_type(v, name, dtype)
                for v, (name, dtype) in zip(new_rows, columns, strict=True)
            ]
            table = table.vstack(pl.DataFrame(new_columns))
            table = table.rechunk() if table.n_chunks() > _MAX_CHUNKS else table
            self._table = table
        return table


class KeyedRows(LookupTable):
    """Look-ups of a join by key only."""

    def __init__(self, columns: dict[str, pl.DataType]) -> None:
        super().__init__(columns)
        self._rows, self._places = _Rows(columns), GrowableArray("q")

    def take(self, number: int, entry: Any) -> None:
        """See ``LookupTable.take``."""
        self._places.put(number, 0 if entry is None else self._rows.add([entry]))

    def of_few(self, numbers: Sequence[int], asked: QueryTimes) -> tuple[list[Column], int]:  # noqa: ARG002
        """See ``LookupTable.of_few``."""
        places = self._places.values
        return self._rows.few([places[n] for n in numbers])

    def of_many(self, numbers: Places, asked: QueryTimes) -> tuple[list[Column], int]:  # noqa: ARG002
        """Like ``of_few``, for many rows."""
        return self._rows.many(self._places.at(numbers))


class _Timed(LookupTable):
    """Entries with event times; the times of each key are a range of the shared event index.

    The values of the events are in the table's own columns. The position of a value is the position
    of its time less the key's shift.
    """

    def __init__(self, columns: dict[str, pl.DataType], timeline: EventIndex) -> None:
        super().__init__(columns)
        self.timeline = timeline
        self._first, self._end, self._shift = (
            GrowableArray("q"),
            GrowableArray("q"),
            GrowableArray("q"),
        )

    def stretches(self, numbers: Places) -> tuple[Places, Places, Places]:
        """Return the first position, the end and the shift of many keys; 0 to 0 for no entry."""
        return self._first.at(numbers), self._end.at(numbers), self._shift.at(numbers)

    def _add_times(self, number: int, times: Sequence[int], place: int) -> None:
        """Add the times of a key, whose values begin at ``place``; no times mean no entry."""
        start, end = self.timeline.add(times) if times else (0, 0)
        for column, value in ((self._first, start), (self._end, end), (self._shift, start - place)):
            column.put(number, value)

    def _ends(
        self, numbers: Sequence[int], moments: Sequence[int | None]
    ) -> tuple[list[int], list[int]]:
        """Return each key's first position, and the end of its times before the row's moment."""
        first, end = self._first.values, self._end.values
        firsts = [first[n] for n in numbers]
        return firsts, self.timeline.before(firsts, [end[n] for n in numbers], moments)


class AsOfRows(_Timed):
    """Look-ups of an as-of join: a key's last row that was known before the prediction time.

    Parameters
    ----------
    span
        Maximum age of the row; None for no limit.
    """

    def __init__(
        self, columns: dict[str, pl.DataType], timeline: EventIndex, span: str | None
    ) -> None:
        super().__init__(columns, timeline)
        self._span, self._rows = span, _Rows(columns)

    def take(self, number: int, entry: Any) -> None:
        """See ``LookupTable.take``."""
        times, rows = entry or ([], [])
        self._add_times(number, times, self._rows.add(rows))

    def of_few(self, numbers: Sequence[int], asked: QueryTimes) -> tuple[list[Column], int]:
        """See ``LookupTable.of_few``."""
        shift, time = self._shift.values, self.timeline.time
        firsts, ends = self._ends(numbers, asked.moments)
        return self._rows.few([
            end - 1 - shift[n]
            if end > first and (begin is None or time(end - 1) >= begin)
            else 0
            for n, first, end, begin in zip(
                numbers, firsts, ends, asked.begins(self._span), strict=True
            )
        ])  # fmt: skip

    def of_many(self, numbers: Places, asked: QueryTimes) -> tuple[list[Column], int]:
        """Like ``of_few``, for many rows that all have a prediction time."""
        first, end, shift = self.stretches(numbers)
        last = self.timeline.all_before(first[None], end[None], asked.ends[None])[0] - 1
        has_row = last >= first
        if self._span is not None:
            has_row &= self.timeline.times(last) >= asked.starts(self._span)
        return self._rows.many(np.where(has_row, last - shift, 0))


class WindowEvents(_Timed):
    """Look-ups of a window: aggregates of a key's events in the window before the prediction time.

    Parameters
    ----------
    span
        Length of the window.
    kinds
        Kinds (see ``GrowableArray``) of the columns that an entry has besides its times.
    one, several
        Functions of the aggregates, for one row and for many rows.
    """

    def __init__(
        self, columns: dict[str, pl.DataType], timeline: EventIndex, span: str,
        kinds: str, one: Sequence[One], several: Sequence[Several],
    ) -> None:  # fmt: skip
        super().__init__(columns, timeline)
        self.span = span
        self._one, self._several = one, several
        self._values = [GrowableArray(kind) for kind in kinds]  # type: ignore[arg-type]
        self._length = 0
        self._add_values(0, [[] if kind == "d" else [0] for kind in kinds])

    def take(self, number: int, entry: Any) -> None:
        """See ``LookupTable.take``."""
        times, columns = entry or ([], [])
        self._add_times(number, times, self._add_values(len(times), columns) if times else 0)

    def of_few(self, numbers: Sequence[int], asked: QueryTimes) -> tuple[list[Column], int]:
        """See ``LookupTable.of_few``."""
        shift = self._shift.values
        _, ends = self._ends(numbers, asked.moments)
        _, firsts = self._ends(numbers, asked.begins(self.span))
        ranges = [
            (first - shift[n], end - shift[n])
            for n, first, end in zip(numbers, firsts, ends, strict=True)
        ]
        columns = [column.values for column in self._values]
        answers: list[Column] = [[f(columns, *bounds) for bounds in ranges] for f in self._one]
        first_positions = self._first.values
        return answers, sum(not first_positions[n] for n in numbers)

    def aggregates(self, first: Places, end: Places) -> list[Column]:
        """Compute the table's columns for many rows, from the values at ``first:end``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            arrays = [f(self._values, first, end) for f in self._several]
        return [
            restore_type(values, name, dtype)
            for values, (name, dtype) in zip(arrays, self.columns.items(), strict=True)
        ]

    def _add_values(self, length: int, columns: Sequence[Sequence[Any]]) -> int:
        """Add the values of new events, and one more position; return the first position."""
        start = self._length
        for column, values in zip(self._values, columns, strict=True):
            column.length = start  # drops the values of a failed call
            # Prefix sums start with 0 before the first event, so they have the additional position.
            column.extend(values if len(values) > length else [*values, None])
        self._length = start + length + 1
        return start


def window_answers(
    tables: Sequence[tuple[WindowEvents, Places]], asked: QueryTimes
) -> list[tuple[list[Column], int]]:
    """Look up several windows at once, for many rows that all have a prediction time.

    Returns what ``of_few`` returns, for each window. All windows must share one event index.
    """
    ranges = [events.stretches(numbers) for events, numbers in tables]
    first, end, shift = (np.stack(arrays) for arrays in zip(*ranges, strict=True))
    starts = np.stack([asked.starts(events.span) for events, _ in tables])
    positions = tables[0][0].timeline.all_before(
        np.concatenate([first, first]),
        np.concatenate([end, end]),
        np.concatenate([starts, np.broadcast_to(asked.ends, starts.shape)]),
    )
    begins, ends = positions[: len(tables)] - shift, positions[len(tables) :] - shift
    misses = np.count_nonzero(first == 0, axis=1).tolist()
    return [
        (events.aggregates(*bounds), count)
        for (events, _), *bounds, count in zip(tables, begins, ends, misses, strict=True)
    ]


def restore_type(
    values: Sequence[Any] | npt.NDArray[Any], name: str, dtype: pl.DataType
) -> pl.Series:
    """Convert looked-up values to a column of the given type; NaN becomes null."""
    import polars as pl

    if isinstance(values, np.ndarray):
        return pl.Series(name, values, dtype=dtype, nan_to_null=True)
    if dtype.is_temporal():
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype, strict=False)
