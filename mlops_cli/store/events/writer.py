"""The thread that writes events: all that waits in one transaction (group commit)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_cli.errors import Busy, MlopsError
from mlops_cli.store.events import Label, Prediction, Unkeepable

if TYPE_CHECKING:
    from mlops_cli.store.events import Events, Policy
    from mlops_cli.store.events.spill import Chunk, Spill

__all__ = ["EventLog"]

_AT_ONCE = 5_000
"""Events of one transaction, and one work's more."""
_MOST = 50_000
"""Events that may wait; who brings more is refused."""
_AGAIN = 1.0
"""Seconds after which a database that was away is tried again."""
_LEAVE = 10.0
"""Seconds that the last events have at the end, where they can only be waited for."""


@dataclass(slots=True)
class _Work:
    """What was given at once, and is kept or refused as one."""

    predictions: Sequence[Prediction]
    labels: Sequence[Label]
    future: Future[list[str]] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        return len(self.predictions) + len(self.labels)


class EventLog:
    """Takes events from one or several threads, and says when they are durable.

    Parameters
    ----------
    policy
        While the database is away: ``spill`` to local files, ``block``, or ``drop`` and count.

    Attributes
    ----------
    problem
        Why the database is away, without a value or a password; None while it isn't.
    """

    def __init__(self, events: Events, policy: Policy, spill: Spill) -> None:
        self._events = events
        self._policy = policy
        self._spill = spill
        self._queue: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._database = threading.Lock()
        self._waiting = 0
        self._oldest: float | None = None
        self._closing = False
        self._deadline = float("inf")
        self._there = True
        self._behind = spill.holds_any
        self._again = False
        self._chunks: Generator[Chunk, None, None] | None = None
        self.problem: str | None = None
        self.written = self.spilled = self.dropped = self.refused = self.outages = 0
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that aren't durable yet."""
        return self._waiting

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest of them has waited."""
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    def counters(self) -> dict[str, int]:
        """What became of events since the start, and how often the database went away."""
        return {
            "written": self.written,
            "spilled": self.spilled,
            "dropped": self.dropped,
            "refused": self.refused,
            "outages": self.outages,
        }

    def append(self, predictions: Sequence[Prediction]) -> Future[list[str]]:
        """Keep predictions; the future is done when they are durable.

        It fails with Busy if too many wait, and with Unkeepable or TimeoutError if they are lost.
        """
        return self._put(_Work(predictions, ()))

    def take(self, labels: Sequence[Label]) -> Future[list[str]]:
        """Keep labels; the future says of each: new, same, changed, unknown, or kept for later.

        It fails as that of ``append`` does. With the policy ``drop`` it may also say dropped.
        """
        return self._put(_Work((), labels))

    def close(self) -> None:
        """Write what waits, and end; what can't be written is spilled, where that is the policy."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + _LEAVE
            self._changed.notify_all()
        self._thread.join()
        with self._database:
            self._events.close()
        self._spill.close()

    def _put(self, work: _Work) -> Future[list[str]]:
        # An event can't be called back, so that who waits for it can give up, but not cancel it.
        work.future.set_running_or_notify_cancel()
        with self._changed:
            if self._closing:
                work.future.set_exception(RuntimeError("the event log is closed"))
            elif self._waiting and self._waiting + work.size > _MOST:
                self.refused += work.size
                work.future.set_exception(
                    Busy(
                        f"{self._waiting} events wait to be written to the event log",
                        "Wait a moment, then try again.",
                    )
                )
            else:
                self._queue.append(work)
                self._waiting += work.size
                if self._oldest is None:
                    self._oldest = work.since
                self._changed.notify_all()
        return work.future

    # -- the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        while some := self._next():
            try:
                self._keep(some)
            except Exception as error:  # noqa: BLE001 - a fault of ours leaves no one waiting
                for work in some:
                    if not work.future.done():
                        work.future.set_exception(error)
            self._done(sum(work.size for work in some))
            self._bring_in()
        while self._can_bring_in and time.monotonic() < self._deadline:
            self._bring_in()
        self._begin_anew()

    def _next(self) -> list[_Work]:
        """What is written next; waits for it. Nothing: it is the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing or self._can_bring_in)
                some: list[_Work] = []
                size = 0
                while self._queue and size < _AT_ONCE:
                    some.append(self._queue.popleft())
                    size += some[-1].size
                if some or self._closing:
                    return some
            self._bring_in()

    def _done(self, size: int) -> None:
        with self._changed:
            self._waiting -= size
            self._oldest = self._queue[0].since if self._queue else None

    def _keep(self, some: list[_Work]) -> None:
        predictions = [p for work in some for p in work.predictions]
        labels = [label for work in some for label in work.labels]
        # A label must not overtake one that was spilled: which one counts would be told wrongly.
        direct = not (labels and self._behind and self._policy == "spill")
        while True:
            if (self._there and direct) or self._closing:
                try:
                    results = self._write(predictions, labels)
                except Unkeepable as error:
                    self._refuse(some, error)
                    return
                if results is not None:
                    self.written += len(predictions) + len(labels)
                    _settle(some, results)
                    return
            if self._instead(some, predictions, labels):
                return
            if time.monotonic() > self._deadline:
                self.refused += len(predictions) + len(labels)
                for work in some:
                    work.future.set_exception(TimeoutError("the event log is away"))
                return
            direct = True
            with self._changed:
                # Not only for the database: there may be room to spill again.
                self._changed.wait_for(lambda: self._there or self._closing, _AGAIN)
            if self._closing:
                time.sleep(_AGAIN / 10)

    def _refuse(self, some: list[_Work], error: Unkeepable) -> None:
        """Keep each work by itself, so that only the one at fault fails."""
        if len(some) > 1:
            for work in some:
                self._keep([work])
            return
        self.refused += some[0].size
        some[0].future.set_exception(error)

    def _instead(
        self, some: list[_Work], predictions: list[Prediction], labels: list[Label]
    ) -> bool:
        """What the policy says while the database is away; False: wait."""
        count = len(predictions) + len(labels)
        if self._policy == "drop":
            self.dropped += count
            _settle(some, ["dropped"] * len(labels))
            return True
        if self._policy == "spill":
            try:
                done = self._spill.write([*predictions, *labels])
            except OSError:
                return False
            if done:
                self.spilled += count
                self._behind = self._again = True
                _settle(some, ["kept"] * len(labels))
            return done
        return False

    # -- the database ----------------------------------------------------------------------

    def _write(
        self, predictions: Sequence[Prediction], labels: Sequence[Label]
    ) -> list[str] | None:
        """None: the database is away, and a thread looks for when it is back."""
        try:
            with self._database:
                return self._events.write(predictions, labels)
        except Unkeepable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the events aren't kept
            self.problem = _reason(error)
            if self._there:
                self._there = False
                self.outages += 1
                threading.Thread(target=self._look, name="events-away", daemon=True).start()
            return None

    def _look(self) -> None:
        """Try the database now and then; not in the thread that writes, which may spill on."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, _AGAIN)
            try:
                with self._database:
                    if self._closing:
                        return
                    self._events.write((), ())
            except Exception as error:  # noqa: BLE001 - still away
                self.problem = _reason(error)
                continue
            with self._changed:
                self._there, self.problem = True, None
                self._changed.notify_all()
            return

    # -- what was spilled ------------------------------------------------------------------

    @property
    def _can_bring_in(self) -> bool:
        return self._behind and self._there

    def _bring_in(self) -> None:
        """Write one chunk of what was spilled, of this process and of ones that are no more."""
        if not self._can_bring_in:
            return
        if self._chunks is None:
            self._chunks, self._again = self._spill.chunks(), False
        try:
            chunk = next(self._chunks, None)
            if chunk is None:
                # Unless more was spilled since they were listed.
                self._behind = self._again
                self._begin_anew()
            elif not self._brought(chunk):
                self._begin_anew()
        except OSError:  # the spill's disk: what it holds comes in after the next start
            self._behind = False
            self._begin_anew()

    def _begin_anew(self) -> None:
        if self._chunks is not None:
            self._chunks.close()
            self._chunks = None

    def _brought(self, chunk: Chunk) -> bool:
        """Whether the chunk was written; False: the database is away again."""
        try:
            if self._write(chunk.predictions, chunk.labels) is None:
                return False
            self.written += len(chunk.predictions) + len(chunk.labels)
        except Unkeepable:
            # What can be written is; the segment is left for someone to look at.
            self._spill.set_aside(chunk.segment)
            for one in (*chunk.predictions, *chunk.labels):
                try:
                    single = ([one], ()) if isinstance(one, Prediction) else ((), [one])
                    if self._write(*single) is None:
                        return False
                    self.written += 1
                except Unkeepable:
                    self.refused += 1
        return True


def _settle(some: list[_Work], results: list[str]) -> None:
    start = 0
    for work in some:
        end = start + len(work.labels)
        work.future.set_result(results[start:end])
        start = end


def _reason(error: Exception) -> str:
    # Only our own sentences are known to be without values.
    return error.message if isinstance(error, MlopsError) else type(error).__name__
