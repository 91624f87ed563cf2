"""Events in PostgreSQL."""

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

_FORMER = "events of mlops-cli, format 1"
_MADE = "events of mlops-cli, format 2"
# A B-tree's entry has 2,704 bytes at most, and an entity may be longer: its hash is not. Format 1
# had the entity itself in the index, so that one long entity was refused for good.
_HASH = "hashtextextended(entity, 0)"
_ENTITIES = f"""
CREATE INDEX predictions_entity ON predictions ({_HASH}, moment) WHERE entity IS NOT NULL;
CREATE INDEX labels_entity ON labels ({_HASH}) WHERE entity IS NOT NULL;
COMMENT ON TABLE predictions IS '{_MADE}';
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
{_ENTITIES}
"""
_TAKE_UP = f"SET LOCAL statement_timeout = 0; DROP INDEX IF EXISTS predictions_entity; {_ENTITIES}"
_SCHEMA_LOCK, _LABELS_LOCK = 0x6D6C6F70, 0x6D6C6F71
"""Two services that start at once make the tables one after the other; and two that are told the
same at once must not both find nothing, so labels are kept one transaction after the other."""
_TRIES = 3
_CONFLICT = ("40",)
"""SQLSTATE of a deadlock or of transactions that can't be put in an order: tried again."""
_ROWS = ("21", "22", "23", "54")
"""SQLSTATE of what the rows themselves break: values, rules, limits of the program."""
_INTERNAL = ("XX", "38", "39", "P0")
"""SQLSTATE where either may be at fault: the server's own errors, and triggers."""
_TOO_MUCH = ("57014", "53200", "57P02", "08")
"""SQLSTATE of what fewer rows may pass: time, memory, a server process or connection that ended."""
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

    def write(
        self, predictions: Sequence[Prediction], labels: Sequence[Label], *, late: bool = False
    ) -> list[str]:
        """See ``Events.write``."""
        psycopg = self._psycopg
        for left in reversed(range(_TRIES)):
            count = 0
            try:
                if self._db is None:
                    self._db = _connected(psycopg, self._url)
                    _make(self._db)
                count = len(predictions) + len(labels)
                return self._written(self._db, predictions, labels, late=late)
            except BaseException as error:
                # Whatever it was, the next attempt begins with a good connection.
                self.close()
                if not isinstance(error, Exception) or isinstance(error, SourceUnreadable):
                    raise
                if left and (getattr(error, "sqlstate", None) or "").startswith(_CONFLICT):
                    continue
                raise self._failure(error, count) from None
        raise AssertionError

    def _failure(self, error: Exception, events: int) -> Exception:
        """Whose fault it is; an error's text may have the row's values, and isn't shown.

        Parameters
        ----------
        events
            How many were being written; none while it was being connected.
        """
        state = getattr(error, "sqlstate", None) or ""
        if isinstance(error, (self._psycopg.DataError, self._psycopg.IntegrityError, UnicodeError)):
            return RefusedEvents(type(error).__name__)
        if events and state.startswith(_ROWS):
            return RefusedEvents(f"{type(error).__name__} ({state})")
        away = _away(self._url, error)
        several = events > 1 and (not state or state.startswith(_TOO_MUCH))
        is_driver = isinstance(error, (self._psycopg.Error, OSError))
        if several or (events and (state.startswith(_INTERNAL) or not is_driver)):
            return WriteFailed(away.message, away.hint)
        return away

    def close(self) -> None:
        """See ``Events.close``."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def _written(
        self, db: Any, predictions: Sequence[Prediction], labels: Sequence[Label], *, late: bool
    ) -> list[str]:
        if not labels:
            self._predict(db, predictions)
            return []
        with db.transaction():
            if predictions:
                _insert_new(db, predictions)
            return _label(db, labels, late=late)

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
            self.connection = _connected(self._psycopg, url, statement_seconds=0)
            self.empty = _format(self.connection) is None
        except self._psycopg.Error as error:
            raise _away(url, error) from None

    def rows(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Ask once."""
        with self.failures():
            rows: list[tuple[Any, ...]] = self.connection.execute(statement, values).fetchall()
        return rows

    @contextmanager
    def failures(self) -> Iterator[None]:
        """The driver's errors as SourceUnreadable."""
        try:
            yield
        except self._psycopg.Error as error:
            raise _away(self._url, error) from None

    def close(self) -> None:
        """Let go of the connection."""
        self.connection.close()


def _client(url: str) -> Any:
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
    # Less than that, so that waiting for others isn't taken for a statement that takes too long.
    db.execute(f"SET lock_timeout = '{statement_seconds * 0.8:g}s'")
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


def _format(db: Any) -> str | None:
    """Which format the tables have; None: there are none yet."""
    ((exists, made),) = db.execute(
        "SELECT to_regclass('predictions') IS NOT NULL, "
        "obj_description(to_regclass('predictions'), 'pg_class')"
    ).fetchall()
    if exists and made not in (_MADE, _FORMER):
        raise SourceUnreadable(
            f"the database has a table predictions that isn't one of {_MADE}",
            "Give the event log a database of its own, or a schema: ?options=-csearch_path%3DNAME.",
        )
    return str(made) if exists else None


def _make(db: Any) -> None:
    """Make the tables, or take up those of the former format.

    A role that may only insert finds them made, and leaves a former format as it is.
    """
    from psycopg.errors import InsufficientPrivilege

    found = _format(db)
    if found == _MADE:
        return
    try:
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            again = _format(db)
            if again != _MADE:
                db.execute(SCHEMA if again is None else _TAKE_UP)
    except InsufficientPrivilege:
        if found is None:
            raise


def _insert_new(db: Any, predictions: Sequence[Prediction]) -> None:
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO predictions VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s) "
            "ON CONFLICT (id) DO NOTHING",
            predictions,
        )


def _label(db: Any, labels: Sequence[Label], *, late: bool) -> list[str]:
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_LABELS_LOCK,))
    keys, ids, moments = keys_to_look_up(labels)
    before = db.execute(
        "SELECT key, at, value FROM labels WHERE key = ANY(%s) ORDER BY at, seq", (keys,)
    ).fetchall()
    found: set[Any] = {
        row[0] for row in db.execute("SELECT id FROM predictions WHERE id = ANY(%s)", (ids,))
    }
    found.update(
        db.execute(
            "SELECT p.entity, p.moment FROM unnest(%s::text[], %s::float8[]) AS w (entity, moment) "
            "JOIN predictions p ON hashtextextended(p.entity, 0) = hashtextextended(w.entity, 0) "
            "AND p.moment = w.moment AND p.entity = w.entity",
            ([entity for entity, _ in moments], [moment for _, moment in moments]),
        )
    )
    results, kept = classify_labels(labels, before, found, late=late)
    with db.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO labels (key, prediction, entity, moment, value, at) "
            "VALUES (%s,%s,%s,%s,%s,%s)",
            kept,
        )
    return results
