"""What a process remembers of a table's entries in the online store, and what it answers from it.

The entries of all keys lie one after the other. So a few rows are answered one by one in Python,
where to call NumPy would take longer than the work, and many rows at once, from the same numbers.
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

_PARTS = 8
"""Pieces of a join's table after which they are copied into one."""


class LookupTable(ABC):
    """Entries of one table by the number of their key (see ``online.lookup_cache``).

    Parameters
    ----------
    columns
        The columns that the table adds, with their types.
    """

    def __init__(self, columns: dict[str, pl.DataType]) -> None:
        self.columns = columns

    @abstractmethod
    def take(self, number: int, entry: Any) -> None:
        """Keep what a key has, None where it has no entry; the numbers are taken in order."""

    @abstractmethod
    def of_few(self, numbers: Sequence[int], asked: QueryTimes) -> tuple[list[Column], int]:
        """The table's columns for some rows, and for how many of them there was nothing to bring.

        ``numbers`` are those of each row's key.
        """


class _Rows:
    """The rows that a join brings, by place; at 0 there is nothing to bring."""

    def __init__(self, columns: dict[str, pl.DataType]) -> None:
        import polars as pl

        self._columns = columns
        self._rows: list[Answer] = [(None,) * len(columns)]
        self._table = pl.DataFrame(schema=columns)

    def add(self, rows: Sequence[Sequence[Any]]) -> int:
        """Further rows; the place of the first."""
        start = len(self._rows)
        self._rows += map(tuple, rows)
        return start

    def few(self, places: Sequence[int]) -> tuple[list[Column], int]:
        """Some rows as columns, and how many of them bring nothing."""
        rows = self._rows
        return list(map(list, zip(*[rows[i] for i in places], strict=True))), places.count(0)

    def many(self, places: Places) -> tuple[list[Column], int]:
        """The same for many rows."""
        import polars as pl

        # Polars takes no other index as quickly.
        table = self._whole()[pl.Series(places.astype(np.uint32))]
        return [*table.get_columns()], len(places) - int(np.count_nonzero(places))

    def _whole(self) -> pl.DataFrame:
        import polars as pl

        table, rows = self._table, self._rows
        if len(rows) > table.height:
            added = zip(*rows[table.height :], strict=True)
            columns = self._columns.items()
            more = [
                restore_type(v, name, dtype)
                for v, (name, dtype) in zip(added, columns, strict=True)
            ]
            table = table.vstack(pl.DataFrame(more))
            table = table.rechunk() if table.n_chunks() > _PARTS else table
            self._table = table
        return table


class KeyedRows(LookupTable):
    """A join's facts by key, whatever the time."""

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
        """``of_few`` for many rows."""
        return self._rows.many(self._places.at(numbers))


class _Timed(LookupTable):
    """Entries in order of time: stretches of a timeline that tables share.

    A stretch's numbers lie in the table's own columns, a shift before its moments.
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
        """Of many keys: the first place, the end, and the shift; no entry: from 0 to 0."""
        return self._first.at(numbers), self._end.at(numbers), self._shift.at(numbers)

    def _take(self, number: int, times: Sequence[int], place: int) -> None:
        """Keep the moments of a key, whose numbers lie from a place on; none: no entry."""
        start, end = self.timeline.add(times) if times else (0, 0)
        for column, value in ((self._first, start), (self._end, end), (self._shift, start - place)):
            column.put(number, value)

    def _ends(
        self, numbers: Sequence[int], moments: Sequence[int | None]
    ) -> tuple[list[int], list[int]]:
        """Each stretch's first place, and the end of what is before a moment."""
        first, end = self._first.values, self._end.values
        firsts = [first[n] for n in numbers]
        return firsts, self.timeline.before(firsts, [end[n] for n in numbers], moments)


class AsOfRows(_Timed):
    """A join's facts by key and by when they became known: the last one counts.

    Parameters
    ----------
    span
        How long it counts; None: for ever.
    """

    def __init__(
        self, columns: dict[str, pl.DataType], timeline: EventIndex, span: str | None
    ) -> None:
        super().__init__(columns, timeline)
        self._span, self._rows = span, _Rows(columns)

    def take(self, number: int, entry: Any) -> None:
        """See ``LookupTable.take``."""
        times, rows = entry or ([], [])
        self._take(number, times, self._rows.add(rows))

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
        """``of_few`` for many rows, each with a moment."""
        first, end, shift = self.stretches(numbers)
        last = self.timeline.all_before(first[None], end[None], asked.ends[None])[0] - 1
        there = last >= first
        if self._span is not None:
            there &= self.timeline.times(last) >= asked.starts(self._span)
        return self._rows.many(np.where(there, last - shift, 0))


class WindowEvents(_Timed):
    """A window's past events by key, and the aggregates of those within its reach.

    Parameters
    ----------
    kinds
        Of the columns that an entry has beside its times (see ``GrowableArray``).
    one, several
        The aggregates, from these columns.
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
        self._add(0, [[] if kind == "d" else [0] for kind in kinds])

    def take(self, number: int, entry: Any) -> None:
        """See ``LookupTable.take``."""
        times, columns = entry or ([], [])
        self._take(number, times, self._add(len(times), columns) if times else 0)

    def of_few(self, numbers: Sequence[int], asked: QueryTimes) -> tuple[list[Column], int]:
        """See ``LookupTable.of_few``."""
        shift = self._shift.values
        _, ends = self._ends(numbers, asked.moments)
        _, firsts = self._ends(numbers, asked.begins(self.span))
        stretches = [
            (first - shift[n], end - shift[n])
            for n, first, end in zip(numbers, firsts, ends, strict=True)
        ]
        columns = [column.values for column in self._values]
        found: list[Column] = [[f(columns, *stretch) for stretch in stretches] for f in self._one]
        known = self._first.values
        return found, sum(not known[n] for n in numbers)

    def aggregates(self, first: Places, end: Places) -> list[Column]:
        """The table's columns for many rows, of the numbers from a place to before another."""
        with np.errstate(divide="ignore", invalid="ignore"):
            found = [f(self._values, first, end) for f in self._several]
        return [
            restore_type(values, name, dtype)
            for values, (name, dtype) in zip(found, self.columns.items(), strict=True)
        ]

    def _add(self, length: int, columns: Sequence[Sequence[Any]]) -> int:
        """Numbers beside new moments, with a place more than these; the first one's place."""
        start = self._length
        for column, values in zip(self._values, columns, strict=True):
            column.length = start  # behind it may lie what was given up
            # Sums begin before the first event, and so have a place more by themselves.
            column.extend(values if len(values) > length else [*values, None])
        self._length = start + length + 1
        return start


def window_answers(
    tables: Sequence[tuple[WindowEvents, Places]], asked: QueryTimes
) -> list[tuple[list[Column], int]]:
    """What ``of_few`` gives for many rows, each with a moment: for some windows, together.

    Their stretches must be of one timeline.
    """
    found = [events.stretches(numbers) for events, numbers in tables]
    first, end, shift = (np.stack(each) for each in zip(*found, strict=True))
    starts = np.stack([asked.starts(events.span) for events, _ in tables])
    both = tables[0][0].timeline.all_before(
        np.concatenate([first, first]),
        np.concatenate([end, end]),
        np.concatenate([starts, np.broadcast_to(asked.ends, starts.shape)]),
    )
    begins, ends = both[: len(tables)] - shift, both[len(tables) :] - shift
    missed = np.count_nonzero(first == 0, axis=1).tolist()
    return [
        (events.aggregates(*stretch), count)
        for (events, _), *stretch, count in zip(tables, begins, ends, missed, strict=True)
    ]


def restore_type(
    values: Sequence[Any] | npt.NDArray[Any], name: str, dtype: pl.DataType
) -> pl.Series:
    """A column of answers in its own type; NaN is missing."""
    import polars as pl

    if isinstance(values, np.ndarray):
        return pl.Series(name, values, dtype=dtype, nan_to_null=True)
    if dtype.is_temporal():
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype, strict=False)
