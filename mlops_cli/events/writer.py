"""The thread that writes events: all that waits in one transaction (group commit)."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mlops_cli.errors import Busy, MlopsError, SourceUnreadable
from mlops_cli.events.base import Label, Prediction, RefusedEvents, WriteFailed
from mlops_cli.events.recovery import Recovery

if TYPE_CHECKING:
    from mlops_cli.events.base import Events, Policy
    from mlops_cli.events.retention import Retention
    from mlops_cli.events.spill import Spill

__all__ = ["EventLog"]

_AT_ONCE = 5_000
"""Events of one transaction, and one work's more."""
_MOST = 50_000
"""Events that may wait; who brings more is refused."""
_AGAIN = 1.0
"""Seconds after which a database that was away is tried again."""
_SURE = 2
"""Failures of a write, with the database there in between, after which its rows are at fault."""
_STEP = 1e-6
"""Seconds by which a label is later than one before it, where the clock was set back."""
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
    retention
        What erases old events as the log runs.

    Attributes
    ----------
    problem
        That the database is away, for anyone to read; None while it isn't.
    reason
        Why it is, with its place but without a value or a password: for who runs the service.
    """

    def __init__(
        self, events: Events, policy: Policy, spill: Spill, retention: Retention | None = None
    ) -> None:
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
        self._doubtful = False
        self._recovery = Recovery(spill, self._bring, self._count)
        self.reason: str | None = None
        self._stamp = float("-inf")
        self.written = self.spilled = self.dropped = self.refused = self.outages = 0
        self._thread = threading.Thread(target=self._work, name="events", daemon=True)
        self._thread.start()
        self._retention = retention
        if retention is not None:
            retention.start()

    @property
    def problem(self) -> str | None:
        """See the class."""
        return None if self.reason is None else "the event log can't be reached or written to"

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
        """What became of events since the start, and how often the database went away.

        ``damaged``: how many lines lie in ``*.damaged``, of all processes. ``erased``: events that
        were older than they may be.
        """
        return {
            "written": self.written,
            "spilled": self.spilled,
            "dropped": self.dropped,
            "refused": self.refused,
            "outages": self.outages,
            "damaged": self._spill.damaged,
            "erased": 0 if self._retention is None else self._retention.erased,
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
        with self._changed:
            # Of two labels the one that came last counts, also where the clock was set back.
            least = self._stamp + _STEP
            labels = [one if one.at >= self._stamp else one._replace(at=least) for one in labels]
            self._stamp = max([self._stamp, *(one.at for one in labels)])
        return self._put(_Work((), labels))

    def expire(self) -> None:
        """Take events still, but give up soon what can't be written: the process ends."""
        with self._changed:
            self._deadline = min(self._deadline, time.monotonic() + _LEAVE)
            self._changed.notify_all()

    def close(self) -> None:
        """Write what waits, and end; what can't be written is spilled, where that is the policy."""
        self.expire()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._retention is not None:
            self._retention.close()
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
        self._recovery.begin_anew()

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
        """Write, spill, drop or refuse what was given, or wait until one of these is possible."""
        predictions = [p for work in some for p in work.predictions]
        labels = [label for work in some for label in work.labels]
        # A label must not overtake one that was spilled: which one counts would be told wrongly.
        direct = not (labels and self._recovery.behind and self._policy == "spill")
        failures = 0
        while True:
            if (self._there and direct) or self._closing:
                if self._written(some, predictions, labels):
                    return
                failures += self._doubtful
                if failures >= _SURE:  # though in between, the database was there
                    self._refuse(some, RefusedEvents("the database fails to write it"))
                    return
            if self._instead(some, predictions, labels) or self._expired(some):
                return
            direct = True
            with self._changed:
                # Not only for the database: there may be room to spill again.
                self._changed.wait_for(lambda: self._there or self._closing, _AGAIN)
            if self._closing:
                time.sleep(_AGAIN / 10)

    def _written(
        self, some: list[_Work], predictions: list[Prediction], labels: list[Label]
    ) -> bool:
        """Whether the database has taken the events, or has refused them for good."""
        try:
            results = self._write(predictions, labels)
        except RefusedEvents as error:
            self._refuse(some, error)
            return True
        if results is None:
            return False
        self.written += len(predictions) + len(labels)
        _settle(some, results)
        return True

    def _expired(self, some: list[_Work]) -> bool:
        """Whether there is no time left to wait for the database."""
        if time.monotonic() <= self._deadline:
            return False
        self.refused += sum(work.size for work in some)
        for work in some:
            work.future.set_exception(TimeoutError("the event log is away"))
        return True

    def _refuse(self, some: list[_Work], error: RefusedEvents) -> None:
        """Keep each work by itself, and each prediction, so that only the one at fault fails."""
        if len(some) > 1:
            for work in some:
                self._keep([work])
            return
        (work,) = some
        if len(work.predictions) > 1 and not work.labels:
            self._keep_apart(work)
            return
        self.refused += work.size
        work.future.set_exception(RefusedEvents(str(error), [p.id for p in work.predictions]))

    def _keep_apart(self, work: _Work) -> None:
        parts = [_Work([prediction], ()) for prediction in work.predictions]
        for part in parts:
            self._keep([part])
        faults = [error for part in parts if (error := part.future.exception()) is not None]
        bad = [i for error in faults if isinstance(error, RefusedEvents) for i in error.ids]
        if bad:
            work.future.set_exception(RefusedEvents(str(faults[0]), bad))
        elif faults:
            work.future.set_exception(faults[0])
        else:
            work.future.set_result([])

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
                self._recovery.goes_on()
                _settle(some, ["kept"] * len(labels))
            return done
        return False

    # -- the database ----------------------------------------------------------------------

    def _write(
        self, predictions: Sequence[Prediction], labels: Sequence[Label], *, late: bool = False
    ) -> list[str] | None:
        """None: the database is away, and a thread looks for when it is back."""
        try:
            with self._database:
                return self._events.write(predictions, labels, late=late)
        except RefusedEvents:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it was, the events aren't kept
            self._doubtful = not isinstance(error, SourceUnreadable) or isinstance(
                error, WriteFailed
            )
            self.reason = _reason(error)
            if self._there:
                self._there = False
                self.outages += 1
                threading.Thread(target=self._look, name="events-away", daemon=True).start()
            return None

    @property
    def _can_bring_in(self) -> bool:
        return self._recovery.behind and self._there

    def _bring_in(self) -> None:
        if self._can_bring_in:
            self._recovery.bring_in()

    def _bring(
        self, predictions: Sequence[Prediction], labels: Sequence[Label]
    ) -> Literal["written", "failed", "away"]:
        """Write what was spilled; see ``recovery.Write``."""
        if self._write(predictions, labels, late=True) is not None:
            return "written"
        if not self._doubtful:
            return "away"
        with self._changed:
            self._changed.wait_for(lambda: self._there, 3 * _AGAIN)
            return "failed" if self._there else "away"

    def _count(self, written: int, refused: int) -> None:
        self.written += written
        self.refused += refused

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
                self.reason = _reason(error)
                continue
            with self._changed:
                self._there, self.reason = True, None
                self._changed.notify_all()
            return


def _settle(some: list[_Work], results: list[str]) -> None:
    start = 0
    for work in some:
        end = start + len(work.labels)
        work.future.set_result(results[start:end])
        start = end


def _reason(error: Exception) -> str:
    # Only our own sentences are known to be without values.
    return error.message if isinstance(error, MlopsError) else type(error).__name__
