"""Event database in PostgreSQL: writer and reader."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from mlops_cli.data.urls import check_url
from mlops_cli.errors import BadParams, SourceUnreadable, install_hint
from mlops_cli.events.base import Label, Prediction, RefusedEvents, WriteFailed
from mlops_cli.events.label_history import classify_labels, keys_to_look_up

__all__ = ["SCHEMA", "PostgresEvents", "PostgresRows"]

_OLD_FORMAT = "events of mlops-cli, format 1"
_FORMAT = "events of mlops-cli, format 2"
# The index has the hash of an entity, because a B-tree's entry has at most 2,704 bytes and an
# entity's text may be longer. Format 1 indexed the text itself, so a long entity was refused.
_HASH = "hashtextextended(entity, 0)"
_ENTITY_INDEXES = f"""
CREATE INDEX predictions_entity ON predictions ({_HASH}, moment) WHERE entity IS NOT NULL;
CREATE INDEX labels_entity ON labels ({_HASH}) WHERE entity IS NOT NULL;
COMMENT ON TABLE predictions IS '{_FORMAT}';
"""
SCHEMA = f"""
CREATE TABLE predictions (
    id TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, moment DOUBLE PRECISION,
    version TEXT NOT NULL, role TEXT NOT NULL, entity TEXT, inputs TEXT NOT NULL,
    features TEXT NOT NULL, output TEXT NOT NULL, milliseconds DOUBLE PRECISION NOT NULL
);
CREATE INDEX predictions_at ON predictions (at, id);
CREATE TABLE labels (
    seq BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, prediction TEXT, entity TEXT,
    moment DOUBLE PRECISION, value TEXT NOT NULL, at DOUBLE PRECISION NOT NULL
);
CREATE INDEX labels_key ON labels (key, at, seq);
CREATE INDEX labels_at ON labels (at, seq);
{_ENTITY_INDEXES}
"""
_MIGRATE = (
    f"SET LOCAL statement_timeout = 0; DROP INDEX IF EXISTS predictions_entity; {_ENTITY_INDEXES}"
)
_SCHEMA_LOCK, _LABELS_LOCK = 0x6D6C6F70, 0x6D6C6F71
"""Keys of advisory locks.

The first: services that start at the same time create the tables one after the other. The second:
two services that receive the same label at the same time must not both consider it as new, so
transactions with labels run one after the other.
"""
_ATTEMPTS = 3
_CONFLICT = ("40",)
"""SQLSTATE of deadlocks and serialisation failures, which are retried."""
_INVALID_ROWS = ("21", "22", "23", "54")
"""SQLSTATE of errors that rows cause: invalid values, constraints, limits of the program."""
_INTERNAL = ("XX", "38", "39", "P0")
"""SQLSTATE of errors that rows or database may cause: internal errors, triggers."""
_TOO_MANY_ROWS = ("57014", "53200", "57P02", "08")
"""SQLSTATE of errors that fewer rows may avoid: timeout, memory, a lost process or connection."""
_FORM = "postgresql://USER:PASSWORD@HOST/DATABASE"
_SAFE_NAME = re.compile(r"[\w.,:/~-]*")
_SAFE_REASONS = (
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
"""Parts of error messages of libpq and the server that contain nothing secret."""
_TIMEOUT = 5
"""Seconds for a connection, for a statement, and until a silent network counts as broken."""


class PostgresEvents:
    """Writes events to a PostgreSQL database, which several services may share.

    Raises
    ------
    BadParams
        If psycopg isn't installed, or can't read the URL.
    """

    def __init__(self, url: str) -> None:
        self._psycopg = _import_psycopg(url)
        self._url = url
        self._db: Any = None

    def write(
        self,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        *,
        from_spill: bool = False,
    ) -> list[str]:
        """See ``Events.write``."""
        psycopg = self._psycopg
        for attempts_left in reversed(range(_ATTEMPTS)):
            count = 0
            try:
                if self._db is None:
                    self._db = _connect(psycopg, self._url)
                    _create_tables(self._db)
                count = len(predictions) + len(labels)
                return self._write(self._db, predictions, labels, from_spill=from_spill)
            except BaseException as error:
                # Whatever the error is, the next attempt begins with a new connection.
                self.close()
                if not isinstance(error, Exception) or isinstance(error, SourceUnreadable):
                    raise
                if attempts_left and (getattr(error, "sqlstate", None) or "").startswith(_CONFLICT):
                    continue
                raise self._classify_error(error, count) from None
        raise AssertionError

    def _classify_error(self, error: Exception, events: int) -> Exception:
        """Decide whether the rows or the database caused an error.

        The error's text isn't shown, because it may contain values of the rows.

        Parameters
        ----------
        events
            Number of events of the write; 0 if connecting failed.
        """
        state = getattr(error, "sqlstate", None) or ""
        if isinstance(error, (self._psycopg.DataError, self._psycopg.IntegrityError, UnicodeError)):
            return RefusedEvents(type(error).__name__)
        if events and state.startswith(_INVALID_ROWS):
            return RefusedEvents(f"{type(error).__name__} ({state})")
        unavailable = _unavailable_error(self._url, error)
        several = events > 1 and (not state or state.startswith(_TOO_MANY_ROWS))
        is_driver = isinstance(error, (self._psycopg.Error, OSError))
        if several or (events and (state.startswith(_INTERNAL) or not is_driver)):
            return WriteFailed(unavailable.message, unavailable.hint)
        return unavailable

    def close(self) -> None:
        """See ``Events.close``."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _write(
        self,
        db: Any,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        *,
        from_spill: bool,
    ) -> list[str]:
        """Write events, and return the class of each label."""
        if not labels:
            self._write_predictions(db, predictions)
            return []
        with db.transaction():
            if predictions:
                _insert_new(db, predictions)
            return _insert_labels(db, labels, from_spill=from_spill)

    def _write_predictions(self, db: Any, predictions: Sequence[Prediction]) -> None:
        """Insert predictions with one statement, which is its own transaction."""
        if not predictions:
            db.execute("SELECT 1")
            return
        try:
            with db.cursor() as cursor, cursor.copy("COPY predictions FROM STDIN") as copy:
                for prediction in predictions:
                    copy.write_row(prediction)
        except self._psycopg.errors.UniqueViolation:
            # Some are stored already: after an outage, it isn't known what was written.
            with db.transaction():
                _insert_new(db, predictions)


class PostgresRows:
    """Reads a PostgreSQL event database.

    Raises
    ------
    BadParams
        If psycopg isn't installed, or can't read the URL.
    SourceUnreadable
        If the database can't be reached.
    """

    placeholder, tiebreaker, min_tiebreaker = "%s", "id", ""

    def __init__(self, url: str) -> None:
        self._psycopg = _import_psycopg(url)
        self._url = url
        try:
            self.connection = _connect(self._psycopg, url, statement_seconds=0)
            self.empty = _format(self.connection) is None
        except self._psycopg.Error as error:
            raise _unavailable_error(url, error) from None

    def query(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run one query."""
        with self.convert_errors():
            rows: list[tuple[Any, ...]] = self.connection.execute(statement, values).fetchall()
        return rows

    @contextmanager
    def convert_errors(self) -> Iterator[None]:
        """Convert the driver's errors to SourceUnreadable."""
        try:
            yield
        except self._psycopg.Error as error:
            raise _unavailable_error(self._url, error) from None

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def _import_psycopg(url: str) -> Any:
    """Import psycopg and check the URL."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ModuleNotFoundError:
        raise BadParams(
            "MLOPS_EVENTS_URL names a PostgreSQL, but its client isn't installed",
            install_hint("postgres"),
        ) from None
    check_url(url, "MLOPS_EVENTS_URL", _FORM)
    try:
        conninfo_to_dict(url)
    except psycopg.Error:
        # The invalid part may be the password, so the URL isn't shown.
        raise BadParams(
            "MLOPS_EVENTS_URL is not a URL that PostgreSQL can read",
            f"Give {_FORM}, special characters as %XX.",
        ) from None
    return psycopg


def _connect(psycopg: Any, url: str, *, statement_seconds: int = _TIMEOUT) -> Any:
    """Open a connection with timeouts and durable commits."""
    db = psycopg.connect(
        url,
        connect_timeout=_TIMEOUT,
        tcp_user_timeout=_TIMEOUT * 1000,
        keepalives_idle=_TIMEOUT,
        autocommit=True,
    )
    db.execute(f"SET statement_timeout = '{statement_seconds}s'")
    # Shorter than the statement timeout, so that a lock isn't reported as a slow statement.
    db.execute(f"SET lock_timeout = '{statement_seconds * 0.8:g}s'")
    # Somebody may have disabled it for speed, but a response must mean that its commit is durable.
    db.execute(
        "SELECT set_config('synchronous_commit', 'on', false) "
        "WHERE current_setting('synchronous_commit') = 'off'"
    )
    return db


def _unavailable_error(url: str, error: Exception) -> SourceUnreadable:
    """Create the error for an unavailable database: its place and a safe reason, no password."""
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    host, name = (str(parts.get(key, "")) for key in ("host", "dbname"))
    place = "/".join(part if _SAFE_NAME.fullmatch(part) else "***" for part in (host, name))
    state = getattr(error, "sqlstate", None)
    reason = type(error).__name__ + (f" ({state})" if state else "")
    # The client's message may quote the URL, so only known parts of messages are shown.
    text = str(error).lower()
    if reasons := [words for words in _SAFE_REASONS if words.lower() in text]:
        reason = reasons[0]
    return SourceUnreadable(
        f"the event log postgresql://{place} can't be used: {reason}",
        "See that the server runs, and that MLOPS_EVENTS_URL names it.",
    )


def _format(db: Any) -> str | None:
    """Return the format of the tables; None if there are none yet."""
    ((exists, comment),) = db.execute(
        "SELECT to_regclass('predictions') IS NOT NULL, "
        "obj_description(to_regclass('predictions'), 'pg_class')"
    ).fetchall()
    if exists and comment not in (_FORMAT, _OLD_FORMAT):
        raise SourceUnreadable(
            f"the database has a table predictions that isn't one of {_FORMAT}",
            "Give the event log a database of its own, or a schema: ?options=-csearch_path%3DNAME.",
        )
    return str(comment) if exists else None


def _create_tables(db: Any) -> None:
    """Create the tables, or migrate those of the former format.

    A role that may only insert uses existing tables, and doesn't migrate a former format.
    """
    from psycopg.errors import InsufficientPrivilege

    old_format = _format(db)
    if old_format == _FORMAT:
        return
    try:
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            locked_format = _format(db)
            if locked_format != _FORMAT:
                db.execute(SCHEMA if locked_format is None else _MIGRATE)
    except InsufficientPrivilege:
        if old_format is None:
            raise


def _insert_new(db: Any, predictions: Sequence[Prediction]) -> None:
    """Insert the predictions that aren't stored yet."""
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO predictions VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s) "
            "ON CONFLICT (id) DO NOTHING",
            predictions,
        )


def _insert_labels(db: Any, labels: Sequence[Label], *, from_spill: bool) -> list[str]:
    """Insert labels, and return the class of each."""
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_LABELS_LOCK,))
    keys, ids, moments = keys_to_look_up(labels)
    before = db.execute(
        "SELECT key, at, value FROM labels WHERE key = ANY(%s) ORDER BY at, seq", (keys,)
    ).fetchall()
    stored: set[Any] = {
        row[0] for row in db.execute("SELECT id FROM predictions WHERE id = ANY(%s)", (ids,))
    }
    stored.update(
        db.execute(
            "SELECT p.entity, p.moment FROM unnest(%s::text[], %s::float8[]) AS w (entity, moment) "
            "JOIN predictions p ON hashtextextended(p.entity, 0) = hashtextextended(w.entity, 0) "
            "AND p.moment = w.moment AND p.entity = w.entity",
            ([entity for entity, _ in moments], [moment for _, moment in moments]),
        )
    )
    results, to_store = classify_labels(labels, before, stored, from_spill=from_spill)
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO labels (key, prediction, entity, moment, value, at) "
            "VALUES (%s,%s,%s,%s,%s,%s)",
            to_store,
        )
    return results
