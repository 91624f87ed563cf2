"""The online store: entries by key that joins and windows need when a request arrives.

`mlops materialize` computes it from the validated tables, so it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from mlops_cli.online.store.base import Entry, OnlineStore

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.features.program import FeatureProgram

__all__ = ["Entry", "OnlineStore", "open_store", "program_id"]


def program_id(program: FeatureProgram) -> str:
    """Identifier of a program's entries: programs with the same rules share entries."""
    text = json.dumps(program.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def open_store(url: str | None, default_path: Path, *, create: bool = False) -> OnlineStore:
    """Open the store at a URL (``redis://``, ``rediss://``, or the path of a SQLite file).

    Parameters
    ----------
    url
        The URL; None or empty for the SQLite file ``default_path``.
    create
        Create a SQLite file that doesn't exist.

    Raises
    ------
    SourceUnreadable
        If the store can't be reached or read.
    NotFound
        If the SQLite file doesn't exist, and ``create`` is false.
    BadParams
        If the URL has another scheme or is ambiguous, or the Redis client isn't installed.
    """
    from mlops_cli.data.urls import scheme_of, sqlite_path

    if url and scheme_of(url) in {"redis", "rediss"}:
        from mlops_cli.online.store.redis import RedisStore

        return RedisStore(url)
    from mlops_cli.online.store.sqlite import SqliteStore

    form = "redis://HOST:PORT/0, or the path of a SQLite file"
    path = sqlite_path(url, "MLOPS_ONLINE_URL", form) if url else default_path
    return SqliteStore(path, create=create)
