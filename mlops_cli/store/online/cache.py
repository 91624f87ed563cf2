"""A program's entries as the service reads them: kept in memory, renewed when replaced."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mlops_cli.core.online import entry_key
from mlops_cli.errors import NotFound

if TYPE_CHECKING:
    from mlops_cli.core.memory import Key, Memory
    from mlops_cli.core.online import JoinEntries, WindowEntries
    from mlops_cli.store.online import OnlineStore

    Table = JoinEntries | WindowEntries

__all__ = ["CachedEntries"]

_LOOK = 1.0
"""Seconds after which to ask whether the entries were replaced."""
_MOST = 50_000_000
"""Characters of entries that are kept, which take about as many bytes; then the largest table is
forgotten."""


class CachedEntries:
    """Look-ups in a store, for one feature program (see ``core.online.Lookups``).

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
        self._source = _Source(store, {table.name: table for table in tables})
        self._memories: dict[str, Memory] = {}
        self._looked = float("-inf")
        self.facts: dict[str, Any] = {}
        self.refresh()

    def memory(self, table: str) -> Memory:
        """See ``Lookups.memory``."""
        return self._memories[table]

    def refresh(self) -> None:
        """Take up entries that have been replaced; asks the store at most once a second."""
        self._make_room()
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        facts = self._source.store.facts(self._program)
        if facts is None:
            raise NotFound(
                "the online store has nothing for this version's feature program",
                "Fill it with `mlops materialize`.",
            )
        if facts["generation"] != self.facts.get("generation"):
            self.facts = facts
            self._source.generation = facts["generation"]
            self._memories = {name: self._source.memory(name) for name in self._source.tables}

    def _make_room(self) -> None:
        # Another thread may still read what is forgotten here, so that it stays as it is.
        sizes = self._source.sizes
        while sum(sizes.values()) > _MOST:
            largest = max(sizes, key=sizes.__getitem__)
            self._memories[largest] = self._source.memory(largest)


@dataclass
class _Source:
    """Where memories get what they lack.

    They know no more than this: in a circle with what holds them, an old version's would stay until
    the garbage collector comes by.
    """

    store: OnlineStore
    tables: Mapping[str, Table]
    generation: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    """Table -> characters of the keys and entries that its memory has."""

    def memory(self, table: str) -> Memory:
        """An empty one."""
        self.sizes[table] = 0
        return self.tables[table].memory(partial(self._fetched, table))

    def _fetched(self, table: str, keys: Sequence[Key]) -> list[Any]:
        decode = self.tables[table].decode
        names = list(map(entry_key, keys))
        texts = self.store.get(self.generation, table, names)
        self.sizes[table] += sum(map(len, names)) + sum(len(text) for text in texts if text)
        return [None if text is None else decode(text) for text in texts]
