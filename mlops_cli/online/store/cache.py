"""The service's cache of the online store, refreshed when the entries are replaced."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from mlops_cli.errors import NotFound
from mlops_cli.online.lookup_cache import LookupCache
from mlops_cli.online.online_entries import entry_key
from mlops_cli.online.store import program_id

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.features.program import FeatureProgram
    from mlops_cli.online.lookup_cache import Key
    from mlops_cli.online.online_entries import JoinEntries, WindowEntries
    from mlops_cli.online.store import OnlineStore

    Table = JoinEntries | WindowEntries

__all__ = ["CachedEntries", "Lookups"]

_REFRESH_SECONDS = 1.0
"""Interval in seconds at which to check whether the entries were replaced."""
_MAX_CHARACTERS = 50_000_000
"""Limit of the cache, in characters of keys and entries (about as many bytes); a full cache is
emptied."""
_PREFETCH_CHARACTERS = 5_000_000
"""Limit of the prefetch, in characters of keys and entries: half a second's work."""
_PREFETCH_KEYS = 50_000
"""Limit of the prefetch, in keys of one table."""
_PREFETCH_BATCH = 50
"""Keys that are prefetched at a time. A request may have to wait for one such batch."""
_PREFETCH_PAUSE = 0.005
"""Seconds between batches during a refresh, in which requests can take the GIL."""


class Lookups:
    """Caches of a store for several versions; those with the same feature program share a cache."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        # A cache is freed with the last version that uses it.
        self._entries: WeakValueDictionary[str, CachedEntries] = WeakValueDictionary()

    def cached_entries(self, program: FeatureProgram, tables: Sequence[Table]) -> CachedEntries:
        """Return the cache of a program with these tables; see ``CachedEntries`` for errors."""
        key = program_id(program)
        cached = self._entries.get(key)
        if cached is None:
            cached = self._entries[key] = CachedEntries(self._store, key, tables)
        return cached


class CachedEntries:
    """Cached entries of a store, for one feature program.

    Parameters
    ----------
    program
        Identifier of the program in the store, see ``program_id``.
    tables
        The tables in which the program looks rows up.

    Raises
    ------
    NotFound
        If the store has no entries for the program.
    """

    def __init__(self, store: OnlineStore, program: str, tables: Sequence[Table]) -> None:
        self._program = program
        self._store = store
        self._tables = {table.name: table for table in tables}
        self._refreshed_at = float("-inf")
        self.metadata: dict[str, Any] = {}
        self._refresh()
        self._source.prefetch(self._cache)

    def current_cache(self) -> LookupCache:
        """Return the cache, after checking the store for newer entries at most once a second."""
        if self._source.characters > _MAX_CHARACTERS:
            # Start a new cache instead of emptying this one: another thread may still read it.
            self._reset()
        if time.monotonic() - self._refreshed_at >= _REFRESH_SECONDS and self._refresh():
            fill = partial(self._source.prefetch, self._cache, pause=_PREFETCH_PAUSE)
            threading.Thread(target=fill, name="look-ups", daemon=True).start()
        return self._cache

    def _refresh(self) -> bool:
        """Start a new cache if the store's entries were replaced; return whether they were."""
        self._refreshed_at = time.monotonic()
        facts = self._store.metadata(self._program)
        if facts is None:
            raise NotFound(
                "the online store has nothing for this version's feature program",
                "Fill it with `mlops materialize`.",
            )
        if facts["generation"] == self.metadata.get("generation"):
            return False
        self.metadata = facts
        self._reset()
        return True

    def _reset(self) -> None:
        self._source = _Source(self._store, self._tables, self.metadata["generation"])
        self._cache = LookupCache([*self._tables.values()], self._source.fetch)


@dataclass
class _Source:
    """Fetches entries from the store for the cache.

    It has no reference to ``CachedEntries``. A reference cycle would keep the entries of an old
    version in memory until the next garbage collection.
    """

    store: OnlineStore
    tables: Mapping[str, Table]
    generation: int
    characters: int = 0

    def fetch(self, table: str, keys: Sequence[Key]) -> list[Any]:
        """Fetch and decode the entries of some keys."""
        decode = self.tables[table].decode
        names = list(map(entry_key, keys))
        texts = self.store.get(self.generation, table, names)
        self.characters += sum(map(len, names)) + sum(len(text) for text in texts if text)
        return [None if text is None else decode(text) for text in texts]

    def prefetch(self, cache: LookupCache, pause: float = 0.0) -> None:
        """Prefetch entries up to the limits, before requests need them."""
        # Errors, such as of a closed store, are raised by the requests that need the entries.
        with suppress(Exception):
            for table in self.tables.values():
                if not all(map(_round_trips_json, table.key_types)):
                    continue
                keys = self.store.keys(self.generation, table.name, _PREFETCH_KEYS)
                for start in range(0, len(keys), _PREFETCH_BATCH):
                    if self.characters > _PREFETCH_CHARACTERS:
                        return
                    batch = keys[start : start + _PREFETCH_BATCH]
                    cache.prefetch(table.keys, [tuple(json.loads(key)) for key in batch])
                    time.sleep(pause)


def _round_trips_json(dtype: pl.DataType) -> bool:
    """Whether a value of a key is the same after it was written as JSON and read."""
    import polars as pl

    return dtype.is_integer() or dtype in (pl.String, pl.Boolean)
