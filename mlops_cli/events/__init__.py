"""The event log: predictions and labels, written durably before they are acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.events.base import (
    MAX_ENTITY_BYTES,
    Events,
    Label,
    Policy,
    Prediction,
    RefusedEvents,
    WriteFailed,
    entity_key,
    sqlite_file,
)

if TYPE_CHECKING:
    from mlops_cli.events.reader import Reader
    from mlops_cli.events.writer import EventLog
    from mlops_cli.layout import Layout

__all__ = [
    "MAX_ENTITY_BYTES", "Events", "Label", "Policy", "Prediction", "RefusedEvents", "WriteFailed",
    "entity_key", "open_events", "open_log", "open_reader", "sqlite_file",
]  # fmt: skip


def open_events(url: str | None, layout: Layout) -> Events:
    """Create the client of an event database, without connecting yet.

    Parameters
    ----------
    url
        ``postgresql://``, or the path of a SQLite file; None: the project's own SQLite file.

    Raises
    ------
    BadParams
        If the URL is of another kind or ambiguous, or its client isn't installed.
    """
    path = sqlite_file(url, layout)
    if path is None:
        from mlops_cli.events.postgres import PostgresEvents

        return PostgresEvents(str(url))
    from mlops_cli.events.sqlite import SqliteEvents

    return SqliteEvents(path)


def open_reader(url: str | None, layout: Layout) -> Reader:
    """Open an event database for reading while others write; see ``open_events``.

    Raises
    ------
    NotFound
        If the SQLite file doesn't exist.
    SourceUnreadable
        If the database can't be reached.
    """
    from mlops_cli.events.reader import Reader

    path = sqlite_file(url, layout)
    if path is None:
        from mlops_cli.events.postgres import PostgresRows

        return Reader(PostgresRows(str(url)))
    from mlops_cli.events.sqlite import SqliteRows

    return Reader(SqliteRows(path))


def open_log(
    url: str | None,
    layout: Layout,
    policy: Policy = "spill",
    spill_megabytes: int = 1_000,
    max_age: str | None = None,
) -> EventLog:
    """Open an event log, with its writer thread, on a database; see ``open_events``.

    Parameters
    ----------
    policy
        What happens to events while the database is unavailable; see ``EventLog``.
    spill_megabytes
        Maximum size of the spill.
    max_age
        Age after which events are erased, such as 90d; None: never.

    Examples
    --------
    >>> from pathlib import Path
    >>> from mlops_cli.layout import Layout
    >>> log = open_log(None, Layout(Path()))
    >>> written = log.append_labels([Label("7f3a", "7f3a", None, None, "true", 1.8e9)])
    >>> written.result()  # it is on disk; no prediction has this id yet
    ['unknown']
    >>> log.close()
    """
    from mlops_cli.events.retention import Retention
    from mlops_cli.events.spill import Spill
    from mlops_cli.events.writer import EventLog

    spill = Spill(layout.work / "spill", spill_megabytes * 1_000_000)
    retention = None if max_age is None else Retention(url, layout, max_age)
    return EventLog(open_events(url, layout), policy, spill, retention)
