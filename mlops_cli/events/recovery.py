"""Import of spilled events into the database after an outage."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Literal

from mlops_cli.events.base import Label, Prediction, RefusedEvents

if TYPE_CHECKING:
    from mlops_cli.events.spill import Chunk, Spill

__all__ = ["Recovery"]

Write = Callable[[Sequence[Prediction], Sequence[Label]], Literal["written", "failed", "away"]]
"""Writes events; failed: not written, although the database was available before and after."""


class Recovery:
    """Imports the segments of a spill, of this process and of processes that have ended.

    Parameters
    ----------
    write
        Writes events to the database.
    add_counts
        Is called with the numbers of written and refused events.

    Attributes
    ----------
    has_pending
        Whether spilled events wait to be imported.
    """

    def __init__(self, spill: Spill, write: Write, add_counts: Callable[[int, int], None]) -> None:
        self._spill = spill
        self._write = write
        self._count = add_counts
        self._chunks: Generator[Chunk, None, None] | None = None
        self._spilled_meanwhile = False
        self.has_pending = spill.has_segments

    def note_spilled(self) -> None:
        """Note that more events were spilled."""
        self.has_pending = self._spilled_meanwhile = True

    def import_next_chunk(self) -> None:
        """Import one chunk."""
        if self._chunks is None:
            self._chunks, self._spilled_meanwhile = self._spill.chunks(), False
        try:
            chunk = next(self._chunks, None)
            if chunk is None:
                # More may have been spilled since the segments were listed.
                self.has_pending = self._spilled_meanwhile
                self.close_segment()
            elif not self._import_chunk(chunk):
                self.close_segment()
        except OSError:  # the spill's disk fails: its events are imported after the next start
            self.has_pending = False
            self.close_segment()

    def close_segment(self) -> None:
        """Close the current segment; it is imported again from its start."""
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None

    def _import_chunk(self, chunk: Chunk) -> bool:
        """Write a chunk; False if the database is unavailable again."""
        for _ in range(2):
            try:
                outcome = self._write(chunk.predictions, chunk.labels)
            except RefusedEvents:
                break
            if outcome == "written":
                self._count(len(chunk.predictions) + len(chunk.labels), 0)
                return True
            if outcome == "away":
                return False
        return self._import_singly(chunk)

    def _import_singly(self, chunk: Chunk) -> bool:
        """Write each event by itself, and set aside events that the database refuses."""
        events: list[Prediction | Label] = [*chunk.predictions, *chunk.labels]
        for event in events:
            outcome = self._import_event(event)
            if outcome == "away":
                return False
            if outcome == "failed":
                self._spill.set_aside(event)
            self._count(int(outcome == "written"), int(outcome == "failed"))
        return True

    def _import_event(self, event: Prediction | Label) -> Literal["written", "failed", "away"]:
        """Write one event in at most two attempts."""
        outcome: Literal["written", "failed", "away"] = "failed"
        for _ in range(2):
            try:
                if isinstance(event, Prediction):
                    outcome = self._write([event], ())
                else:
                    outcome = self._write((), [event])
            except RefusedEvents:
                return "failed"
            if outcome != "failed":
                break
        return outcome
