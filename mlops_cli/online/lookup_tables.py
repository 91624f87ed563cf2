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

from mlops_cli.online.growable_array import GrowableArray, Positions

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.online.event_index import EventIndex
    from mlops_cli.online.query_times import QueryTimes
    from mlops_cli.online.window_aggregates import ArrayFunction, RowFunction

    Column = list[Any] | pl.Series

__all__ = ["AsOfRows", "KeyedRows", "LookupTable", "WindowEvents", "restore_type", "window_answers"]

Row = tuple[Any, ...]

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
    def add_entry(self, key_number: int, entry: Any) -> None:
        """Add the entry of a key, None if it has no entry; key numbers are added in order."""

    @abstractmethod
    def look_up(
        self, key_numbers: Sequence[int], query_times: QueryTimes
    ) -> tuple[list[Column], int]:
        """Look up a few rows; return the table's columns, and the number of misses.

        ``key_numbers`` has the key number of each row.
        """


class _Rows:
    """Rows of a join's source, by position; the row at 0 is all null, for misses."""

    def __init__(self, columns: dict[str, pl.DataType]) -> None:
        import polars as pl

        self._columns = columns
        self._rows: list[Row] = [(None,) * len(columns)]
        self._table = pl.DataFrame(schema=columns)

    def add(self, rows: Sequence[Sequence[Any]]) -> int:
        """Append rows; return the position of the first."""
        start = len(self._rows)
        self._rows += map(tuple, rows)
        return start

    def gather(self, positions: Sequence[int]) -> tuple[list[Column], int]:
        """Return the columns of a few rows, and the number of misses (position 0)."""
        rows = self._rows
        return list(map(list, zip(*[rows[i] for i in positions], strict=True))), positions.count(0)

    def gather_many(self, positions: Positions) -> tuple[list[Column], int]:
        """Like ``gather``, for many rows."""
        import polars as pl

        # UInt32 is the fastest index for Polars.
        table = self._frame()[pl.Series(positions.astype(np.uint32))]
        return [*table.get_columns()], len(positions) - int(np.count_nonzero(positions))

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
        self._rows, self._positions = _Rows(columns), GrowableArray("q")

    def add_entry(self, key_number: int, entry: Any) -> None:
        """See ``LookupTable.add_entry``."""
        self._positions.set_last(key_number, 0 if entry is None else self._rows.add([entry]))

    def look_up(
        self,
        key_numbers: Sequence[int],
        query_times: QueryTimes,  # noqa: ARG002
    ) -> tuple[list[Column], int]:
        """See ``LookupTable.look_up``."""
        positions = self._positions.values
        return self._rows.gather([positions[n] for n in key_numbers])

    def look_up_many(
        self,
        key_numbers: Positions,
        query_times: QueryTimes,  # noqa: ARG002
    ) -> tuple[list[Column], int]:
        """Like ``look_up``, for many rows."""
        return self._rows.gather_many(self._positions.gather(key_numbers))


class _Timed(LookupTable):
    """Entries with event times; the times of each key are a range of the shared event index.

    The values of the events are in the table's own columns. The position of a value is the position
    of its time less the key's shift.
    """

    def __init__(self, columns: dict[str, pl.DataType], event_index: EventIndex) -> None:
        super().__init__(columns)
        self.event_index = event_index
        self._first, self._end, self._shift = (
            GrowableArray("q"),
            GrowableArray("q"),
            GrowableArray("q"),
        )

    def time_ranges(self, key_numbers: Positions) -> tuple[Positions, Positions, Positions]:
        """Return the first position, the end and the shift of many keys; 0 to 0 for no entry."""
        return (
            self._first.gather(key_numbers),
            self._end.gather(key_numbers),
            self._shift.gather(key_numbers),
        )

    def _add_times(self, key_number: int, times: Sequence[int], first_value: int) -> None:
        """Add the times of a key, whose values begin at ``first_value``; no times mean no entry."""
        start, end = self.event_index.add(times) if times else (0, 0)
        for column, value in (
            (self._first, start),
            (self._end, end),
            (self._shift, start - first_value),
        ):
            column.set_last(key_number, value)

    def _ends(
        self, key_numbers: Sequence[int], moments: Sequence[int | None]
    ) -> tuple[list[int], list[int]]:
        """Return each key's first position, and the end of its times before the row's moment."""
        first, end = self._first.values, self._end.values
        firsts = [first[n] for n in key_numbers]
        return firsts, self.event_index.ends_before(firsts, [end[n] for n in key_numbers], moments)


class AsOfRows(_Timed):
    """Look-ups of an as-of join: a key's last row that was known before the prediction time.

    Parameters
    ----------
    max_age
        Maximum age of the row; None for no limit.
    """

    def __init__(
        self, columns: dict[str, pl.DataType], event_index: EventIndex, max_age: str | None
    ) -> None:
        super().__init__(columns, event_index)
        self._max_age, self._rows = max_age, _Rows(columns)

    def add_entry(self, key_number: int, entry: Any) -> None:
        """See ``LookupTable.add_entry``."""
        times, rows = entry or ([], [])
        self._add_times(key_number, times, self._rows.add(rows))

    def look_up(
        self, key_numbers: Sequence[int], query_times: QueryTimes
    ) -> tuple[list[Column], int]:
        """See ``LookupTable.look_up``."""
        shift, time = self._shift.values, self.event_index.time_at
        firsts, ends = self._ends(key_numbers, query_times.moments)
        return self._rows.gather([
            end - 1 - shift[n]
            if end > first and (begin is None or time(end - 1) >= begin)
            else 0
            for n, first, end, begin in zip(
                key_numbers, firsts, ends, query_times.window_starts(self._max_age), strict=True
            )
        ])  # fmt: skip

    def look_up_many(
        self, key_numbers: Positions, query_times: QueryTimes
    ) -> tuple[list[Column], int]:
        """Like ``look_up``, for many rows that all have a prediction time."""
        first, end, shift = self.time_ranges(key_numbers)
        moments = query_times.moment_array[None]
        last = self.event_index.ends_before_many(first[None], end[None], moments)[0] - 1
        has_row = last >= first
        if self._max_age is not None:
            window_starts = query_times.window_start_array(self._max_age)
            has_row &= self.event_index.times_at(last) >= window_starts
        return self._rows.gather_many(np.where(has_row, last - shift, 0))


class WindowEvents(_Timed):
    """Look-ups of a window: aggregates of a key's events in the window before the prediction time.

    Parameters
    ----------
    window_length
        Length of the window.
    kinds
        Kinds (see ``GrowableArray``) of the columns that an entry has besides its times.
    row_functions, array_functions
        Functions of the aggregates, for one row and for many rows.
    """

    def __init__(
        self, columns: dict[str, pl.DataType], event_index: EventIndex, window_length: str,
        kinds: str, row_functions: Sequence[RowFunction], array_functions: Sequence[ArrayFunction],
    ) -> None:  # fmt: skip
        super().__init__(columns, event_index)
        self.window_length = window_length
        self._row_functions, self._array_functions = row_functions, array_functions
        self._values = [GrowableArray(kind) for kind in kinds]  # type: ignore[arg-type]
        self._length = 0
        self._add_values(0, [[] if kind == "d" else [0] for kind in kinds])

    def add_entry(self, key_number: int, entry: Any) -> None:
        """See ``LookupTable.add_entry``."""
        times, columns = entry or ([], [])
        self._add_times(key_number, times, self._add_values(len(times), columns) if times else 0)

    def look_up(
        self, key_numbers: Sequence[int], query_times: QueryTimes
    ) -> tuple[list[Column], int]:
        """See ``LookupTable.look_up``."""
        shift = self._shift.values
        _, ends = self._ends(key_numbers, query_times.moments)
        _, firsts = self._ends(key_numbers, query_times.window_starts(self.window_length))
        ranges = [
            (first - shift[n], end - shift[n])
            for n, first, end in zip(key_numbers, firsts, ends, strict=True)
        ]
        columns = [column.values for column in self._values]
        answers: list[Column] = [
            [f(columns, *bounds) for bounds in ranges] for f in self._row_functions
        ]
        first_positions = self._first.values
        return answers, sum(not first_positions[n] for n in key_numbers)

    def compute_aggregates(self, first: Positions, end: Positions) -> list[Column]:
        """Compute the table's columns for many rows, from the values at ``first:end``."""
        with np.errstate(divide="ignore", invalid="ignore"):
            arrays = [f(self._values, first, end) for f in self._array_functions]
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
    tables: Sequence[tuple[WindowEvents, Positions]], query_times: QueryTimes
) -> list[tuple[list[Column], int]]:
    """Look up several windows at once, for many rows that all have a prediction time.

    Returns what ``look_up`` returns, for each window. All windows must share one event index.
    """
    ranges = [events.time_ranges(numbers) for events, numbers in tables]
    first, end, shift = (np.stack(arrays) for arrays in zip(*ranges, strict=True))
    starts = np.stack(
        [query_times.window_start_array(events.window_length) for events, _ in tables]
    )
    positions = tables[0][0].event_index.ends_before_many(
        np.concatenate([first, first]),
        np.concatenate([end, end]),
        np.concatenate([starts, np.broadcast_to(query_times.moment_array, starts.shape)]),
    )
    begins, ends = positions[: len(tables)] - shift, positions[len(tables) :] - shift
    misses = np.count_nonzero(first == 0, axis=1).tolist()
    return [
        (events.compute_aggregates(*bounds), count)
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
