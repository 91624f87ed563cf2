"""What the event log keeps, and what a database of events offers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from mlops_cli.data.urls import scheme_of, sqlite_path
from mlops_cli.errors import SourceUnreadable

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout

__all__ = [
    "LONGEST_ENTITY", "Events", "Label", "Policy", "Prediction", "RefusedEvents", "WriteFailed",
    "entity_key", "sqlite_file",
]  # fmt: skip

LONGEST_ENTITY = 2_000
"""Bytes of an entity's text. It is a part of a label's key, and an entry of PostgreSQL's index may
have 2,704."""
Policy = Literal["spill", "block", "drop"]


class Prediction(NamedTuple):
    """One prediction; its fields are the columns of the table.

    Attributes
    ----------
    id
        Unique; the same one is kept once.
    at
        When it was asked for, in seconds since 1970 (UTC).
    moment
        When what it is about happens, in the same unit; None where time plays no part.
    role
        answered, canary or shadow.
    entity
        What it is about, as text; labels may name it.
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
    """What really happened: of a prediction by its id, or of an entity at a moment.

    ``key`` makes it idempotent: of several labels with one key, the one received last, by ``at``,
    counts; the others are its history. Where the clock was set back, ``at`` is that of the label
    before and a microsecond.
    """

    key: str
    prediction: str | None
    entity: str | None
    moment: float | None
    value: str
    at: float


def entity_key(entity: str, moment: float) -> str:
    """The key of a label that names an entity, and its moment in seconds since 1970."""
    return f"{entity}|{moment!r}"


class RefusedEvents(Exception):
    """The database is there, and will never take these events; their values aren't told.

    Attributes
    ----------
    ids
        The predictions at fault, where the others of the same call are kept; empty: none is.
    """

    def __init__(self, reason: str, ids: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.ids = frozenset(ids)


class WriteFailed(SourceUnreadable):
    """A write failed for which an event may be at fault, or the database: a second try shows."""


class Events(Protocol):
    """A database of events."""

    def write(
        self, predictions: Sequence[Prediction], labels: Sequence[Label], *, late: bool = False
    ) -> list[str]:
        """Keep them all or none, durably; say of each label: new, same, changed or unknown.

        What is there already is not kept twice. Unknown is a new label of a prediction that isn't
        there (yet); it is kept as well. Without events, this tells whether the database is there.

        Parameters
        ----------
        late
            They were spilled: labels find their place by time (see ``judging.judged``).

        Raises
        ------
        Unkeepable
            For events that break the tables' rules, whenever they are tried.
        WriteFailed
            If it isn't certain whether that is so, or the database can't be written to now.
        SourceUnreadable
            If the database can't be reached or written to now.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def sqlite_file(url: str | None, layout: Layout) -> Path | None:
    """The file of the log; None where it is in PostgreSQL. See ``open_events`` for errors."""
    if url is None:
        return layout.events
    if scheme_of(url) in {"postgresql", "postgres"}:
        return None
    form = "postgresql://USER:PASSWORD@HOST/DATABASE, or the path of a SQLite file"
    return sqlite_path(url, "MLOPS_EVENTS_URL", form)
