"""The thread that writes events: all that waits in one transaction (group commit)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mlops_cli.store.events import Label, Prediction

if TYPE_CHECKING:
    from mlops_cli.store.events import Events, Policy
    from mlops_cli.store.events.spill import Spill

__all__ = ["EventLog"]

_AT_ONCE = 5_000
"""Events of one transaction."""
_AGAIN = 1.0
"""Seconds after which a database that was away is tried again."""
_LEAVE = 10.0
"""Seconds that the last events have at the end, where they can only be waited for."""


@dataclass(slots=True)
class _Work:
    predictions: Sequence[Prediction]
    labels: Sequence[Label]
    future: Future[list[str]]
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
    """

    def __init__(self, events: Events, policy: Policy, spill: Spill) -> None:
        self._events = events
        self._policy = policy
        self._spill = spill
        self._queue: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._closing = False
        self._away_until = 0.0
        self._deadline = float("inf")
        self._spilled_before = bool(spill.size)
        self.written = self.spilled = self.dropped = self.outages = 0
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Events that aren't durable yet."""
        return self._waiting

    @property
    def lag_seconds(self) -> float:
        """For how long the oldest of them has waited."""
        try:
            return time.monotonic() - self._queue[0].since
        except IndexError:
            return 0.0

    def counters(self) -> dict[str, int]:
        """What became of events since the start, and how often the database went away."""
        return {
            "written": self.written,
            "spilled": self.spilled,
            "dropped": self.dropped,
            "outages": self.outages,
        }

    def append(self, predictions: Sequence[Prediction]) -> Future[list[str]]:
        """Keep predictions; the future is done when they are durable."""
        return self._put(_Work(predictions, (), Future()))

    def take(self, labels: Sequence[Label]) -> Future[list[str]]:
        """Keep labels; the future says of each: new, same, changed, unknown, or kept for later."""
        return self._put(_Work((), labels, Future()))

    def close(self) -> None:
        """Write what waits, and end; what can't be written is spilled, where that is the policy."""
        with self._changed:
            self._closing = True
            self._deadline = time.monotonic() + _LEAVE
            self._changed.notify()
        self._thread.join()
        self._spill.close()
        self._events.close()

    def _put(self, work: _Work) -> Future[list[str]]:
        with self._changed:
            if self._closing:
                work.future.set_exception(RuntimeError("the event log is closed"))
                return work.future
            self._queue.append(work)
            self._waiting += work.size
            self._changed.notify()
        return work.future

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait(_AGAIN if self._spilled_before else None)
                    if self._spilled_before:
                        break
                if not self._queue and self._closing:
                    break
                some, size = [], 0
                while self._queue and size < _AT_ONCE:
                    some.append(self._queue.popleft())
                    size += some[-1].size
            if some:
                self._keep(some)
                with self._changed:
                    self._waiting -= size
            if self._spilled_before and time.monotonic() >= self._away_until:
                self._replay()
        if self._spilled_before:
            self._replay()

    def _keep(self, some: list[_Work]) -> None:
        predictions = [p for work in some for p in work.predictions]
        labels = [label for work in some for label in work.labels]
        while True:
            if time.monotonic() >= self._away_until or self._closing:
                try:
                    results = self._events.write(predictions, labels)
                except Exception:  # noqa: BLE001 - drivers have their own; each one is an outage
                    self.outages += 1
                    self._away_until = time.monotonic() + _AGAIN
                else:
                    self.written += len(predictions) + len(labels)
                    self._settle(some, results)
                    return
            if self._instead(some, predictions, labels):
                return
            if time.monotonic() > self._deadline:
                for work in some:
                    work.future.set_exception(TimeoutError("the events' database is away"))
                return
            time.sleep(_AGAIN / 10)

    def _instead(
        self, some: list[_Work], predictions: list[Prediction], labels: list[Label]
    ) -> bool:
        """What the policy says while the database is away; False: wait."""
        count = len(predictions) + len(labels)
        if self._policy == "drop":
            self.dropped += count
            self._settle(some, ["dropped"] * len(labels))
            return True
        if self._policy == "spill":
            try:
                done = self._spill.write([*predictions, *labels])
            except OSError:
                return False
            if done:
                self.spilled += count
                self._spilled_before = True
                self._settle(some, ["kept"] * len(labels))
            return done
        return False

    def _replay(self) -> None:
        """Bring in what was spilled, of this process and of ones that are no more."""
        try:
            for path, predictions, labels in self._spill.segments():
                for start in range(0, max(len(predictions), 1), _AT_ONCE):
                    last = start + _AT_ONCE >= len(predictions)
                    self._events.write(
                        predictions[start : start + _AT_ONCE], labels if last else ()
                    )
                path.unlink()
                self.written += len(predictions) + len(labels)
            self._spilled_before = False
        except Exception:  # noqa: BLE001 - still away: it stays where it is
            self._away_until = time.monotonic() + _AGAIN

    @staticmethod
    def _settle(some: list[_Work], results: list[str]) -> None:
        start = 0
        for work in some:
            end = start + len(work.labels)
            work.future.set_result(results[start:end])
            start = end
