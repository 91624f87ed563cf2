"""Events in PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mlops_cli.errors import BadParams, SourceUnreadable
from mlops_cli.store.events import Label, Prediction, Unkeepable
from mlops_cli.store.events.judging import judged, wanted
from mlops_cli.store.urls import check_url

__all__ = ["SCHEMA", "PostgresEvents", "PostgresRows"]

_MADE = "events of mlops-cli, format 1"
SCHEMA = f"""
CREATE TABLE predictions (
    id TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, moment DOUBLE PRECISION,
    version TEXT NOT NULL, role TEXT NOT NULL, entity TEXT, inputs TEXT NOT NULL,
    features TEXT NOT NULL, output TEXT NOT NULL, milliseconds DOUBLE PRECISION NOT NULL
);
CREATE INDEX predictions_at ON predictions (at, id);
CREATE INDEX predictions_entity ON predictions (entity, moment) WHERE entity IS NOT NULL;
CREATE TABLE labels (
    seq BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, prediction TEXT, entity TEXT,
    moment DOUBLE PRECISION, value TEXT NOT NULL, at DOUBLE PRECISION NOT NULL
);
CREATE INDEX labels_key ON labels (key, at, seq);
CREATE INDEX labels_at ON labels (at, seq);
COMMENT ON TABLE predictions IS '{_MADE}';
"""
_SCHEMA_LOCK, _LABELS_LOCK = 0x6D6C6F70, 0x6D6C6F71
"""Two services that start at once make the tables one after the other; and two that are told the
same at once must not both find nothing, so labels are kept one transaction after the other."""
_FORM = "postgresql://USER:PASSWORD@HOST/DATABASE"
_PLAIN = re.compile(r"[\w.,:/~-]*")
_REASONS = (
    "Connection refused", "password authentication failed", "no pg_hba.conf entry",
    "could not translate host name", "failed to resolve host", "Name or service not known",
    "timeout expired", "connection timeout", "certificate verify failed", "does not support SSL",
    "No such file or directory", "Permission denied", "Network is unreachable",
    "No route to host", "the database system is starting up",
    "the database system is shutting down",
    "too many clients already", "server closed the connection unexpectedly",
    "statement timeout", "lock timeout", "permission denied", "read-only transaction",
    "No space left on device", "does not exist",
)  # fmt: skip
"""What a client or a server says of a connection; it names nothing that is secret."""
_PATIENCE = 5
"""Seconds for a connection, for a statement, and until a silent network counts as gone."""


class PostgresEvents:
    """Events in a database that several services share.

    Raises
    ------
    BadParams
        If psycopg isn't installed, or can't read the URL.
    """

    def __init__(self, url: str) -> None:
        self._psycopg = _client(url)
        self._url = url
        self._db: Any = None

    def write(self, predictions: Sequence[Prediction], labels: Sequence[Label]) -> list[str]:
        """See ``Events.write``."""
        psycopg = self._psycopg
        try:
            if self._db is None:
                self._db = _connected(psycopg, self._url)
                _make(self._db)
            return self._written(self._db, predictions, labels)
        except BaseException as error:
            # Whatever it was, the next attempt begins with a connection that is known to be good.
            self.close()
            if isinstance(error, (psycopg.DataError, psycopg.IntegrityError, UnicodeError)):
                # Its text may have the row's values.
                raise Unkeepable(type(error).__name__) from None
            if isinstance(error, psycopg.Error):
                raise _away(self._url, error) from None
            raise

    def close(self) -> None:
        """See ``Events.close``."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _written(
        self, db: Any, predictions: Sequence[Prediction], labels: Sequence[Label]
    ) -> list[str]:
        if not labels:
            self._predict(db, predictions)
            return []
        with db.transaction():
            if predictions:
                _insert_new(db, predictions)
            return _label(db, labels)

    def _predict(self, db: Any, predictions: Sequence[Prediction]) -> None:
        """Keep predictions by one statement, which is a transaction of its own."""
        if not predictions:
            db.execute("SELECT 1")
            return
        try:
            with db.cursor() as cursor, cursor.copy("COPY predictions FROM STDIN") as copy:
                for prediction in predictions:
                    copy.write_row(prediction)
        except self._psycopg.errors.UniqueViolation:
            # Some were there: this comes after an outage, when it wasn't clear what had arrived.
            with db.transaction():
                _insert_new(db, predictions)


class PostgresRows:
    """Reads a database of events.

    Raises
    ------
    BadParams
        If psycopg isn't installed, or can't read the URL.
    SourceUnreadable
        If it can't be reached.
    """

    mark, tie, lowest = "%s", "id", ""

    def __init__(self, url: str) -> None:
        self._psycopg = _client(url)
        self._url = url
        try:
            self._db = _connected(self._psycopg, url, statement_seconds=0)
            self.empty = not _is_made(self._db)
        except self._psycopg.Error as error:
            raise _away(url, error) from None

    def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Ask once."""
        try:
            rows: list[tuple[Any, ...]] = self._db.execute(statement, values).fetchall()
        except self._psycopg.Error as error:
            raise _away(self._url, error) from None
        return rows

    def close(self) -> None:
        """Let go of the connection."""
        self._db.close()


def _client(url: str) -> Any:
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ModuleNotFoundError:
        raise BadParams(
            "MLOPS_EVENTS_URL names a PostgreSQL, but its client isn't installed",
            "Install it: pip install 'mlops-cli[postgres]'.",
        ) from None
    check_url(url, "MLOPS_EVENTS_URL", _FORM)
    try:
        conninfo_to_dict(url)
    except psycopg.Error:
        # What is wrong may be the password, so nothing of it is shown.
        raise BadParams(
            "MLOPS_EVENTS_URL is not a URL that PostgreSQL can read",
            f"Give {_FORM}, special characters as %XX.",
        ) from None
    return psycopg


def _connected(psycopg: Any, url: str, *, statement_seconds: int = _PATIENCE) -> Any:
    db = psycopg.connect(
        url,
        connect_timeout=_PATIENCE,
        tcp_user_timeout=_PATIENCE * 1000,
        keepalives_idle=_PATIENCE,
        autocommit=True,
    )
    db.execute(f"SET statement_timeout = '{statement_seconds}s'")
    # Someone may have turned it off for speed; here, an answer stands for its commit.
    db.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    return db


def _away(url: str, error: Exception) -> SourceUnreadable:
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    host, name = (str(parts.get(key, "")) for key in ("host", "dbname"))
    place = "/".join(part if _PLAIN.fullmatch(part) else "***" for part in (host, name))
    state = getattr(error, "sqlstate", None)
    reason = type(error).__name__ + (f" ({state})" if state else "")
    # The client's words may quote the URL, so that only those are shown that are known.
    text = str(error).lower()
    if told := [words for words in _REASONS if words.lower() in text]:
        reason = told[0]
    return SourceUnreadable(
        f"the event log postgresql://{place} can't be used: {reason}",
        "See that the server runs, and that MLOPS_EVENTS_URL names it.",
    )


def _is_made(db: Any) -> bool:
    found = db.execute("SELECT obj_description(to_regclass('predictions'), 'pg_class')").fetchone()
    exists = db.execute("SELECT to_regclass('predictions') IS NOT NULL").fetchone()[0]
    if exists and found[0] != _MADE:
        raise SourceUnreadable(
            f"the database has a table predictions that isn't one of {_MADE}",
            "Give the event log a database of its own, or a schema: ?options=-csearch_path%3DNAME.",
        )
    return bool(exists)


def _make(db: Any) -> None:
    """Make the tables, where they aren't there; a role that may only insert finds them made."""
    if not _is_made(db):
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            if not _is_made(db):
                db.execute(SCHEMA)


def _insert_new(db: Any, predictions: Sequence[Prediction]) -> None:
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO predictions VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s) "
            "ON CONFLICT (id) DO NOTHING",
            predictions,
        )


def _label(db: Any, labels: Sequence[Label]) -> list[str]:
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_LABELS_LOCK,))
    keys, ids, moments = wanted(labels)
    before = db.execute(
        "SELECT key, at, value FROM labels WHERE key = ANY(%s) ORDER BY at, seq", (keys,)
    ).fetchall()
    found: set[Any] = {
        row[0] for row in db.execute("SELECT id FROM predictions WHERE id = ANY(%s)", (ids,))
    }
    found.update(
        db.execute(
            "SELECT entity, moment FROM predictions "
            "JOIN unnest(%s::text[], %s::float8[]) AS w (entity, moment) USING (entity, moment)",
            ([entity for entity, _ in moments], [moment for _, moment in moments]),
        )
    )
    results, kept = judged(labels, before, found)
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO labels (key, prediction, entity, moment, value, at) "
            "VALUES (%s,%s,%s,%s,%s,%s)",
            kept,
        )
    return results
