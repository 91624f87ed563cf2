"""The online store: what joins and windows need at the moment of a request, by key.

Derived from the validated tables by `mlops materialize`; it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.core.program import FeatureProgram

__all__ = ["Entry", "OnlineStore", "open_store", "program_id"]

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


def program_id(program: FeatureProgram) -> str:
    """By which a program's entries are kept: programs with the same rules share them."""
    text = json.dumps(program.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_store(url: str | None, default: Path, *, create: bool = False) -> OnlineStore:
    """The store at a URL (``redis://``, ``rediss://``, or a SQLite file's path), or the default.

    Raises
    ------
    SourceUnreadable
        If it can't be reached.
    NotFound
        If there is no such file, unless it may be created.
    BadParams
        If the URL is of another kind, may be read in two ways, or its client isn't installed.
    """
    from mlops_cli.store.urls import scheme_of, sqlite_path

    if url is not None and scheme_of(url) in {"redis", "rediss"}:
        from mlops_cli.store.online.redis import RedisStore

        return RedisStore(url)
    from mlops_cli.store.online.sqlite import SqliteStore

    form = "redis://HOST:PORT/0, or the path of a SQLite file"
    path = default if url is None else sqlite_path(url, "MLOPS_ONLINE_URL", form)
    return SqliteStore(path, create=create)
