"""The event log: predictions and labels, durable before they are acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.events.base import (
    LONGEST_ENTITY,
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
    "LONGEST_ENTITY", "Events", "Label", "Policy", "Prediction", "RefusedEvents", "WriteFailed",
    "entity_key", "open_events", "open_log", "open_reader", "sqlite_file",
]  # fmt: skip


def open_events(url: str | None, layout: Layout) -> Events:
    """The database at a URL (``postgresql://``, or a SQLite file's path), or the project's own.

    Nothing is connected to yet.

    Raises
    ------
    BadParams
        If the URL is of another kind, may be read in two ways, or its client isn't installed.
    """
    path = sqlite_file(url, layout)
    if path is None:
        from mlops_cli.events.postgres import PostgresEvents

        return PostgresEvents(str(url))
    from mlops_cli.events.sqlite import SqliteEvents

    return SqliteEvents(path)


def open_reader(url: str | None, layout: Layout) -> Reader:
    """What was kept there, to be read while others write; see ``open_events``.

    Raises
    ------
    NotFound
        If there is no such file.
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
    keep: str | None = None,
) -> EventLog:
    """The log over that database, with a thread that writes; see ``open_events``.

    Parameters
    ----------
    keep
        For how long events stay, such as 90d; None: until someone erases them.
    """
    from mlops_cli.events.retention import Retention
    from mlops_cli.events.spill import Spill
    from mlops_cli.events.writer import EventLog

    spill = Spill(layout.work / "spill", spill_megabytes * 1_000_000)
    retention = None if keep is None else Retention(url, layout, keep)
    return EventLog(open_events(url, layout), policy, spill, retention)
