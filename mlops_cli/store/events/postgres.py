"""Events in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops_cli.errors import BadParams
from mlops_cli.store.events import Label, Prediction

__all__ = ["SCHEMA", "PostgresEvents"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS predictions (
    id TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, moment DOUBLE PRECISION,
    version TEXT NOT NULL, role TEXT NOT NULL, entity TEXT, inputs TEXT NOT NULL,
    features TEXT NOT NULL, output TEXT NOT NULL, milliseconds DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS predictions_at ON predictions (at);
CREATE INDEX IF NOT EXISTS predictions_entity ON predictions (entity, moment)
    WHERE entity IS NOT NULL;
CREATE TABLE IF NOT EXISTS labels (
    seq BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, prediction TEXT, entity TEXT,
    moment DOUBLE PRECISION, value TEXT NOT NULL, at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS labels_key ON labels (key, seq);
CREATE INDEX IF NOT EXISTS labels_at ON labels (at);
"""
_SCHEMA_LOCK = 0x6D6C6F70
"""Two processes that start at once make the tables one after the other."""
_PATIENCE = 5
"""Seconds for a connection, and for one statement."""


class PostgresEvents:
    """Events in a database that several services share.

    Raises
    ------
    BadParams
        If psycopg isn't installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import psycopg
        except ModuleNotFoundError:
            raise BadParams(
                "MLOPS_EVENTS_URL names a PostgreSQL, but its client isn't installed",
                "Install it: pip install 'mlops-cli[postgres]'.",
            ) from None
        self._psycopg = psycopg
        self._url = url
        self._db: Any = None

    def write(self, predictions: Sequence[Prediction], labels: Sequence[Label]) -> list[str]:
        """See ``Events.write``."""
        try:
            return self._written(self._connected(), predictions, labels)
        except BaseException:
            # Whatever it was, the next attempt begins with a connection that is known to be good.
            self.close()
            raise

    def close(self) -> None:
        """See ``Events.close``."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _connected(self) -> Any:
        if self._db is None:
            db = self._psycopg.connect(
                self._url,
                connect_timeout=_PATIENCE,
                autocommit=True,
                options=f"-c statement_timeout={_PATIENCE * 1000}",
            )
            with db.transaction(), db.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
                cursor.execute(SCHEMA)
            self._db = db
        return self._db

    def _written(
        self, db: Any, predictions: Sequence[Prediction], labels: Sequence[Label]
    ) -> list[str]:
        with db.transaction(), db.cursor() as cursor:
            if predictions:
                cursor.executemany(
                    "INSERT INTO predictions VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s) "
                    "ON CONFLICT (id) DO NOTHING",
                    predictions,
                )
            return [self._label(cursor, label) for label in labels]

    @staticmethod
    def _label(cursor: Any, label: Label) -> str:
        # Two services that are told the same at once must not both find nothing.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (label.key,))
        cursor.execute(
            "SELECT value FROM labels WHERE key = %s ORDER BY seq DESC LIMIT 1", (label.key,)
        )
        last = cursor.fetchone()
        if last is not None and last[0] == label.value:
            return "same"
        cursor.execute(
            "INSERT INTO labels (key, prediction, entity, moment, value, at) "
            "VALUES (%s,%s,%s,%s,%s,%s)",
            label,
        )
        if last is not None:
            return "changed"
        if label.prediction is not None:
            cursor.execute("SELECT 1 FROM predictions WHERE id = %s", (label.prediction,))
        else:
            cursor.execute(
                "SELECT 1 FROM predictions WHERE entity = %s AND moment = %s",
                (label.entity, label.moment),
            )
        return "new" if cursor.fetchone() else "unknown"
