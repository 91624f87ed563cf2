"""Bringing what was spilled into the database, once it is back."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Literal

from mlops_cli.events.base import Label, Prediction, RefusedEvents

if TYPE_CHECKING:
    from mlops_cli.events.spill import Chunk, Spill

__all__ = ["Recovery"]

Write = Callable[[Sequence[Prediction], Sequence[Label]], Literal["written", "failed", "away"]]
"""Writes events; failed: they weren't written, though the database was there before and after."""


class Recovery:
    """Writes the segments of a spill, of this process and of ones that are no more.

    Attributes
    ----------
    behind
        Whether anything waits.
    """

    def __init__(self, spill: Spill, write: Write, count: Callable[[int, int], None]) -> None:
        self._spill = spill
        self._write = write
        self._count = count
        self._chunks: Generator[Chunk, None, None] | None = None
        self._again = False
        self.behind = spill.holds_any

    def goes_on(self) -> None:
        """More was spilled."""
        self.behind = self._again = True

    def bring_in(self) -> None:
        """Write one chunk."""
        if self._chunks is None:
            self._chunks, self._again = self._spill.chunks(), False
        try:
            chunk = next(self._chunks, None)
            if chunk is None:
                # Unless more was spilled since they were listed.
                self.behind = self._again
                self.begin_anew()
            elif not self._brought(chunk):
                self.begin_anew()
        except OSError:  # the spill's disk: what it holds comes in after the next start
            self.behind = False
            self.begin_anew()

    def begin_anew(self) -> None:
        """Let go of the segment that is at hand; it comes again."""
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None

    def _brought(self, chunk: Chunk) -> bool:
        """Whether the chunk was written; False: the database is away again."""
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
        return self._brought_apart(chunk)

    def _brought_apart(self, chunk: Chunk) -> bool:
        """Write each event by itself, and set aside what the database doesn't take."""
        events: list[Prediction | Label] = [*chunk.predictions, *chunk.labels]
        for one in events:
            outcome = self._brought_one(one)
            if outcome == "away":
                return False
            if outcome == "failed":
                self._spill.set_aside(one)
            self._count(int(outcome == "written"), int(outcome == "failed"))
        return True

    def _brought_one(self, one: Prediction | Label) -> Literal["written", "failed", "away"]:
        outcome: Literal["written", "failed", "away"] = "failed"
        for _ in range(2):
            try:
                if isinstance(one, Prediction):
                    outcome = self._write([one], ())
                else:
                    outcome = self._write((), [one])
            except RefusedEvents:
                return "failed"
            if outcome != "failed":
                break
        return outcome
