"""What a process remembers of a table's entries in the online store, and what it answers from it.

The entries of all keys lie one after the other in columns. So a few rows are answered one by one,
where to call NumPy would take longer than the work, and many rows at once, from the same numbers.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import repeat
from operator import is_
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlops_cli.core.growing import Growing
from mlops_cli.core.spans import microseconds

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.core.windowanswers import One, Several

    Column = list[Any] | pl.Series

__all__ = [
    "Asked", "DatedFacts", "Facts", "Fetch", "Key", "Memory", "PastEvents", "restored",
]  # fmt: skip

Key = tuple[Any, ...]
Answer = tuple[Any, ...]
Fetch = Callable[[Sequence[Key]], Sequence[Any]]
"""Keys -> the decoded entry of each, or None where there is none."""
Places = npt.NDArray[np.int64]

_END = 2**63 - 1
_NOTHING = 0
"""The place of keys that have no entry: an empty stretch."""


class Asked:
    """When some rows are predicted, and from when on each look back counts.

    Parameters
    ----------
    at
        Datetime[us]: each row's moment; None where time plays no part.
    many
        Whether they are to be answered together; a row without a moment can't be.

    Attributes
    ----------
    moments
        The same as ``at`` in microseconds since 1970.
    """

    def __init__(self, rows: int, at: pl.Series | None, *, many: bool = False) -> None:
        import polars as pl

        self._at = at
        self.moments: Sequence[int | None] = [None] * rows
        if at is not None:
            self.moments = at.cast(pl.Int64).to_list()
        self.many = many and at is not None and not at.null_count()
        self._begins: dict[str | None, Sequence[int | None]] = {None: [None] * rows}

    def begins(self, span: str | None) -> Sequence[int | None]:
        """A span before each moment; None: as far as there is anything."""
        if span not in self._begins:
            self._begins[span] = self._before(str(span))
        return self._begins[span]

    @cached_property
    def ends(self) -> Places:
        """The moments of many rows."""
        return np.array(self.moments, dtype=np.int64)

    def starts(self, span: str) -> Places:
        """``begins`` for many rows."""
        fixed = microseconds(span)
        if fixed is not None:
            return np.asarray(self.ends - fixed)
        return np.array(self.begins(span), dtype=np.int64)

    def _before(self, span: str) -> Sequence[int | None]:
        import polars as pl

        fixed = microseconds(span)
        if fixed is not None:
            return [None if moment is None else moment - fixed for moment in self.moments]
        if self._at is None:
            return self.moments
        return self._at.dt.offset_by(f"-{span}").cast(pl.Int64).to_list()


class Memory(ABC):
    """Entries of one table that were fetched, by key.

    Several threads may ask at once.

    Parameters
    ----------
    columns
        The columns that the table adds, with their types.
    absent
        Their values where there is nothing to bring.
    """

    def __init__(self, columns: dict[str, pl.DataType], absent: Answer, fetch: Fetch) -> None:
        self._columns = columns
        self._absent = absent
        self._fetch = fetch
        self._kept: dict[Any, Any] = {}
        self._adding = threading.Lock()

    @abstractmethod
    def answers(self, keys: Sequence[Sequence[Any]], asked: Asked) -> tuple[list[Column], int]:
        """The table's columns for rows, and how often there was nothing to bring.

        ``keys`` are the key's columns. Series where many rows are asked for, else lists.
        """

    @abstractmethod
    def _take(self, entry: Any) -> Any:
        """Keep an entry; what stands for it in ``_kept``."""

    def _of(self, keys: Sequence[Sequence[Any]], asked: Asked) -> list[Any]:
        """What is kept of each row's key; it is fetched first where it isn't there.

        A missing value matches nothing, as in a join: no entry is under it.
        """
        alone = len(keys) == 1  # then the value itself is the key here, which is faster
        rows: Sequence[Any] = keys[0] if alone else list(zip(*keys, strict=True))
        if not keys:
            rows = [()] * len(asked.moments)
        try:
            return list(map(self._kept.__getitem__, rows))
        except KeyError:
            lacking = [key for key in dict.fromkeys(rows) if key not in self._kept]
            self._take_all(lacking, self._fetch([(key,) for key in lacking] if alone else lacking))
            return list(map(self._kept.__getitem__, rows))

    def _take_all(self, keys: Sequence[Any], entries: Sequence[Any]) -> None:
        with self._adding:
            for key, entry in zip(keys, entries, strict=True):
                if key not in self._kept:  # by another thread meanwhile
                    # At last: who finds a key finds all of it.
                    self._kept[key] = self._take(entry)

    def _turned(self, answers: Sequence[Answer], *, many: bool) -> tuple[list[Column], int]:
        """Rows of answers as columns, with how many of them are absent."""
        missed = sum(map(is_, answers, repeat(self._absent)))
        columns: list[Any] = list(map(list, zip(*answers, strict=True)))
        if many:
            columns = [
                restored(values, name, dtype)
                for values, (name, dtype) in zip(columns, self._columns.items(), strict=True)
            ]
        return columns, missed


class Facts(Memory):
    """A join's facts by key, whatever the time."""

    def answers(self, keys: Sequence[Sequence[Any]], asked: Asked) -> tuple[list[Column], int]:
        """See ``Memory.answers``."""
        return self._turned(self._of(keys, asked), many=asked.many)

    def _take(self, entry: Any) -> Answer:
        return self._absent if entry is None else tuple(entry)


class _Timeline(Memory):
    """Entries in order of time: stretches of columns, by the number of each."""

    def __init__(self, columns: dict[str, pl.DataType], absent: Answer, fetch: Fetch) -> None:
        super().__init__(columns, absent, fetch)
        self._times, self._first, self._end = Growing("q"), Growing("q"), Growing("q")

    def answers(self, keys: Sequence[Sequence[Any]], asked: Asked) -> tuple[list[Column], int]:
        """See ``Memory.answers``."""
        places = self._of(keys, asked)
        if asked.many:
            return self._together(np.array(places, dtype=np.int64), asked)
        return self._one_by_one(places, asked)

    _span: str | None

    @abstractmethod
    def _one_by_one(self, places: Sequence[int], asked: Asked) -> tuple[list[Column], int]:
        """The columns for some rows in Python."""

    @abstractmethod
    def _together(self, places: Places, asked: Asked) -> tuple[list[Column], int]:
        """The columns for many rows by NumPy."""

    def _stretch(self, times: Sequence[int]) -> int:
        """A new stretch; each column has one place more than it has events."""
        start = self._times.length
        self._times.extend([*times, _END])
        self._first.extend([start])
        self._end.extend([start + len(times)])
        return self._first.length - 1

    def _before(
        self, places: Sequence[int], moments: Sequence[int | None]
    ) -> tuple[list[int], list[int]]:
        """Each stretch's first event, and the end of those before a moment; none before None."""
        times, first, end = self._times.values, self._first.values, self._end.values
        firsts = [first[place] for place in places]
        ends = [
            start if at is None else bisect_left(times, at, start, end[place])
            for place, start, at in zip(places, firsts, moments, strict=True)
        ]
        return firsts, ends

    def _all_before(self, places: Places, moments: Places) -> Places:
        """The end of each stretch's events before a moment, for many at once: a binary search."""
        found, ends = self._first.at(places), self._end.at(places)
        step = 1 << int((ends - found).max(initial=0)).bit_length()
        while step := step >> 1:
            further = found + step
            found += step * ((further <= ends) & (self._times.at(further - 1) < moments))
        return found


class DatedFacts(_Timeline):
    """A join's facts by key and by when they became known: the last one counts."""

    def __init__(
        self, columns: dict[str, pl.DataType], absent: Answer, fetch: Fetch, span: str | None
    ) -> None:
        super().__init__(columns, absent, fetch)
        self._span = span
        self._rows: list[Answer] = []
        self._take(([], []))

    def _take(self, entry: Any) -> int:
        if entry is None:
            return _NOTHING
        times, rows = entry
        self._rows += [*map(tuple, rows), self._absent]
        return self._stretch(times)

    def _one_by_one(self, places: Sequence[int], asked: Asked) -> tuple[list[Column], int]:
        times, rows = self._times.values, self._rows
        found = [
            rows[end - 1]
            if end > first and (begin is None or times[end - 1] >= begin)
            else self._absent
            for first, end, begin in zip(
                *self._before(places, asked.moments), asked.begins(self._span), strict=True
            )
        ]
        return self._turned(found, many=False)

    def _together(self, places: Places, asked: Asked) -> tuple[list[Column], int]:
        last = self._all_before(places, asked.ends) - 1
        there = last >= self._first.at(places)
        if self._span is not None:
            there &= self._times.at(last) >= asked.starts(self._span)
        rows = self._rows
        found = np.where(there, last, 0).tolist()  # of the first stretch, which has no events
        return self._turned([rows[i] for i in found], many=True)


class PastEvents(_Timeline):
    """A window's past events by key, and the aggregates of those within its reach.

    Parameters
    ----------
    kinds
        Of the columns that an entry has beside its times (see ``Growing``).
    """

    def __init__(
        self, columns: dict[str, pl.DataType], absent: Answer, fetch: Fetch, span: str,
        kinds: str, one: Sequence[One], several: Sequence[Several],
    ) -> None:  # fmt: skip
        super().__init__(columns, absent, fetch)
        self._span = span
        self._one, self._several = one, several
        self._values = [Growing(kind) for kind in kinds]  # type: ignore[arg-type]
        self._take(([], [[] if kind == "d" else [0] for kind in kinds]))

    def _take(self, entry: Any) -> int:
        if entry is None:
            return _NOTHING
        times, columns = entry
        for column, values in zip(self._values, columns, strict=True):
            # Sums begin before the first event, and so have a place more by themselves.
            column.extend(values if len(values) > len(times) else [*values, None])
        return self._stretch(times)

    def _one_by_one(self, places: Sequence[int], asked: Asked) -> tuple[list[Column], int]:
        _, ends = self._before(places, asked.moments)
        _, firsts = self._before(places, asked.begins(self._span))
        stretches = list(zip(firsts, ends, strict=True))
        columns = [column.values for column in self._values]
        found: list[Column] = [[f(columns, *stretch) for stretch in stretches] for f in self._one]
        return found, places.count(_NOTHING)

    def _together(self, places: Places, asked: Asked) -> tuple[list[Column], int]:
        twice = np.concatenate([places, places])
        moments = np.concatenate([asked.starts(str(self._span)), asked.ends])
        first, end = np.split(self._all_before(twice, moments), 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = [f(self._values, first, end) for f in self._several]
        columns: list[Column] = [
            restored(values, name, dtype)
            for values, (name, dtype) in zip(found, self._columns.items(), strict=True)
        ]
        return columns, int(np.count_nonzero(places == _NOTHING))


def restored(values: Sequence[Any] | npt.NDArray[Any], name: str, dtype: pl.DataType) -> pl.Series:
    """A column of answers in its own type; NaN is missing."""
    import polars as pl

    if isinstance(values, np.ndarray):
        return pl.Series(name, values, dtype=dtype, nan_to_null=True)
    if dtype.is_temporal():
        return pl.Series(name, values, dtype=pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype=dtype, strict=False)
