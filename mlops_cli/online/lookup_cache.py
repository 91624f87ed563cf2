"""What a process remembers of all tables that a feature program looks into."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.online.event_index import EventIndex
from mlops_cli.online.lookup_tables import WindowEvents, restore_type, window_answers
from mlops_cli.online.query_times import QueryTimes

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.online.growable_array import Places
    from mlops_cli.online.lookup_tables import Column, LookupTable
    from mlops_cli.online.online_entries import JoinEntries, WindowEntries

    Table = JoinEntries | WindowEntries

__all__ = ["Fetch", "Key", "LookupCache"]

Key = tuple[Any, ...]
Fetch = Callable[[str, Sequence[Key]], Sequence[Any]]
"""Table and keys -> the decoded entry of each, or None where there is none."""


class LookupCache:
    """Looks rows up in tables; what isn't there yet is fetched.

    Several threads may ask at once.

    Parameters
    ----------
    tables
        In the order in which they add their columns; an earlier one's may be a later one's keys.
    """

    def __init__(self, tables: Sequence[Table], fetch: Fetch) -> None:
        timeline, adding = EventIndex(), threading.Lock()
        self._tables = tables
        self._memories = {table.name: table.memory(timeline) for table in tables}
        self._types = {c: t for table in tables for c, t in table.columns.items()}
        sharing: dict[Key, list[str]] = {}
        for table in tables:
            sharing.setdefault(tuple(table.keys), []).append(table.name)
        self._directories = {
            keys: _Directory({name: self._memories[name] for name in names}, fetch, adding)
            for keys, names in sharing.items()
        }

    def learn(self, keys: Sequence[str], values: Sequence[Key]) -> None:
        """Fetch what the tables with these key columns have for some keys."""
        self._directories[tuple(keys)].numbers(list(zip(*values, strict=True)), len(values))

    def answers(
        self, frame: pl.DataFrame, asked: QueryTimes
    ) -> tuple[dict[str, Column], dict[str, int]]:
        """The columns that all tables add to some rows, with how often each table had nothing."""
        made: dict[str, Column] = {}
        misses: dict[str, int] = {}
        given = _Given(frame, made, self._directories, self._types)
        windows: list[tuple[str, WindowEvents, Places]] = []

        def keep(name: str, answer: tuple[list[Column], int]) -> None:
            columns, missed = answer
            made.update(zip(self._memories[name].columns, columns, strict=True))
            if missed:
                misses[name] = missed

        for table in self._tables:
            memory = self._memories[table.name]
            if not asked.many:
                keep(table.name, memory.of_few(given.numbers(table.keys), asked))
            elif isinstance(memory, WindowEvents):
                # Their keys are the base's own columns, so that they can wait for each other.
                windows.append((table.name, memory, given.places(table.keys)))
            else:
                keep(table.name, memory.of_many(given.places(table.keys), asked))
        if windows:
            found = window_answers([(memory, places) for _, memory, places in windows], asked)
            for (name, _, _), answer in zip(windows, found, strict=True):
                keep(name, answer)
        return made, misses

    def of_table(
        self, table: Table, keys: Sequence[Sequence[Any]], asked: QueryTimes
    ) -> tuple[list[Column], int]:
        """The columns that one table adds to some rows, whose keys' columns are given."""
        numbers = self._directories[tuple(table.keys)].numbers(keys, len(asked.moments))
        return self._memories[table.name].of_few(numbers, asked)


class _Directory:
    """The numbers of the keys of those tables that have the same key columns."""

    def __init__(
        self, memories: Mapping[str, LookupTable], fetch: Fetch, adding: threading.Lock
    ) -> None:
        self._memories = memories
        self._fetch = fetch
        self._adding = adding
        self._numbers: dict[Any, int] = {}

    def numbers(self, columns: Sequence[Sequence[Any]], rows: int) -> list[int]:
        """The number of each row's key; it is fetched first where it isn't there.

        A missing value matches nothing, as in a join: no entry is under it.
        """
        alone = len(columns) == 1  # then the value itself is the key here, which is faster
        keys: Sequence[Any] = columns[0] if alone else list(zip(*columns, strict=True))
        if not columns:
            keys = [()] * rows
        try:
            return list(map(self._numbers.__getitem__, keys))
        except KeyError:
            lacking = [key for key in dict.fromkeys(keys) if key not in self._numbers]
            self._take(lacking, [(key,) for key in lacking] if alone else lacking)
            return list(map(self._numbers.__getitem__, keys))

    def _take(self, own: Sequence[Any], keys: Sequence[Key]) -> None:
        found = [self._fetch(table, keys) for table in self._memories]
        with self._adding:
            for key, entries in zip(own, zip(*found, strict=True), strict=True):
                if key in self._numbers:  # by another thread meanwhile
                    continue
                number = len(self._numbers)
                for memory, entry in zip(self._memories.values(), entries, strict=True):
                    memory.take(number, entry)
                # At last: who finds a key finds all of it.
                self._numbers[key] = number


class _Given:
    """The numbers of some rows' keys, found once for all tables that have the same key columns."""

    def __init__(
        self,
        frame: pl.DataFrame,
        made: Mapping[str, Column],
        directories: Mapping[Key, _Directory],
        types: Mapping[str, pl.DataType],
    ) -> None:
        self._types = types
        self._frame = frame
        self._made = made
        self._directories = directories
        self._columns: dict[str, list[Any]] = {}
        self._numbers: dict[Key, list[int]] = {}
        self._places: dict[Key, Places] = {}

    def numbers(self, keys: Sequence[str]) -> list[int]:
        """Of each row's key."""
        named = tuple(keys)
        if named not in self._numbers:
            columns = [self._column(key) for key in named]
            self._numbers[named] = self._directories[named].numbers(columns, self._frame.height)
        return self._numbers[named]

    def places(self, keys: Sequence[str]) -> Places:
        """The same as an array."""
        named = tuple(keys)
        if named not in self._places:
            self._places[named] = np.array(self.numbers(named), dtype=np.int64)
        return self._places[named]

    def _column(self, name: str) -> list[Any]:
        if name not in self._columns:
            column = self._made[name] if name in self._made else self._frame.get_column(name)
            if isinstance(column, list) and self._types[name].is_temporal():
                column = restore_type(column, name, self._types[name])
            self._columns[name] = column if isinstance(column, list) else column.to_list()
        return self._columns[name]
