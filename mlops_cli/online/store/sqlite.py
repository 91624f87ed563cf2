"""The online store as one SQLite file."""

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
_PATIENCE = 10.0
"""Seconds to wait for another process that is writing."""
_AT_ONCE = 500
"""Keys of one query."""
_NAMES = 64
_NAMED = f"generation = ? AND tab = ? AND key IN ({','.join('?' * _NAMES)})"


class SqliteStore:
    """Entries in a file; readers see the former ones until the new ones are complete."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._asking = threading.Lock()
        if create:
            private_database(path)
        elif not path.is_file():
            raise NotFound(
                f"there is no online store at {path}",
                "Make it with `mlops materialize`, which `mlops serve` does by itself.",
            )
        try:
            # Read by the thread that scores, made by the one that starts.
            self._db = sqlite3.connect(
                path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            if create:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(_SCHEMA)
            self._db.execute("SELECT 1 FROM programs")
        except sqlite3.Error as error:
            raise self._unreadable(error) from None

    def facts(self, program: str) -> dict[str, Any] | None:
        """See ``OnlineStore.facts``."""
        found = self._asked("SELECT generation, facts FROM programs WHERE program = ?", program)
        return {**json.loads(found[0][1]), "generation": found[0][0]} if found else None

    def get(self, generation: int, table: str, keys: Sequence[str]) -> list[str | None]:
        """See ``OnlineStore.get``."""
        found: dict[str, str] = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = (
                "SELECT key, entry FROM entries "  # noqa: S608 - only question marks are added
                f"WHERE generation = ? AND tab = ? AND key IN ({marks})"
            )
            found.update(self._asked(query, generation, table, *some))
        return [found.get(key) for key in keys]

    def keys(self, generation: int, table: str, most: int) -> list[str]:
        """See ``OnlineStore.keys``."""
        query = "SELECT key FROM entries WHERE generation = ? AND tab = ? LIMIT ?"
        return [key for (key,) in self._asked(query, generation, table, most)]

    def replace(self, program: str, facts: Mapping[str, Any], entries: Iterable[Entry]) -> int:
        """See ``OnlineStore.replace``."""
        db, count = self._db, 0

        def counted(generation: int) -> Iterator[tuple[int, str, str, str]]:
            nonlocal count
            for entry in entries:
                count += 1
                yield generation, *entry

        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                (last,) = db.execute("SELECT MAX(generation) FROM programs").fetchone()
                generation = (last or 0) + 1
                before = db.execute(
                    "SELECT generation FROM programs WHERE program = ?", (program,)
                ).fetchone()
                db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", counted(generation))
                db.execute(
                    "INSERT OR REPLACE INTO programs VALUES (?, ?, ?)",
                    (program, generation, json.dumps(dict(facts))),
                )
                # A reader may still be at those that are replaced, but not at any before them.
                db.execute(
                    "DELETE FROM entries WHERE generation IS NOT ? "
                    "AND generation NOT IN (SELECT generation FROM programs)",
                    before or (None,),
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
            self._asked(f"SELECT count(*) FROM entries WHERE {_NAMED}", *place, *some)[0][0]  # noqa: S608
            for place, some in self._places(keys)
        )

    def erase(self, keys: Sequence[str]) -> int:
        """See ``OnlineStore.erase``."""
        tighten(self.path)
        count = 0
        try:
            self._db.execute("PRAGMA secure_delete = ON")
            for place, some in self._places(keys):
                query = f"DELETE FROM entries WHERE {_NAMED}"  # noqa: S608
                count += self._db.execute(query, (*place, *some)).rowcount
            # Copies in rearranged pages go only when the file is written anew.
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise self._unreadable(error) from None
        return count

    def _places(self, keys: Sequence[str]) -> Iterator[tuple[tuple[int, str], list[str]]]:
        """Each generation's table, with some keys, as ``_NAMED`` takes them."""
        for generation, table in self._asked("SELECT DISTINCT generation, tab FROM entries"):
            for start in range(0, len(keys), _NAMES):
                some = [*keys[start : start + _NAMES]]
                yield (generation, table), [*some, *[some[-1]] * (_NAMES - len(some))]

    def close(self) -> None:
        """See ``OnlineStore.close``."""
        with self._asking:
            self._db.close()

    def _asked(self, query: str, *values: Any) -> list[Any]:
        try:
            # A connection that is closed while another thread asks ends the process.
            with self._asking:
                return self._db.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> SourceUnreadable:
        return SourceUnreadable(
            f"the online store {self.path} can't be used: {error}",
            "Delete the file and make it anew with `mlops materialize`.",
        )
