"""Micro-batching: requests that arrive while a batch is scored form the next batch.

One evaluation of the features, one call of the model and one commit of the log serve all requests
of a batch. A response is sent only after its events are durable.
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

_SHARED_ROWS = 64
"""Most rows of a request that shares a batch with others, in the event loop's thread."""
_FULL_ROWS = 512
"""Rows at which a batch is full; further requests go into the next one."""
_EAGER_ROWS = 128
"""Waiting rows from which on a batch is scored although the previous one isn't durable yet."""
_GATHER_SECONDS = 0.0005
"""Seconds that a small batch waits for clients of the last batches to send their next request.
Without it, small and large batches alternate, and each batch has much the same cost."""
_USUAL_SHARE = 0.75
"""Share of the usual batch size from which on a batch doesn't wait."""
_MAX_WAITING = 20_000
"""Rows that may wait to be scored or logged; above it, requests are refused with 503."""


@dataclass(slots=True)
class _Work:
    """A request that is scored by itself, and whether its client still waits for it."""

    explain: bool
    started: float
    abandoned: threading.Event = field(default_factory=threading.Event)

    def raise_if_abandoned(self) -> None:
        """Stop the work, by an exception, if the client doesn't wait any more."""
        if self.abandoned.is_set():
            raise Problem(503, "the request was given up")


class Batcher:
    """Scores rows in batches, and logs the predictions."""

    def __init__(
        self,
        versions: Versions,
        event_log: EventLog | None,
        metrics: Metrics,
        ids: Ids,
        seconds: float,
    ) -> None:
        self._versions = versions
        self._log = event_log
        self._writer = ResponseWriter(versions, metrics, ids, log_events=event_log is not None)
        self._seconds = seconds
        self._queue: deque[PendingRequest] = deque()
        self._unanswered: deque[PendingRequest] = deque()
        self._waiting = 0
        self._scheduled = False
        self._in_flight = 0
        self._usual_rows = 0.0
        self._gather_timer: asyncio.TimerHandle | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="score")

    @property
    def queued_rows(self) -> int:
        """Number of rows that wait to be scored."""
        return self._waiting

    @staticmethod
    def can_share(rows: Rows | pl.DataFrame) -> bool:
        """Whether a request has few enough rows to share a batch with other requests."""
        return isinstance(rows, list) and len(rows) <= _SHARED_ROWS

    def submit(self, rows: Rows, reply: Reply) -> None:
        """Queue a few rows for a shared batch; ``reply`` is called when their events are durable.

        Raises
        ------
        Problem
            503 if too many rows wait; any other error is passed to ``reply``.
        """
        self._admit()
        now = time.perf_counter()
        request = PendingRequest(rows, reply, now + self._seconds, now)
        self._queue.append(request)
        self._unanswered.append(request)
        self._waiting += len(rows)
        self._schedule(asyncio.get_running_loop())

    async def score(self, rows: Rows | pl.DataFrame, *, explain: bool) -> RequestOutcome:
        """Score rows; returns the outcome when their events are durable.

        Raises
        ------
        Problem
            422 for rows that can't be scored, 503 if too many rows wait, 504 if it takes too long.
        """
        loop = asyncio.get_running_loop()
        if self.can_share(rows) and not explain:
            future: asyncio.Future[RequestOutcome] = loop.create_future()
            self.submit(rows, partial(resolve, future))  # type: ignore[arg-type]
            try:
                return await future
            finally:
                # Its exception refers to this frame: the cycle would keep the rows alive for long.
                del future
        self._admit()
        self._waiting += len(rows)
        work = _Work(explain, time.perf_counter())
        try:
            async with asyncio.timeout(self._seconds):
                outcome, durable = await loop.run_in_executor(
                    self._worker, self._score_alone, rows, work
                )
                await _wait_durable(durable)
                return outcome
        except TimeoutError:
            raise too_late(self._seconds) from None
        finally:
            # The client is gone: what is left of the work isn't needed.
            work.abandoned.set()
            self._waiting -= len(rows)

    def refuse_overdue(self) -> None:
        """Refuse requests that have waited too long; to be called periodically."""
        now = time.perf_counter()
        self._forget_answered()
        while self._unanswered and self._unanswered[0].deadline < now:
            self._unanswered.popleft().respond(too_late(self._seconds))
            self._forget_answered()

    async def drain(self, seconds: float) -> None:
        """Wait until all requests are responded to, for at most ``seconds``."""
        end = time.perf_counter() + seconds
        while (self._queue or self._waiting or self._in_flight) and time.perf_counter() < end:
            await asyncio.sleep(0.01)
        for request in self._unanswered:
            request.respond(too_late(self._seconds))
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _admit(self) -> None:
        logged = 0 if self._log is None else self._log.waiting
        if self._waiting + logged > _MAX_WAITING:
            raise Problem(503, "too many rows are waiting", {"retry-after": "1"})

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Schedule a batch, unless it is better to wait: a batch costs much the same at any size.

        While the previous batch is committed, rows wait for it, or until there are enough of them.
        A batch that is much smaller than usual waits for a moment.
        """
        if not self._queue or self._scheduled or (self._in_flight and self._waiting < _EAGER_ROWS):
            return
        if self._waiting >= _USUAL_SHARE * self._usual_rows:
            self._schedule_now(loop)
        elif self._gather_timer is None:
            self._gather_timer = loop.call_later(_GATHER_SECONDS, self._schedule_now, loop)

    def _schedule_now(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._gather_timer is not None:
            self._gather_timer.cancel()
            self._gather_timer = None
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._run_batch)

    def _run_batch(self) -> None:
        """Score the requests that were queued since the last batch."""
        self._scheduled = False
        batch, size = [], 0
        while self._queue and size < _FULL_ROWS:
            batch.append(self._queue.popleft())
            size += len(batch[-1].rows)
        self._waiting -= size
        self._usual_rows = max(float(size), 0.9 * self._usual_rows)
        batch = [request for request in batch if not request.done]
        if batch:
            self._score_batch(batch)
        self._schedule(asyncio.get_running_loop())

    def _score_batch(self, batch: list[PendingRequest]) -> None:
        scored = ScoredBatch()
        self._score_or_split(batch, scored)
        if self._log is None or not scored.events:
            respond(scored, None)
            return
        loop = asyncio.get_running_loop()
        self._in_flight += 1
        durable = self._log.append_predictions(scored.events)
        durable.add_done_callback(
            lambda f: loop.call_soon_threadsafe(self._on_durable, scored, f.exception())
        )

    def _score_or_split(self, batch: list[PendingRequest], scored: ScoredBatch) -> None:
        """Score requests together; if that fails, in halves, so that only the faulty one fails."""
        try:
            self._score_together(batch, scored)
        # A fault in one batch must not end the service; panics of Rust libraries are no Exception.
        except BaseException as error:
            if isinstance(error, (KeyboardInterrupt, SystemExit)):
                raise
            unanswered = [request for request in batch if not request.done]
            if len(unanswered) < 2:  # noqa: PLR2004 - one can't be split
                for request in unanswered:
                    request.respond(error)
                return
            half = len(unanswered) // 2
            self._score_or_split(unanswered[:half], scored)
            self._score_or_split(unanswered[half:], scored)

    def _on_durable(self, scored: ScoredBatch, error: BaseException | None) -> None:
        """Respond to a batch, as its events are durable or failed with ``error``."""
        self._in_flight -= 1
        respond(scored, error)
        self._forget_answered()
        self._schedule(asyncio.get_running_loop())

    def _forget_answered(self) -> None:
        """Free the oldest requests that were responded to.

        They are freed at once: the next requests then reuse memory that is still in the CPU cache.
        """
        while self._unanswered and self._unanswered[0].done:
            self._unanswered.popleft()

    def _score_together(self, batch: list[PendingRequest], scored: ScoredBatch) -> None:
        """Score the rows of several requests in one batch."""
        rows = [row for request in batch for row in request.rows]
        parts = route(self._versions, rows)
        if errors := row_errors(parts):
            batch = good_requests(batch, errors)
            if batch:
                self._score_together(batch, scored)
            return
        for part in parts:
            try:
                part.scored = part.served.scorer.score(part.parsed.frame)
            except BaseException as error:
                reraised = (KeyboardInterrupt, SystemExit, UnscorableValue)
                if part.positions is None or isinstance(error, reraised):
                    raise
                # The requests that the other version scores still get responses.
                rest = drop_rows(batch, part.positions, error)
                if rest:
                    self._score_together(rest, scored)
                return
        answers: list[str] = [""] * len(rows)
        events: list[Prediction] = []
        for part in parts:
            part_answers, part_events = self._writer.write(part, batch[0].started)
            events += part_events
            part.put_answers(part_answers, answers)
        scored.events += events
        start = 0
        for request in batch:
            end = start + len(request.rows)
            served = response_model(parts, range(start, end))
            scored.requests.append((request, RequestOutcome(served, answers[start:end])))
            start = end

    def _score_alone(
        self, rows: Rows | pl.DataFrame, work: _Work
    ) -> tuple[RequestOutcome, list[Future[list[str]]]]:
        """Score one request by itself, in the worker thread."""
        work.raise_if_abandoned()
        parts = route(self._versions, rows)
        if errors := row_errors(parts):
            raise faulty_rows(errors, 0)
        answers, durable = [""] * len(rows), []
        for part in parts:
            part_answers: list[str] = []
            for chunk in part.chunks():
                work.raise_if_abandoned()
                chunk.scored = chunk.served.scorer.score(chunk.parsed.frame)
                chunk_answers, events = self._writer.write(chunk, work.started)
                if self._log is not None:
                    durable.append(self._log.append_predictions(events))
                if work.explain:
                    explanations = chunk.served.explanations(chunk.scored, work.raise_if_abandoned)
                    chunk_answers = [
                        f'{answer[:-1]},"explanation":{explanation}}}'
                        for answer, explanation in zip(
                            chunk_answers, map(as_json, explanations), strict=True
                        )
                    ]
                part_answers += chunk_answers
            part.put_answers(part_answers, answers)
        return RequestOutcome(response_model(parts, range(len(rows))), answers), durable


async def _wait_durable(durable: list[Future[list[str]]]) -> None:
    """Wait until events are durable; raises Problem 422 or 503 if they can't be."""
    results = await asyncio.gather(*map(asyncio.wrap_future, durable), return_exceptions=True)
    for error in results:
        if isinstance(error, RefusedEvents):
            if unkept_ids(error):
                raise event_refused()
        elif isinstance(error, BaseException):  # such as of a database driver
            raise events_unavailable() from error
