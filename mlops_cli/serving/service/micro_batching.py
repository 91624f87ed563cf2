"""Micro-batches: what arrives while a batch is scored makes the next one.

One evaluation of the features, one call of the model and one commit of the log serve all of its
requests. An answer goes out only after its events are durable.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mlops_cli.events import RefusedEvents
from mlops_cli.serving.http_server.http import Problem
from mlops_cli.serving.scorer import UnscorableValue
from mlops_cli.serving.service.pending import (
    PendingRequest,
    RequestOutcome,
    ScoredBatch,
    drop_rows,
    event_refused,
    events_unavailable,
    faulty_rows,
    good_requests,
    resolve,
    respond,
    too_late,
    unkept_ids,
)
from mlops_cli.serving.service.responses import ResponseWriter, as_json
from mlops_cli.serving.service.routing import response_model, route, row_errors

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.events import Prediction
    from mlops_cli.events.writer import EventLog
    from mlops_cli.serving.service.ids import Ids
    from mlops_cli.serving.service.metrics import Metrics
    from mlops_cli.serving.service.pending import Reply
    from mlops_cli.serving.service.versions import Versions

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["Batcher"]

_SMALL = 64
"""Up to so many rows, a request is scored with others, in the loop's own thread."""
_BATCH = 512
"""Rows of a batch, beyond which the next one begins."""
_ENOUGH = 128
"""Rows that are scored although the batch before isn't durable yet."""
_GATHER = 0.0005
"""Seconds that a batch waits for those who were in the last ones and come back with their next
request: without it, few and many take turns, and each batch costs much the same."""
_MUCH = 0.75
"""Part of the usual size from which on a batch doesn't wait."""
_WAITING = 20_000
"""Rows that may wait to be scored or logged; more are refused until it gets better."""


@dataclass(slots=True)
class _Work:
    """What a request by itself asks for, and whether anybody still waits for it."""

    explain: bool
    started: float
    ended: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        """End the work if nobody waits for it any more."""
        if self.ended.is_set():
            raise Problem(503, "the request was given up")


class Batcher:
    """Scores rows in batches, and logs them."""

    def __init__(
        self, versions: Versions, log: EventLog | None, metrics: Metrics, ids: Ids, seconds: float
    ) -> None:
        self._versions = versions
        self._log = log
        self._teller = ResponseWriter(versions, metrics, ids, keeps=log is not None)
        self._seconds = seconds
        self._asked: deque[PendingRequest] = deque()
        self._unanswered: deque[PendingRequest] = deque()
        self._rows = 0
        self._scheduled = False
        self._away = 0
        self._usual = 0.0
        self._gathering: asyncio.TimerHandle | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="score")

    @property
    def queued(self) -> int:
        """Rows that wait."""
        return self._rows

    @staticmethod
    def takes(rows: Rows | pl.DataFrame) -> bool:
        """Whether rows are few enough to be scored with those of others."""
        return isinstance(rows, list) and len(rows) <= _SMALL

    def put(self, rows: Rows, reply: Reply) -> None:
        """Score a few rows with those of others; ``reply`` is called when their events are durable.

        Raises
        ------
        Problem
            503 if too many wait; whatever else goes wrong is told.
        """
        self._admit()
        now = time.perf_counter()
        asked = PendingRequest(rows, reply, now + self._seconds, now)
        self._asked.append(asked)
        self._unanswered.append(asked)
        self._rows += len(rows)
        self._schedule(asyncio.get_running_loop())

    async def ask(self, rows: Rows | pl.DataFrame, *, explain: bool) -> RequestOutcome:
        """Score rows, and answer when their events are durable.

        Raises
        ------
        Problem
            422 for rows that can't be scored, 503 if too many wait, 504 if it takes too long.
        """
        loop = asyncio.get_running_loop()
        if self.takes(rows) and not explain:
            future: asyncio.Future[RequestOutcome] = loop.create_future()
            self.put(rows, partial(resolve, future))  # type: ignore[arg-type]
            try:
                return await future
            finally:
                # Its error knows this frame: together they would keep the rows for long.
                del future
        self._admit()
        self._rows += len(rows)
        work = _Work(explain, time.perf_counter())
        try:
            async with asyncio.timeout(self._seconds):
                outcome, durable = await loop.run_in_executor(self._worker, self._alone, rows, work)
                await _kept(durable)
                return outcome
        except TimeoutError:
            raise too_late(self._seconds) from None
        finally:
            # Nobody waits for what is left of it.
            work.ended.set()
            self._rows -= len(rows)

    def give_up(self) -> None:
        """Refuse what has waited too long; to be called now and then."""
        now = time.perf_counter()
        self._forget_answered()
        while self._unanswered and self._unanswered[0].deadline < now:
            self._unanswered.popleft().answer(too_late(self._seconds))
            self._forget_answered()

    async def drain(self, seconds: float) -> None:
        """Wait until everything that was asked is answered, at most for so many seconds."""
        ends = time.perf_counter() + seconds
        while (self._asked or self._rows or self._away) and time.perf_counter() < ends:
            await asyncio.sleep(0.01)
        for asked in self._unanswered:
            asked.answer(too_late(self._seconds))
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _admit(self) -> None:
        logged = 0 if self._log is None else self._log.waiting
        if self._rows + logged > _WAITING:
            raise Problem(503, "too many rows are waiting", {"retry-after": "1"})

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Score soon, if it is worth it: a batch costs much the same, whatever its size.

        So what comes while a batch is on its way to the disk waits for it, or until it is enough;
        and a batch that is much smaller than usual waits for a moment.
        """
        if not self._asked or self._scheduled or (self._away and self._rows < _ENOUGH):
            return
        if self._rows >= _MUCH * self._usual:
            self._soon(loop)
        elif self._gathering is None:
            self._gathering = loop.call_later(_GATHER, self._soon, loop)

    def _soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._run)

    def _run(self) -> None:
        """Score what has come in since the last time."""
        self._scheduled = False
        batch, size = [], 0
        while self._asked and size < _BATCH:
            batch.append(self._asked.popleft())
            size += len(batch[-1].rows)
        self._rows -= size
        self._usual = max(float(size), 0.9 * self._usual)
        batch = [asked for asked in batch if not asked.done]
        if batch:
            self._score(batch)
        self._schedule(asyncio.get_running_loop())

    def _score(self, batch: list[PendingRequest]) -> None:
        done = ScoredBatch()
        self._apart(batch, done)
        if self._log is None or not done.events:
            respond(done, None)
            return
        loop = asyncio.get_running_loop()
        self._away += 1
        durable = self._log.append(done.events)
        durable.add_done_callback(
            lambda f: loop.call_soon_threadsafe(self._back, done, f.exception())
        )

    def _apart(self, batch: list[PendingRequest], done: ScoredBatch) -> None:
        """Score requests together; where that fails, by halves, so that only one is at fault."""
        try:
            self._together(batch, done)
        # One batch's fault must not end the service; panics of libraries are no Exception.
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            left = [asked for asked in batch if not asked.done]
            if len(left) < 2:  # noqa: PLR2004 - there is none to be parted from
                for asked in left:
                    asked.answer(error)
                return
            half = len(left) // 2
            self._apart(left[:half], done)
            self._apart(left[half:], done)

    def _back(self, done: ScoredBatch, error: BaseException | None) -> None:
        """A batch's events are durable, or can't be."""
        self._away -= 1
        respond(done, error)
        self._forget_answered()
        self._schedule(asyncio.get_running_loop())

    def _forget_answered(self) -> None:
        """Let go of the oldest requests that have their answers.

        Soon after, while the processor still has their memory at hand for the next ones.
        """
        while self._unanswered and self._unanswered[0].done:
            self._unanswered.popleft()

    def _together(self, batch: list[PendingRequest], done: ScoredBatch) -> None:
        """Score the rows of several requests at once."""
        rows = [row for asked in batch for row in asked.rows]
        parts = route(self._versions, rows)
        if errors := row_errors(parts):
            batch = good_requests(batch, errors)
            if batch:
                self._together(batch, done)
            return
        for part in parts:
            try:
                part.scored = part.served.scorer.score(part.read.frame)
            except BaseException as error:
                own = (KeyboardInterrupt, SystemExit, UnscorableValue)
                if part.places is None or isinstance(error, own):
                    raise
                # The other version's requests are answered.
                rest = drop_rows(batch, part.places, error)
                if rest:
                    self._together(rest, done)
                return
        answers: list[str] = [""] * len(rows)
        every: list[Prediction] = []
        for part in parts:
            told, events = self._teller.told(part, batch[0].started)
            every += events
            part.place(told, answers)
        done.events += every
        start = 0
        for asked in batch:
            end = start + len(asked.rows)
            served = response_model(parts, range(start, end))
            done.requests.append((asked, RequestOutcome(served, answers[start:end])))
            start = end

    def _alone(
        self, rows: Rows | pl.DataFrame, work: _Work
    ) -> tuple[RequestOutcome, list[Future[list[str]]]]:
        """One request by itself, in the worker's thread."""
        work.go_on()
        parts = route(self._versions, rows)
        if errors := row_errors(parts):
            raise faulty_rows(errors, 0)
        answers, durable = [""] * len(rows), []
        for part in parts:
            told: list[str] = []
            for piece in part.pieces():
                work.go_on()
                piece.scored = piece.served.scorer.score(piece.read.frame)
                some, events = self._teller.told(piece, work.started)
                if self._log is not None:
                    durable.append(self._log.append(events))
                if work.explain:
                    reasons = piece.served.explanations(piece.scored, work.go_on)
                    some = [
                        f'{answer[:-1]},"explanation":{reason}}}'
                        for answer, reason in zip(some, map(as_json, reasons), strict=True)
                    ]
                told += some
            part.place(told, answers)
        return RequestOutcome(response_model(parts, range(len(rows))), answers), durable


async def _kept(durable: list[Future[list[str]]]) -> None:
    """Wait until events are durable."""
    results = await asyncio.gather(*map(asyncio.wrap_future, durable), return_exceptions=True)
    for error in results:
        if isinstance(error, RefusedEvents):
            if unkept_ids(error):
                raise event_refused()
        elif isinstance(error, BaseException):  # a driver's own
            raise events_unavailable() from error
