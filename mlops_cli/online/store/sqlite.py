"""The online store in one SQLite file."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlops_cli.data.private_files import private_database, tighten
from mlops_cli.errors import NotFound, SourceUnreadable
from mlops_cli.online.store.base import Entry

__all__ = ["SqliteStore"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS programs (
    program TEXT PRIMARY KEY, generation INTEGER NOT NULL, facts TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS entries (
    generation INTEGER, tab TEXT, key TEXT, entry TEXT NOT NULL,
    PRIMARY KEY (generation, tab, key)
) WITHOUT ROWID;
"""
_BUSY_SECONDS = 10.0
"""Seconds to wait for a lock that another process holds."""
_BATCH = 500
"""Keys of one look-up query."""
_ERASE_BATCH = 64
"""Keys of one query that counts or erases."""
_HAS_KEY = f"generation = ? AND tab = ? AND key IN ({','.join('?' * _ERASE_BATCH)})"


class SqliteStore:
    """Stores entries in a file; readers see the former entries until the new ones are complete."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._lock = threading.Lock()
        if create:
            private_database(path)
        elif not path.is_file():
            raise NotFound(
                f"there is no online store at {path}",
                "Make it with `mlops materialize`, which `mlops serve` does by itself.",
            )
        try:
            # The thread that starts the service opens the connection, and scoring threads use it.
            self._db = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            if create:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(_SCHEMA)
            self._db.execute("SELECT 1 FROM programs")
        except sqlite3.Error as error:
            raise self._unreadable(error) from None

    def metadata(self, program: str) -> dict[str, Any] | None:
        """See ``OnlineStore.metadata``."""
        rows = self._query("SELECT generation, facts FROM programs WHERE program = ?", program)
        return {**json.loads(rows[0][1]), "generation": rows[0][0]} if rows else None

    def get(self, generation: int, table: str, keys: Sequence[str]) -> list[str | None]:
        """See ``OnlineStore.get``."""
        entries: dict[str, str] = {}
        for start in range(0, len(keys), _BATCH):
            batch = keys[start : start + _BATCH]
            placeholders = ",".join("?" * len(batch))
            query = (
                "SELECT key, entry FROM entries "  # noqa: S608 - only question marks are added
                f"WHERE generation = ? AND tab = ? AND key IN ({placeholders})"
            )
            entries.update(self._query(query, generation, table, *batch))
        return [entries.get(key) for key in keys]

    def keys(self, generation: int, table: str, limit: int) -> list[str]:
        """See ``OnlineStore.keys``."""
        query = "SELECT key FROM entries WHERE generation = ? AND tab = ? LIMIT ?"
        return [key for (key,) in self._query(query, generation, table, limit)]

    def replace(self, program: str, metadata: Mapping[str, Any], entries: Iterable[Entry]) -> int:
        """See ``OnlineStore.replace``."""
        db, count = self._db, 0

        def entries_of(generation: int) -> Iterator[tuple[int, str, str, str]]:
            nonlocal count
            for entry in entries:
                count += 1
                yield generation, *entry

        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                (last,) = db.execute("SELECT MAX(generation) FROM programs").fetchone()
                generation = (last or 0) + 1
                former = db.execute(
                    "SELECT generation FROM programs WHERE program = ?", (program,)
                ).fetchone()
                db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", entries_of(generation))
                db.execute(
                    "INSERT OR REPLACE INTO programs VALUES (?, ?, ?)",
                    (program, generation, json.dumps(dict(metadata))),
                )
                # Readers may still use the generation that is replaced, but none before it.
                db.execute(
                    "DELETE FROM entries WHERE generation IS NOT ? "
                    "AND generation NOT IN (SELECT generation FROM programs)",
                    former or (None,),
                )
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._unreadable(error) from None
        return count

    def count(self, keys: Sequence[str]) -> int:
        """See ``OnlineStore.count``."""
        return sum(
            self._query(f"SELECT count(*) FROM entries WHERE {_HAS_KEY}", *table, *batch)[0][0]  # noqa: S608
            for table, batch in self._key_batches(keys)
        )

    def erase(self, keys: Sequence[str]) -> int:
        """See ``OnlineStore.erase``."""
        tighten(self.path)
        count = 0
        try:
            self._db.execute("PRAGMA secure_delete = ON")
            for table, batch in self._key_batches(keys):
                query = f"DELETE FROM entries WHERE {_HAS_KEY}"  # noqa: S608
                count += self._db.execute(query, (*table, *batch)).rowcount
            # Only rewriting the file removes copies in rearranged pages.
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._unreadable(error) from None
        return count

    def _key_batches(self, keys: Sequence[str]) -> Iterator[tuple[tuple[int, str], list[str]]]:
        """Yield each generation's tables, with batches of keys: the arguments of ``_HAS_KEY``."""
        for generation, table in self._query("SELECT DISTINCT generation, tab FROM entries"):
            for start in range(0, len(keys), _ERASE_BATCH):
                batch = [*keys[start : start + _ERASE_BATCH]]
                yield (generation, table), [*batch, *[batch[-1]] * (_ERASE_BATCH - len(batch))]

    def close(self) -> None:
        """See ``OnlineStore.close``."""
        with self._lock:
            self._db.close()

    def _query(self, query: str, *values: Any) -> list[Any]:
        try:
            # Closing a connection while another thread uses it would crash the process.
            with self._lock:
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> SourceUnreadable:
        return SourceUnreadable(
            f"the online store {self.path} can't be used: {error}",
            "Delete the file and create it again with `mlops materialize`.",
        )
