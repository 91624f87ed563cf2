"""The rows of the event log, predictions and labels, and the interface of its databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from mlops_cli.data.urls import scheme_of, sqlite_path
from mlops_cli.errors import SourceUnreadable

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout

__all__ = [
    "CLOCK_STEP", "MAX_ENTITY_BYTES", "Events", "Label", "Policy", "Prediction", "RefusedEvents",
    "WriteFailed", "entity_key", "sqlite_file",
]  # fmt: skip

MAX_ENTITY_BYTES = 2_000
"""Maximum number of bytes of an entity's text.

The text is a part of a label's key, and an entry of PostgreSQL's index holds at most 2,704 bytes.
"""
CLOCK_STEP = 1e-6
"""Seconds by which a label follows the previous one, if the clock was set back."""
Policy = Literal["spill", "block", "drop"]


class Prediction(NamedTuple):
    """One scored row; the fields are the columns of the table `predictions`.

    Attributes
    ----------
    id
        Unique: a second prediction with the same id isn't stored.
    at
        Request time, in seconds since 1970 (UTC).
    moment
        Time of the predicted event, in the same unit; None for data without a time.
    role
        answered, canary or shadow.
    entity
        The entity that the prediction is about, as text; a label may refer to it.
    inputs, output
        JSON objects.
    features
        A JSON array, in the order of the version's signature.
    milliseconds
        From the request's arrival until it was scored.
    """

    id: str
    at: float
    moment: float | None
    version: str
    role: str
    entity: str | None
    inputs: str
    features: str
    output: str
    milliseconds: float


class Label(NamedTuple):
    """What really happened, for a prediction by its id, or for an entity at a moment.

    The ``key`` makes labels idempotent: of several labels with one key, the one received last
    (by ``at``) counts; the others are its history. If the clock was set back, ``at`` is one
    microsecond after the previous label.
    """

    key: str
    prediction: str | None
    entity: str | None
    moment: float | None
    value: str
    at: float


def entity_key(entity: str, moment: float) -> str:
    """Key of a label for an entity at a moment (seconds since 1970)."""
    return f"{entity}|{moment!r}"


class RefusedEvents(Exception):
    """The database is available, but rejects these events for good; the error shows no values.

    Attributes
    ----------
    ids
        Ids of the rejected predictions, if the others of the same call are stored; empty: no
        event of the call is stored.
    """

    def __init__(self, reason: str, ids: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.ids = frozenset(ids)


class WriteFailed(SourceUnreadable):
    """A write failed, because of an event or because of the database: a second attempt decides."""


class Events(Protocol):
    """A database of events, for writing."""

    def write(
        self,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        *,
        from_spill: bool = False,
    ) -> list[str]:
        """Write events durably, all or none; return for each label new, same, changed or unknown.

        Events that are stored already aren't stored twice. Unknown is a new label of a prediction
        that isn't stored (yet); the label is stored too. A call without events only checks that
        the database is available.

        Parameters
        ----------
        from_spill
            The events were spilled: labels are ordered by their time (see ``classify_labels``).

        Raises
        ------
        RefusedEvents
            If events violate the tables' constraints, so that every attempt fails.
        WriteFailed
            If the cause is either such an event or the database.
        SourceUnreadable
            If the database can't be reached or written to now.
        """

    def close(self) -> None:
        """Close files and connections."""


def sqlite_file(url: str | None, layout: Layout) -> Path | None:
    """Path of the log's SQLite file; None for PostgreSQL. See ``open_events`` for errors."""
    if url is None:
        return layout.events
    if scheme_of(url) in {"postgresql", "postgres"}:
        return None
    form = "postgresql://USER:PASSWORD@HOST/DATABASE, or the path of a SQLite file"
    return sqlite_path(url, "MLOPS_EVENTS_URL", form)
