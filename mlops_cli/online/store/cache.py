"""A program's entries as the service reads them: kept in memory, renewed when replaced."""

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

_LOOK = 1.0
"""Seconds after which to ask whether the entries were replaced."""
_MOST = 50_000_000
"""Characters of keys and entries that are kept, which take about as many bytes; then all is
forgotten."""
_BEFOREHAND = 5_000_000
"""Characters that are fetched before anyone asks: half a second's work."""
_KEYS = 50_000
"""Keys of a table that are fetched so."""
_AT_ONCE = 50
"""Keys that are fetched together beforehand; who asks meanwhile waits for no more than these."""
_BREATH = 0.005
"""Seconds between them, where others ask meanwhile: they have Python's lock then."""


class Lookups:
    """A store for several versions: those with the same feature program share what is in memory."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        # Entries go with the last version that looks into them.
        self._entries: WeakValueDictionary[str, CachedEntries] = WeakValueDictionary()

    def entries(self, program: FeatureProgram, tables: Sequence[Table]) -> CachedEntries:
        """Those of a program, which looks into these tables; see ``CachedEntries`` for errors."""
        key = program_id(program)
        found = self._entries.get(key)
        if found is None:
            found = self._entries[key] = CachedEntries(self._store, key, tables)
        return found


class CachedEntries:
    """Look-ups in a store, for one feature program.

    Parameters
    ----------
    tables
        What the program looks into.

    Raises
    ------
    NotFound
        If the store has no entries for the program.
    """

    def __init__(self, store: OnlineStore, program: str, tables: Sequence[Table]) -> None:
        self._program = program
        self._store = store
        self._tables = {table.name: table for table in tables}
        self._looked = float("-inf")
        self.facts: dict[str, Any] = {}
        self._renew()
        self._source.fill(self._remembered)

    def refreshed(self) -> LookupCache:
        """What is known of the entries; asks the store at most once a second for newer ones."""
        if self._source.characters > _MOST:
            # Another thread may still read what is forgotten here, so that it stays as it is.
            self._begin()
        if time.monotonic() - self._looked >= _LOOK and self._renew():
            fill = partial(self._source.fill, self._remembered, pause=_BREATH)
            threading.Thread(target=fill, name="look-ups", daemon=True).start()
        return self._remembered

    def _renew(self) -> bool:
        """Take up entries that have been replaced; whether they have."""
        self._looked = time.monotonic()
        facts = self._store.facts(self._program)
        if facts is None:
            raise NotFound(
                "the online store has nothing for this version's feature program",
                "Fill it with `mlops materialize`.",
            )
        if facts["generation"] == self.facts.get("generation"):
            return False
        self.facts = facts
        self._begin()
        return True

    def _begin(self) -> None:
        self._source = _Source(self._store, self._tables, self.facts["generation"])
        self._remembered = LookupCache([*self._tables.values()], self._source.fetched)


@dataclass
class _Source:
    """Where what is remembered gets what it lacks.

    It knows no more than this: in a circle with what holds it, an old version's entries would stay
    until the garbage collector comes by.
    """

    store: OnlineStore
    tables: Mapping[str, Table]
    generation: int
    characters: int = 0

    def fetched(self, table: str, keys: Sequence[Key]) -> list[Any]:
        """The decoded entries of some keys."""
        decode = self.tables[table].decode
        names = list(map(entry_key, keys))
        texts = self.store.get(self.generation, table, names)
        self.characters += sum(map(len, names)) + sum(len(text) for text in texts if text)
        return [None if text is None else decode(text) for text in texts]

    def fill(self, remembered: LookupCache, pause: float = 0.0) -> None:
        """Fetch what there is, as far as it isn't much, before it is asked for."""
        # What fails, such as when the store is closed meanwhile, is told to who asks.
        with suppress(Exception):
            for table in self.tables.values():
                if not all(map(_said_by_json, table.key_types)):
                    continue
                keys = self.store.keys(self.generation, table.name, _KEYS)
                for start in range(0, len(keys), _AT_ONCE):
                    if self.characters > _BEFOREHAND:
                        return
                    some = keys[start : start + _AT_ONCE]
                    remembered.learn(table.keys, [tuple(json.loads(key)) for key in some])
                    time.sleep(pause)


def _said_by_json(dtype: pl.DataType) -> bool:
    """Whether a key's value can be read back from its text."""
    import polars as pl

    return dtype.is_integer() or dtype in (pl.String, pl.Boolean)
