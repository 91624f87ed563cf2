"""Event log with a writer thread and group commit: one transaction for all waiting events."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Literal

from mlops_cli.errors import Busy, MlopsError, SourceUnreadable
from mlops_cli.events.base import CLOCK_STEP, Label, Prediction, RefusedEvents, WriteFailed
from mlops_cli.events.recovery import Recovery
from mlops_cli.events.write_requests import WriteRequest, set_results

if TYPE_CHECKING:
    from mlops_cli.events.base import Events, Policy
    from mlops_cli.events.retention import Retention
    from mlops_cli.events.spill import Spill

__all__ = ["EventLog"]

_TRANSACTION_EVENTS = 5_000
"""Number of events after which a transaction gets no more items."""
_MAX_WAITING = 50_000
"""Maximum number of waiting events; further ones are refused."""
_RETRY_SECONDS = 1.0
"""Seconds between attempts to reach an unavailable database."""
_MAX_FAILURES = 2
"""Failures of one write, with the database available in between, that prove its rows invalid."""
_CLOSE_SECONDS = 10.0
"""Seconds for writing the last events when the log is closed."""


class EventLog:
    """Accepts events from one or several threads, and completes a future when they are durable.

    Parameters
    ----------
    policy
        While the database is unavailable: ``spill`` to local files, ``block``, or ``drop`` and
        count.
    retention
        Erases old events while the log runs.

    Attributes
    ----------
    problem
        Public message while the database is unavailable; else None.
    reason
        The cause for the operator, with the database's place, but without values and passwords.
    """

    def __init__(
        self, events: Events, policy: Policy, spill: Spill, retention: Retention | None = None
    ) -> None:
        self._events = events
        self._policy = policy
        self._spill = spill
        self._queue: deque[WriteRequest] = deque()
        self._changed = threading.Condition()
        self._database_lock = threading.Lock()
        self._waiting = 0
        self._oldest: float | None = None
        self._closing = False
        self._deadline = float("inf")
        self._available = True
        self._cause_unclear = False
        self._recovery = Recovery(spill, self._write_spilled, self._count_recovered)
        self.reason: str | None = None
        self._last_label_at = float("-inf")
        self.written = self.spilled = self.dropped = self.refused = self.outages = 0
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
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
        """For how long the oldest waiting event has waited."""
        oldest = self._oldest
        return 0.0 if oldest is None else time.monotonic() - oldest

    def counters(self) -> dict[str, int]:
        """Numbers of events since the start, by outcome, and of outages.

        ``damaged``: lines in ``*.damaged`` files of all processes. ``erased``: events beyond their
        maximum age.
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

    def append_predictions(self, predictions: Sequence[Prediction]) -> Future[list[str]]:
        """Store predictions; the future completes when they are durable.

        It fails with Busy if too many events wait, and with RefusedEvents or TimeoutError if the
        predictions aren't stored.
        """
        return self._enqueue(WriteRequest(predictions, ()))

    def append_labels(self, labels: Sequence[Label]) -> Future[list[str]]:
        """Store labels; the future's result is new, same, changed, unknown or kept for each.

        ``kept`` means spilled. With the policy ``drop``, the result may also be dropped. The
        future fails like that of ``append_predictions``.
        """
        with self._changed:
            # The label received last counts, also if the clock was set back.
            next_at = self._last_label_at + CLOCK_STEP
            labels = [
                one if one.at >= self._last_label_at else one._replace(at=next_at) for one in labels
            ]
            self._last_label_at = max([self._last_label_at, *(one.at for one in labels)])
        return self._enqueue(WriteRequest((), labels))

    def set_deadline(self) -> None:
        """Set a deadline for writing events, because the process ends; more events are accepted."""
        with self._changed:
            self._deadline = min(self._deadline, time.monotonic() + _CLOSE_SECONDS)
            self._changed.notify_all()

    def close(self) -> None:
        """Write (or by policy spill) the waiting events, and stop the threads."""
        self.set_deadline()
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._retention is not None:
            self._retention.close()
        with self._database_lock:
            self._events.close()
        self._spill.close()

    def _enqueue(self, item: WriteRequest) -> Future[list[str]]:
        # An enqueued event can't be cancelled; a caller can only stop waiting for it.
        item.future.set_running_or_notify_cancel()
        with self._changed:
            if self._closing:
                item.future.set_exception(RuntimeError("the event log is closed"))
            elif self._waiting and self._waiting + item.size > _MAX_WAITING:
                self.refused += item.size
                item.future.set_exception(
                    Busy(
                        f"{self._waiting} events wait to be written to the event log",
                        "Wait a moment, then try again.",
                    )
                )
            else:
                self._queue.append(item)
                self._waiting += item.size
                if self._oldest is None:
                    self._oldest = item.enqueued_at
                self._changed.notify_all()
        return item.future

    # -- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while items := self._next_items():
            try:
                self._store(items)
            except Exception as error:  # noqa: BLE001 - also a bug must not leave callers waiting
                for item in items:
                    if not item.future.done():
                        item.future.set_exception(error)
            self._mark_done(sum(item.size for item in items))
            self._recover()
        while self._can_recover and time.monotonic() < self._deadline:
            self._recover()
        self._recovery.close_segment()

    def _next_items(self) -> list[WriteRequest]:
        """Wait for items to write; an empty list means that the log is closed."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing or self._can_recover)
                items: list[WriteRequest] = []
                size = 0
                while self._queue and size < _TRANSACTION_EVENTS:
                    items.append(self._queue.popleft())
                    size += items[-1].size
                if items or self._closing:
                    return items
            self._recover()

    def _mark_done(self, size: int) -> None:
        with self._changed:
            self._waiting -= size
            self._oldest = self._queue[0].enqueued_at if self._queue else None

    def _store(self, items: list[WriteRequest]) -> None:
        """Write, spill, drop or refuse items, or wait until one of these is possible."""
        predictions = [p for item in items for p in item.predictions]
        labels = [label for item in items for label in item.labels]
        # A label must not overtake a spilled one, or the wrong one of the two would count.
        direct = not (labels and self._recovery.has_pending and self._policy == "spill")
        failures = 0
        while True:
            if (self._available and direct) or self._closing:
                if self._try_write(items, predictions, labels):
                    return
                failures += self._cause_unclear
                if failures >= _MAX_FAILURES:  # although the database was available in between
                    self._refuse(items, RefusedEvents("the database fails to write it"))
                    return
            if self._apply_policy(items, predictions, labels) or self._fail_if_late(items):
                return
            direct = True
            with self._changed:
                # A timeout, because there may also be space for the spill again.
                self._changed.wait_for(lambda: self._available or self._closing, _RETRY_SECONDS)
            if self._closing:
                time.sleep(_RETRY_SECONDS / 10)

    def _try_write(
        self, items: list[WriteRequest], predictions: list[Prediction], labels: list[Label]
    ) -> bool:
        """Write items; False if the database is unavailable (refused items count as done)."""
        try:
            results = self._write(predictions, labels)
        except RefusedEvents as error:
            self._refuse(items, error)
            return True
        if results is None:
            return False
        self.written += len(predictions) + len(labels)
        set_results(items, results)
        return True

    def _fail_if_late(self, items: list[WriteRequest]) -> bool:
        """Fail items if the deadline has passed; return whether it has."""
        if time.monotonic() <= self._deadline:
            return False
        self.refused += sum(item.size for item in items)
        for item in items:
            item.future.set_exception(TimeoutError("the event log can't be reached"))
        return True

    def _refuse(self, items: list[WriteRequest], error: RefusedEvents) -> None:
        """Refuse one event; several are stored one by one, so that only the invalid ones fail."""
        if len(items) > 1:
            for item in items:
                self._store([item])
            return
        (item,) = items
        if len(item.predictions) > 1 and not item.labels:
            self._store_singly(item)
            return
        self.refused += item.size
        item.future.set_exception(RefusedEvents(str(error), [p.id for p in item.predictions]))

    def _store_singly(self, item: WriteRequest) -> None:
        """Store each prediction by itself; then fail with the ids of the refused ones, if any."""
        items = [WriteRequest([prediction], ()) for prediction in item.predictions]
        for single in items:
            self._store([single])
        errors = [error for single in items if (error := single.future.exception()) is not None]
        ids = [i for error in errors if isinstance(error, RefusedEvents) for i in error.ids]
        if ids:
            item.future.set_exception(RefusedEvents(str(errors[0]), ids))
        elif errors:
            item.future.set_exception(errors[0])
        else:
            item.future.set_result([])

    def _apply_policy(
        self, items: list[WriteRequest], predictions: list[Prediction], labels: list[Label]
    ) -> bool:
        """Spill or drop items while the database is unavailable; False: the caller has to wait."""
        count = len(predictions) + len(labels)
        if self._policy == "drop":
            self.dropped += count
            set_results(items, ["dropped"] * len(labels))
            return True
        if self._policy == "spill":
            try:
                spilled = self._spill.write([*predictions, *labels])
            except OSError:
                return False
            if spilled:
                self.spilled += count
                self._recovery.note_spilled()
                set_results(items, ["kept"] * len(labels))
            return spilled
        return False

    # -- the database ----------------------------------------------------------------------

    def _write(
        self,
        predictions: Sequence[Prediction],
        labels: Sequence[Label],
        *,
        from_spill: bool = False,
    ) -> list[str] | None:
        """Write events; None if the database is unavailable (a thread then polls it)."""
        try:
            with self._database_lock:
                return self._events.write(predictions, labels, from_spill=from_spill)
        except RefusedEvents:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the error is, the events aren't stored
            self._cause_unclear = not isinstance(error, SourceUnreadable) or isinstance(
                error, WriteFailed
            )
            self.reason = _safe_reason(error)
            if self._available:
                self._available = False
                self.outages += 1
                threading.Thread(
                    target=self._await_database, name="events-away", daemon=True
                ).start()
            return None

    @property
    def _can_recover(self) -> bool:
        return self._recovery.has_pending and self._available

    def _recover(self) -> None:
        if self._can_recover:
            self._recovery.import_next_chunk()

    def _write_spilled(
        self, predictions: Sequence[Prediction], labels: Sequence[Label]
    ) -> Literal["written", "failed", "away"]:
        """Write spilled events; see ``recovery.Write``."""
        if self._write(predictions, labels, from_spill=True) is not None:
            return "written"
        if not self._cause_unclear:
            return "away"
        with self._changed:
            self._changed.wait_for(lambda: self._available, 3 * _RETRY_SECONDS)
            return "failed" if self._available else "away"

    def _count_recovered(self, written: int, refused: int) -> None:
        self.written += written
        self.refused += refused

    def _await_database(self) -> None:
        """Poll the database until it is available (in a thread, as the writer thread spills)."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, _RETRY_SECONDS)
            try:
                with self._database_lock:
                    if self._closing:
                        return
                    self._events.write((), ())
            except Exception as error:  # noqa: BLE001 - still unavailable
                self.reason = _safe_reason(error)
                continue
            with self._changed:
                self._available, self.reason = True, None
                self._changed.notify_all()
            return


def _safe_reason(error: Exception) -> str:
    # Only our own messages are known to contain no values.
    return error.message if isinstance(error, MlopsError) else type(error).__name__
