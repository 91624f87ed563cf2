"""Event database in a SQLite file: writer and reader."""

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

FORMAT_VERSION = 3
# The index predictions_moment finds predictions by a label's entity and moment. The moments of one
# commit are close to each other, so a commit changes few pages of the index. Ordered by entity, it
# would cause most of the writes. Format 2 had a table `moments` instead, filled by a trigger.
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
PRAGMA user_version = {FORMAT_VERSION};
COMMIT;
"""
_INSERT_ROWS = 1024
"""Maximum number of rows in one INSERT.

Each statement releases Python's GIL, and may wait long to get it back while rows are scored. So the
usual write is a single statement, including its commit.
"""
_MAX_VALUES = 500
"""Maximum number of values in one query."""
_TIMEOUT = 5.0
"""Seconds to wait for another process that writes."""
_PAGE_BYTES = 8192
"""Page size of a new file."""
_WAL_BYTES = 64_000_000
"""Size to which the write-ahead log is truncated after a reader has blocked checkpoints."""
_INVALID_ROWS = (
    sqlite3.DataError, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
    OverflowError, UnicodeError,
)  # fmt: skip
"""Errors that rows cause: invalid values and violated constraints."""


class SqliteEvents:
    """Writes events to a SQLite file, which several processes may share."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._inode = 0
        self._checkpoints = Checkpoints(path)

    def write(
        self,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        *,
        from_spill: bool = False,
    ) -> list[str]:
        """See ``Events.write``."""
        try:
            db = self._connect()
            results = self._write(db, predictions, labels, from_spill=from_spill)
        except _INVALID_ROWS as error:
            raise RefusedEvents(str(error)) from None
        except (MemoryError, TypeError, ValueError) as error:
            raise WriteFailed(type(error).__name__) from None
        except (sqlite3.Error, OSError) as error:
            # The next attempt begins with a new connection.
            self.close()
            raise unusable_file(self._path, error) from None
        self._checkpoints.after_commit(db)
        return results

    def close(self) -> None:
        """See ``Events.close``."""
        self._checkpoints.close()
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connect(self) -> sqlite3.Connection:
        """Return the open connection, or open one and create or migrate the tables."""
        if self._db is not None and self._inode != _inode(self._path):
            # Somebody has removed or replaced the file: writes to the open one would be lost.
            self.close()
        if self._db is None:
            private_database(self._path)
            db = sqlite3.connect(
                self._path, timeout=_TIMEOUT, isolation_level=None, check_same_thread=False
            )
            try:
                # A prediction has 600 bytes and more, so default pages would stay partly empty.
                db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                db.execute("PRAGMA journal_mode = WAL")
                # A commit returns only when it is on disk.
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA wal_autocheckpoint = 0")  # see Checkpoints
                db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
                db.execute("PRAGMA temp_store = MEMORY")
                if _version(db, self._path) < FORMAT_VERSION:
                    db.executescript(_SCHEMA)
            except BaseException:
                db.close()
                raise
            self._db = db
            self._inode = _inode(self._path)
        return self._db

    def _write(
        self,
        db: sqlite3.Connection,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        *,
        from_spill: bool,
    ) -> list[str]:
        """Write events, and return the class of each label."""
        if predictions and not labels and len(predictions) <= _INSERT_ROWS:
            _insert(db, predictions)
            return []
        db.execute("BEGIN IMMEDIATE")
        try:
            for start in range(0, len(predictions), _INSERT_ROWS):
                _insert(db, predictions[start : start + _INSERT_ROWS])
            results = _insert_labels(db, labels, from_spill=from_spill) if labels else []
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:  # after some errors (full disk) SQLite has rolled back
                db.execute("ROLLBACK")
            raise
        return results


class SqliteRows:
    """Reads a SQLite event database; it doesn't block writers, as no query stays open.

    Raises
    ------
    NotFound
        If the file doesn't exist.
    SourceUnreadable
        If the file isn't an event database.
    """

    placeholder, tiebreaker, min_tiebreaker = "?", "rowid", -1

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise NotFound(
                f"there is no event log at {path}",
                "The service makes it with the first prediction.",
            )
        self._path = path
        # Not read-only, because the first connection after a crash has to recover the file.
        self._db = sqlite3.connect(
            path.absolute().as_uri() + "?mode=rw", uri=True, timeout=_TIMEOUT, isolation_level=None
        )
        try:
            self._db.execute("PRAGMA query_only = ON")
            self.empty = _version(self._db, path) == 0
        except sqlite3.Error as error:
            self._db.close()
            raise unusable_file(path, error) from None

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one query."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise unusable_file(self._path, error) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def unusable_file(path: Path, error: Exception) -> SourceUnreadable:
    """Create the error for a file that can't be read or written."""
    # SQLite's own messages contain names of tables and columns, but no values.
    return SourceUnreadable(
        f"the event log {path} can't be used: {error}",
        "See that the disk has space, that the file is one of SQLite, and that no one locks it.",
    )


def _inode(path: Path) -> int:
    """Return a file's inode number, or -1 if the file doesn't exist."""
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - three times as fast, and called for each commit
    except FileNotFoundError:
        return -1


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Format of the tables; 0 if there are none yet."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version > FORMAT_VERSION:
        raise SourceUnreadable(
            f"the event log {path} is of format {version}, and this mlops knows {FORMAT_VERSION}",
            "Use the newer mlops that wrote it.",
        )
    return int(version)


def _insert(db: sqlite3.Connection, predictions: Sequence[Prediction]) -> None:
    """Insert the predictions that aren't stored yet, all or none."""
    row = f"({','.join('?' * len(Prediction._fields))})"
    rows = ",".join([row] * len(predictions))
    db.execute(
        f"INSERT INTO predictions VALUES {rows} ON CONFLICT DO NOTHING",  # noqa: S608 - placeholders only
        tuple(chain.from_iterable(predictions)),
    )


def _insert_labels(
    db: sqlite3.Connection, labels: Sequence[Label], *, from_spill: bool
) -> list[str]:
    """Insert labels, and return the class of each."""
    keys, ids, moments = keys_to_look_up(labels)
    before = [
        row
        for batch, marks in _batches(keys)
        for row in db.execute(
            f"SELECT key, at, value FROM labels WHERE key IN ({marks}) ORDER BY at, seq",  # noqa: S608
            batch,
        )
    ]
    stored: set[Any] = {
        row[0]
        for batch, marks in _batches(ids)
        for row in db.execute(f"SELECT id FROM predictions WHERE id IN ({marks})", batch)  # noqa: S608
    }
    for entity, moment in moments:
        stored.update(
            db.execute(
                "SELECT entity, moment FROM predictions WHERE moment = ? AND entity = ? LIMIT 1",
                (moment, entity),
            )
        )
    results, to_store = classify_labels(labels, before, stored, from_spill=from_spill)
    db.executemany(
        "INSERT INTO labels (key, prediction, entity, moment, value, at) VALUES (?,?,?,?,?,?)",
        to_store,
    )
    return results


def _batches(values: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    """Batches of values, each with its SQL placeholders."""
    for start in range(0, len(values), _MAX_VALUES):
        batch = values[start : start + _MAX_VALUES]
        yield batch, ",".join("?" * len(batch))
