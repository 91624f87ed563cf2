"""The online store: what joins and windows need at the moment of a request, by key.

Derived from the validated tables by `mlops materialize`; it may be deleted at any time.
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
    from mlops_cli.data.urls import scheme_of, sqlite_path

    if url is not None and scheme_of(url) in {"redis", "rediss"}:
        from mlops_cli.online.store.redis import RedisStore

        return RedisStore(url)
    from mlops_cli.online.store.sqlite import SqliteStore

    form = "redis://HOST:PORT/0, or the path of a SQLite file"
    path = default if url is None else sqlite_path(url, "MLOPS_ONLINE_URL", form)
    return SqliteStore(path, create=create)
