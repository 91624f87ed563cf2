"""Protocol of the online stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Entry", "OnlineStore"]

Entry = tuple[str, str, str]
"""Table, key, and entry as JSON."""


class OnlineStore(Protocol):
    """Stores the entries of feature programs; all entries of a program are replaced at once."""

    def metadata(self, program: str) -> dict[str, Any] | None:
        """Facts of a program's entries, with their ``generation``; None if there are no entries."""

    def get(self, generation: int, table: str, keys: Sequence[str]) -> list[str | None]:
        """Return the entries of these keys, None for a key without an entry."""

    def keys(self, generation: int, table: str, limit: int) -> list[str]:
        """Return up to ``limit`` keys that have an entry, in any order."""

    def replace(self, program: str, metadata: Mapping[str, Any], entries: Iterable[Entry]) -> int:
        """Replace all entries of a program at once; return the number of new entries."""

    def count(self, keys: Sequence[str]) -> int:
        """Count the entries with one of these keys, in all tables of all programs."""

    def erase(self, keys: Sequence[str]) -> int:
        """Erase the entries with these keys; services cache them until the next ``replace``."""

    def close(self) -> None:
        """Close files and connections."""
