"""Events in one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from mlops_cli.store.events import Label, Prediction

__all__ = ["SCHEMA", "SqliteEvents"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT NOT NULL UNIQUE, at REAL NOT NULL, moment REAL, version TEXT NOT NULL,
    role TEXT NOT NULL, entity TEXT, inputs TEXT NOT NULL, features TEXT NOT NULL,
    output TEXT NOT NULL, milliseconds REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS predictions_at ON predictions (at);
CREATE INDEX IF NOT EXISTS predictions_entity ON predictions (entity, moment)
    WHERE entity IS NOT NULL;
CREATE TABLE IF NOT EXISTS labels (
    seq INTEGER PRIMARY KEY, key TEXT NOT NULL, prediction TEXT, entity TEXT, moment REAL,
    value TEXT NOT NULL, at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS labels_key ON labels (key, seq);
CREATE INDEX IF NOT EXISTS labels_at ON labels (at);
PRAGMA user_version = 1;
"""
_ROW = "(?,?,?,?,?,?,?,?,?,?)"
_TOGETHER = (256, 64, 16, 4, 1)
"""Rows of one statement. Each statement gives Python's lock away and asks for it again, for which it
may wait; so there are few."""
_PATIENCE = 5.0
"""Seconds to wait for another process that is writing."""


class SqliteEvents:
    """Events in a file, which several processes may write to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None

    def write(self, predictions: Sequence[Prediction], labels: Sequence[Label]) -> list[str]:
        """See ``Events.write``."""
        db = self._connected()
        db.execute("BEGIN IMMEDIATE")
        try:
            _insert(db, predictions)
            results = [self._label(db, label) for label in labels]
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
        return results

    def close(self) -> None:
        """See ``Events.close``."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connected(self) -> sqlite3.Connection:
        if self._db is not None and not self._path.exists():
            # Someone has removed the file: what is written to it now would be lost.
            self.close()
        if self._db is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(
                self._path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False
            )
            try:
                db.execute("PRAGMA journal_mode = WAL")
                # A commit is on the disk before it is said to be.
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA wal_autocheckpoint = 4000")
                db.executescript(SCHEMA)
            except sqlite3.Error:
                db.close()
                raise
            self._db = db
        return self._db

    @staticmethod
    def _label(db: sqlite3.Connection, label: Label) -> str:
        last = db.execute(
            "SELECT value FROM labels WHERE key = ? ORDER BY seq DESC LIMIT 1", (label.key,)
        ).fetchone()
        if last is not None and last[0] == label.value:
            return "same"
        db.execute(
            "INSERT INTO labels (key, prediction, entity, moment, value, at) VALUES (?,?,?,?,?,?)",
            label,
        )
        if last is not None:
            return "changed"
        if label.prediction is not None:
            found = db.execute("SELECT 1 FROM predictions WHERE id = ?", (label.prediction,))
        else:
            found = db.execute(
                "SELECT 1 FROM predictions WHERE entity = ? AND moment = ?",
                (label.entity, label.moment),
            )
        return "new" if found.fetchone() else "unknown"


def _insert(db: sqlite3.Connection, predictions: Sequence[Prediction]) -> None:
    start = 0
    for size in _TOGETHER:
        statement = f"INSERT OR IGNORE INTO predictions VALUES {','.join([_ROW] * size)}"  # noqa: S608
        while len(predictions) - start >= size:
            values = chain.from_iterable(predictions[start : start + size])
            db.execute(statement, tuple(values))
            start += size
