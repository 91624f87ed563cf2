"""Open the project's event log; ``MLOPS_EVENTS_URL`` selects its database."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mlops_cli.errors import NotFound
from mlops_cli.events import open_reader

if TYPE_CHECKING:
    from mlops_cli.events.reader import Reader
    from mlops_cli.layout import Layout

__all__ = ["log_url", "reader_for"]


def log_url() -> str | None:
    """URL of the event database from the environment; None: the project's own SQLite file."""
    return os.environ.get("MLOPS_EVENTS_URL") or None


def reader_for(layout: Layout, missing: str) -> Reader:
    """Open the event log for reading.

    Parameters
    ----------
    missing
        What is missing without a log, for the error message: "no prediction to label".

    Raises
    ------
    NotFound
        If nothing has been served yet.
    SourceUnreadable
        If the log's database can't be reached.
    """
    try:
        return open_reader(log_url(), layout)
    except NotFound:
        raise NotFound(
            f"there is no event log, so there is {missing}",
            "Serve the model first, or name the log's database as MLOPS_EVENTS_URL.",
        ) from None
