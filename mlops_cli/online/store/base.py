"""What an online store offers, whichever database it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

__all__ = ["Entry", "OnlineStore"]

Entry = tuple[str, str, str]
"""Table, key, and the entry as JSON."""


class OnlineStore(Protocol):
    """Entries of one or several feature programs, each replaced as a whole."""

    def facts(self, program: str) -> dict[str, Any] | None:
        """What was said of a program's entries when they came, with their ``generation``."""

    def get(self, generation: int, table: str, keys: Sequence[str]) -> list[str | None]:
        """The entries of these keys, None where there is none."""

    def keys(self, generation: int, table: str, most: int) -> list[str]:
        """The first keys that have an entry, in any order."""

    def replace(self, program: str, facts: Mapping[str, Any], entries: Iterable[Entry]) -> int:
        """Put entries in the place of the program's former ones, at once; give their number."""

    def count(self, keys: Sequence[str]) -> int:
        """How many entries have one of these keys, in all tables of all programs."""

    def erase(self, keys: Sequence[str]) -> int:
        """Erase those; a service that has them in memory forgets them with the next ``replace``."""

    def close(self) -> None:
        """Let go of files and connections."""
