"""In-process cache of the online store for one feature program."""

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

    from mlops_cli.online.growable_array import Positions
    from mlops_cli.online.lookup_tables import Column, LookupTable
    from mlops_cli.online.online_entries import JoinEntries, WindowEntries

    Table = JoinEntries | WindowEntries

__all__ = ["Fetch", "Key", "LookupCache"]

Key = tuple[Any, ...]
Fetch = Callable[[str, Sequence[Key]], Sequence[Any]]
"""Function: table and keys -> the decoded entry of each key, or None if there is none."""


class LookupCache:
    """Looks rows up in the tables of a feature program; fetches missing keys from the store.

    Several threads may look rows up at the same time.

    Parameters
    ----------
    tables
        The tables, in the order in which they add their columns. A table's keys may be columns of
        an earlier table.
    fetch
        Function that fetches entries from the store.
    """

    def __init__(self, tables: Sequence[Table], fetch: Fetch) -> None:
        event_index, lock = EventIndex(), threading.Lock()
        self._tables = tables
        self._lookup_tables = {
            table.name: table.create_lookup_table(event_index) for table in tables
        }
        self._types = {c: t for table in tables for c, t in table.columns.items()}
        names_by_keys: dict[Key, list[str]] = {}
        for table in tables:
            names_by_keys.setdefault(tuple(table.keys), []).append(table.name)
        self._key_numbers = {
            keys: _KeyNumbers({name: self._lookup_tables[name] for name in names}, fetch, lock)
            for keys, names in names_by_keys.items()
        }

    def prefetch(self, keys: Sequence[str], values: Sequence[Key]) -> None:
        """Fetch the entries of some keys, from the tables with these key columns."""
        self._key_numbers[tuple(keys)].numbers(list(zip(*values, strict=True)), len(values))

    def look_up(
        self, frame: pl.DataFrame, query_times: QueryTimes
    ) -> tuple[dict[str, Column], dict[str, int]]:
        """Look rows up in all tables; return the columns that they add, and the misses by table."""
        looked_up: dict[str, Column] = {}
        misses: dict[str, int] = {}
        row_keys = _RowKeys(frame, looked_up, self._key_numbers, self._types)
        windows: list[tuple[str, WindowEvents, Positions]] = []

        def keep(name: str, answer: tuple[list[Column], int]) -> None:
            columns, missed = answer
            looked_up.update(zip(self._lookup_tables[name].columns, columns, strict=True))
            if missed:
                misses[name] = missed

        for table in self._tables:
            lookup_table = self._lookup_tables[table.name]
            if not query_times.many_rows:
                keep(table.name, lookup_table.look_up(row_keys.numbers(table.keys), query_times))
            elif isinstance(lookup_table, WindowEvents):
                # The keys of windows are columns of the base, so windows can be looked up together.
                windows.append((table.name, lookup_table, row_keys.number_array(table.keys)))
            else:
                keep(
                    table.name,
                    lookup_table.look_up_many(row_keys.number_array(table.keys), query_times),
                )
        if windows:
            answers = window_answers(
                [(lookup_table, places) for _, lookup_table, places in windows], query_times
            )
            for (name, _, _), answer in zip(windows, answers, strict=True):
                keep(name, answer)
        return looked_up, misses

    def look_up_table(
        self, table: Table, keys: Sequence[Sequence[Any]], query_times: QueryTimes
    ) -> tuple[list[Column], int]:
        """Look rows up in one table; ``keys`` has the values of its key columns."""
        numbers = self._key_numbers[tuple(table.keys)].numbers(keys, len(query_times.moments))
        return self._lookup_tables[table.name].look_up(numbers, query_times)


class _KeyNumbers:
    """Key -> number, for the tables with the same key columns; fetches the entries of new keys."""

    def __init__(
        self, lookup_tables: Mapping[str, LookupTable], fetch: Fetch, lock: threading.Lock
    ) -> None:
        self._lookup_tables = lookup_tables
        self._fetch = fetch
        self._lock = lock
        self._numbers: dict[Any, int] = {}

    def numbers(self, columns: Sequence[Sequence[Any]], rows: int) -> list[int]:
        """Return the key number of each row; new keys are fetched first.

        A null matches nothing, as in a join: no entry has a key with a null.
        """
        # With one key column, the value itself is the key here, not a tuple: that is faster.
        is_single = len(columns) == 1
        keys: Sequence[Any] = columns[0] if is_single else list(zip(*columns, strict=True))
        if not columns:
            keys = [()] * rows
        try:
            return list(map(self._numbers.__getitem__, keys))
        except KeyError:
            new_keys = [key for key in dict.fromkeys(keys) if key not in self._numbers]
            self._fetch_keys(new_keys, [(key,) for key in new_keys] if is_single else new_keys)
            return list(map(self._numbers.__getitem__, keys))

    def _fetch_keys(self, dict_keys: Sequence[Any], keys: Sequence[Key]) -> None:
        entries_by_table = [self._fetch(table, keys) for table in self._lookup_tables]
        with self._lock:
            for key, entries in zip(dict_keys, zip(*entries_by_table, strict=True), strict=True):
                if key in self._numbers:  # another thread was faster
                    continue
                number = len(self._numbers)
                for lookup_table, entry in zip(self._lookup_tables.values(), entries, strict=True):
                    lookup_table.add_entry(number, entry)
                # Last, so that a thread that finds the key finds its entries in all tables.
                self._numbers[key] = number


class _RowKeys:
    """Key numbers of some rows, computed once for all tables with the same key columns."""

    def __init__(
        self,
        frame: pl.DataFrame,
        looked_up: Mapping[str, Column],
        key_numbers: Mapping[Key, _KeyNumbers],
        types: Mapping[str, pl.DataType],
    ) -> None:
        self._types = types
        self._frame = frame
        self._looked_up = looked_up
        self._key_numbers = key_numbers
        self._columns: dict[str, list[Any]] = {}
        self._numbers: dict[Key, list[int]] = {}
        self._number_arrays: dict[Key, Positions] = {}

    def numbers(self, keys: Sequence[str]) -> list[int]:
        """Return the key number of each row."""
        names = tuple(keys)
        if names not in self._numbers:
            columns = [self._column(key) for key in names]
            self._numbers[names] = self._key_numbers[names].numbers(columns, self._frame.height)
        return self._numbers[names]

    def number_array(self, keys: Sequence[str]) -> Positions:
        """Return the key number of each row as an array."""
        names = tuple(keys)
        if names not in self._number_arrays:
            self._number_arrays[names] = np.array(self.numbers(names), dtype=np.int64)
        return self._number_arrays[names]

    def _column(self, name: str) -> list[Any]:
        if name not in self._columns:
            column = (
                self._looked_up[name] if name in self._looked_up else self._frame.get_column(name)
            )
            if isinstance(column, list) and self._types[name].is_temporal():
                column = restore_type(column, name, self._types[name])
            self._columns[name] = column if isinstance(column, list) else column.to_list()
        return self._columns[name]
