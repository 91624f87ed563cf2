"""A program's entries as the service reads them: decoded, kept in memory, renewed when replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_cli.core.online import entry_key
from mlops_cli.errors import NotFound

if TYPE_CHECKING:
    from mlops_cli.store.online import OnlineStore

__all__ = ["CachedEntries"]

_LOOK = 1.0
"""Seconds after which to ask whether the entries were replaced."""
_MOST = 50_000_000
"""Characters of entries that are kept; decoded they take about as many bytes."""


class CachedEntries:
    """Look-ups in a store, for one feature program (see ``core.online.Lookups``).

    Parameters
    ----------
    decoders
        Table -> function of an entry's text.

    Raises
    ------
    NotFound
        If the store has no entries for the program.
    """

    def __init__(
        self, store: OnlineStore, program: str, decoders: Mapping[str, Callable[[str], Any]]
    ) -> None:
        self._store = store
        self._program = program
        self._decoders = decoders
        self._kept: dict[str, dict[tuple[Any, ...], Any]] = {table: {} for table in decoders}
        self._sizes: dict[tuple[str, tuple[Any, ...]], int] = {}
        self._size = 0
        self._looked = float("-inf")
        self.facts: dict[str, Any] = {}
        self.refresh()

    def refresh(self) -> None:
        """Take up entries that have been replaced; asks the store at most once a second."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        facts = self._store.facts(self._program)
        if facts is None:
            raise NotFound(
                "the online store has nothing for this version's feature program",
                "Fill it with `mlops materialize`.",
            )
        if facts["generation"] != self.facts.get("generation"):
            self._kept = {table: {} for table in self._decoders}
            self._sizes.clear()
            self._size = 0
            self.facts = facts

    def entries(self, table: str, keys: Sequence[tuple[Any, ...]]) -> list[Any | None]:
        """For the values of each key, its decoded entry, or None where there is none."""
        kept = self._kept[table]
        try:
            return [kept[key] for key in keys]
        except KeyError:
            self._bring(table, [key for key in dict.fromkeys(keys) if key not in kept])
            found = [kept[key] for key in keys]
            self._forget()
            return found

    def _bring(self, table: str, keys: Sequence[tuple[Any, ...]]) -> None:
        decode, kept = self._decoders[table], self._kept[table]
        names = [entry_key(key) for key in keys]
        found = self._store.get(self.facts["generation"], table, names)
        for key, name, text in zip(keys, names, found, strict=True):
            kept[key] = None if text is None else decode(text)
            self._sizes[table, key] = len(name) + (0 if text is None else len(text))
            self._size += self._sizes[table, key]

    def _forget(self) -> None:
        """Make room: what came first goes first."""
        while self._size > _MOST:
            table, key = next(iter(self._sizes))
            self._size -= self._sizes.pop((table, key))
            del self._kept[table][key]
