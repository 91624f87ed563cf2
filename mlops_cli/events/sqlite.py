"""Events in one SQLite file."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from mlops_cli.data.private_files import private_database
from mlops_cli.errors import NotFound, SourceUnreadable
from mlops_cli.events.base import Label, Prediction, RefusedEvents, WriteFailed
from mlops_cli.events.label_history import classify_labels, keys_to_look_up
from mlops_cli.events.sqlite_checkpoints import Checkpoints

__all__ = ["SqliteEvents", "SqliteRows", "unusable_file"]

VERSION = 3
# predictions_moment is for labels that name entity and moment. The moments of one commit are close
# to each other, so that it changes few of the index's pages; ordered by entity it would be most of
# what is written. Format 2 had a table `moments` for it, filled by a trigger.
_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT NOT NULL UNIQUE, at REAL NOT NULL, moment REAL, version TEXT NOT NULL,
    role TEXT NOT NULL, entity TEXT, inputs TEXT NOT NULL, features TEXT NOT NULL,
    output TEXT NOT NULL, milliseconds REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS predictions_at ON predictions (at);
CREATE INDEX IF NOT EXISTS predictions_moment ON predictions (moment, entity)
    WHERE moment IS NOT NULL AND entity IS NOT NULL;
DROP TABLE IF EXISTS moments;
CREATE TABLE IF NOT EXISTS labels (
    seq INTEGER PRIMARY KEY, key TEXT NOT NULL, prediction TEXT, entity TEXT, moment REAL,
    value TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS labels_key ON labels (key, at);
CREATE INDEX IF NOT EXISTS labels_at ON labels (at);
PRAGMA user_version = {VERSION};
COMMIT;
"""
_TOGETHER = 1024
"""Rows of one statement. Each statement gives Python's lock away and asks for it again, for which
it may wait long while rows are scored; so what is usual is one statement, with its commit."""
_ASKED = 500
"""Values that one question names."""
_PATIENCE = 5.0
"""Seconds to wait for another process that is writing."""
_PAGE = 8192
"""Bytes of a page of a new file."""
_WAL = 64_000_000
"""Bytes to which the write-ahead log shrinks again, after a reader held it up."""
_NEVER = (
    sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
    OverflowError, UnicodeError,
)  # fmt: skip


class SqliteEvents:
    """Events in a file, which several processes may write to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._checkpoints = Checkpoints(path)

    def write(
        self, predictions: Sequence[Prediction], labels: Sequence[Label], *, late: bool = False
    ) -> list[str]:
        """See ``Events.write``."""
        try:
            db = self._connected()
            results = self._written(db, predictions, labels, late=late)
        except _NEVER as error:
            raise RefusedEvents(str(error)) from None
        except (MemoryError, TypeError, ValueError) as error:
            raise WriteFailed(type(error).__name__) from None
        except (sqlite3.Error, OSError) as error:
            # The next attempt begins with a connection that is known to be good.
            self.close()
            raise unusable_file(self._path, error) from None
        self._checkpoints.committed(db)
        return results

    def close(self) -> None:
        """See ``Events.close``."""
        self._checkpoints.close()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connected(self) -> sqlite3.Connection:
        if self._db is not None and self._inode != _inode(self._path):
            # Someone has removed or replaced the file: what is written to it now would be lost.
            self.close()
        if self._db is None:
            private_database(self._path)
            db = sqlite3.connect(
                self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                # A prediction has 600 bytes and more: of a usual page, a part would stay empty.
                db.execute(f"PRAGMA page_size = {_PAGE}")
                db.execute("PRAGMA journal_mode = WAL")
                # A commit is on the disk before it is said to be.
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA wal_autocheckpoint = 0")  # see Checkpoints
                db.execute(f"PRAGMA journal_size_limit = {_WAL}")
                db.execute("PRAGMA temp_store = MEMORY")
                if _version(db, self._path) < VERSION:
                    db.executescript(_SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db = db
            self._inode = _inode(self._path)
        return self._db

    def _written(
        self,
        db: sqlite3.Connection,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        *,
        late: bool,
    ) -> list[str]:
        if predictions and not labels and len(predictions) <= _TOGETHER:
            _insert(db, predictions)
            return []
        db.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(predictions), _TOGETHER):
                _insert(db, predictions[start : start + _TOGETHER])
            results = _label(db, labels, late=late) if labels else []
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # after some errors, a full disk's, SQLite has gone back itself
                db.execute("ROLLBACK")
            raise
        return results


class SqliteRows:
    """Reads a file of events; a writer isn't held up, as nothing is held between questions.

    Raises
    ------
    NotFound
        If there is no such file.
    SourceUnreadable
        If it isn't one of events.
    """

    mark, tie, lowest = "?", "rowid", -1

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise NotFound(
                f"there is no event log at {path}",
                "The service makes it with the first prediction.",
            )
        self._path = path
        # Not opened as read-only: after a crash, the first who comes has to clean up.
        self._db = sqlite3.connect(
            path.absolute().as_uri() + "?mode=rw", uri=True, timeout=_PATIENCE, isolation_level=None
        )
        try:
            self._db.execute("PRAGMA query_only = ON")
            self.empty = _version(self._db, path) == 0
        except sqlite3.Error as error:
            self._db.close()
            raise unusable_file(path, error) from None

    def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Ask once."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise unusable_file(self._path, error) from None

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()


def unusable_file(path: Path, error: Exception) -> SourceUnreadable:
    """The error where a file can't be used."""
    # What SQLite says of itself names tables and columns, never a value.
    return SourceUnreadable(
        f"the event log {path} can't be used: {error}",
        "See that the disk has space, that the file is one of SQLite, and that no one locks it.",
    )


def _inode(path: Path) -> int:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - for each commit, and three times as fast
    except FileNotFoundError:
        return -1


def _version(db: sqlite3.Connection, path: Path) -> int:
    """The format of a log; 0: there is none yet."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise SourceUnreadable(
            f"the event log {path} is of format {version}, and this mlops knows {VERSION}",
            "Use the newer mlops that wrote it.",
        )
    return int(version)


def _insert(db: sqlite3.Connection, predictions: Sequence[Prediction]) -> None:
    """Insert those that aren't there, all or none."""
    row = f"({','.join('?' * len(Prediction._fields))})"
    rows = ",".join([row] * len(predictions))
    db.execute(
        f"INSERT INTO predictions VALUES {rows} ON CONFLICT DO NOTHING",  # noqa: S608 - marks
        tuple(chain.from_iterable(predictions)),
    )


def _label(db: sqlite3.Connection, labels: Sequence[Label], *, late: bool) -> list[str]:
    keys, ids, moments = keys_to_look_up(labels)
    before = [
        row
        for some, marks in _batches(keys)
        for row in db.execute(
            f"SELECT key, at, value FROM labels WHERE key IN ({marks}) ORDER BY at, seq",  # noqa: S608
            some,
        )
    ]
    found: set[Any] = {
        row[0]
        for some, marks in _batches(ids)
        for row in db.execute(f"SELECT id FROM predictions WHERE id IN ({marks})", some)  # noqa: S608
    }
    for entity, moment in moments:
        found.update(
            db.execute(
                "SELECT entity, moment FROM predictions WHERE moment = ? AND entity = ? LIMIT 1",
                (moment, entity),
            )
        )
    results, kept = classify_labels(labels, before, found, late=late)
    db.executemany(
        "INSERT INTO labels (key, prediction, entity, moment, value, at) VALUES (?,?,?,?,?,?)",
        kept,
    )
    return results


def _batches(values: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    for start in range(0, len(values), _ASKED):
        some = values[start : start + _ASKED]
        yield some, ",".join("?" * len(some))
