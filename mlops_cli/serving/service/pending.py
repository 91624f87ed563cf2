"""Requests that wait for their batch, and what they are answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.events import RefusedEvents
from mlops_cli.online.request_rows import RowError
from mlops_cli.serving.http_server.http import Problem

if TYPE_CHECKING:
    from mlops_cli.events import Prediction
    from mlops_cli.serving.service.loaded_model import LoadedModel

    Rows = Sequence[Mapping[str, Any]]

__all__ = [
    "PendingRequest",
    "Reply",
    "RequestOutcome",
    "ScoredBatch",
    "drop_rows",
    "event_refused",
    "events_unavailable",
    "faulty_rows",
    "good_requests",
    "resolve",
    "respond",
    "too_late",
    "unkept_ids",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """What became of a request: its version, and each row's answer in JSON."""

    served: LoadedModel
    answers: list[str]


Reply = Callable[[RequestOutcome | BaseException], None]
"""Is called once, with what became of a request."""


@dataclass(slots=True)
class PendingRequest:
    """A request that waits for its answer.

    Attributes
    ----------
    reply
        None once it was called.
    deadline, started
        Seconds of `time.perf_counter`.
    """

    rows: Rows
    reply: Reply | None
    deadline: float
    started: float

    def answer(self, outcome: RequestOutcome | BaseException) -> None:
        """Give it its answer, if it has none yet."""
        if self.reply is not None:
            reply, self.reply = self.reply, None
            reply(outcome)

    @property
    def done(self) -> bool:
        """Whether it has its answer."""
        return self.reply is None


@dataclass(slots=True)
class ScoredBatch:
    """A scored batch that waits for its events to be durable."""

    requests: list[tuple[PendingRequest, RequestOutcome]] = field(default_factory=list)
    events: list[Prediction] = field(default_factory=list)


def respond(batch: ScoredBatch, error: BaseException | None) -> None:
    """Answer the requests of a batch whose events are durable, or can't be (the error)."""
    bad = unkept_ids(error) if isinstance(error, RefusedEvents) else None
    for request, outcome in batch.requests:
        if error is None or (bad is not None and not _has(outcome, bad)):
            request.answer(outcome)
        else:
            request.answer(events_unavailable() if bad is None else event_refused())


def unkept_ids(error: RefusedEvents) -> set[str]:
    """Ids of the predictions that can't be kept; without a shadow's, whose faults are its own."""
    return {i for i in error.ids if not i.endswith("-shadow")}


def _has(outcome: RequestOutcome, ids: Collection[str]) -> bool:
    """Whether one of these predictions is among its answers, which begin with the id."""
    start = len('{"id":"')
    return any(answer[start : answer.index('"', start)] in ids for answer in outcome.answers)


def resolve(
    future: asyncio.Future[RequestOutcome], outcome: RequestOutcome | BaseException
) -> None:
    """Give a future its outcome, where somebody still waits for it."""
    if future.done():
        return
    if isinstance(outcome, RequestOutcome):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


def events_unavailable() -> Problem:
    """The answer where events can't be written."""
    return Problem(503, "the event log can't take the prediction", {"retry-after": "5"})


def event_refused() -> Problem:
    """The answer to a row that the log's database refuses."""
    return Problem(422, "a value of the row can't be kept: the event log's database refuses it")


def good_requests(
    batch: Sequence[PendingRequest], errors: Sequence[RowError]
) -> list[PendingRequest]:
    """The requests of which every row is good; the others get the reason."""
    good, start = [], 0
    for request in batch:
        end = start + len(request.rows)
        wrong = [e for e in errors if e.row is None or start <= e.row < end]
        if wrong:
            request.answer(faulty_rows(wrong, start))
        else:
            good.append(request)
        start = end
    return good


def drop_rows(
    batch: Sequence[PendingRequest], places: Sequence[int], error: BaseException
) -> list[PendingRequest]:
    """The requests that have none of these rows; the others get the error."""
    left, start, failed = [], 0, set(places)
    for request in batch:
        end = start + len(request.rows)
        if failed.isdisjoint(range(start, end)):
            left.append(request)
        else:
            request.answer(error)
        start = end
    return left


def faulty_rows(errors: Sequence[RowError], start: int) -> Problem:
    """The answer to a request with faulty rows, which begins at a row of the batch."""
    shown = [
        {
            "row": None if e.row is None else e.row - start,
            "column": e.column,
            "value": e.value,
            "message": e.message,
        }
        for e in errors[:100]
    ]
    first = shown[0]["message"]
    count = f"more than {len(shown)}" if len(errors) > len(shown) else len(errors)
    return Problem(422, f"{count} faults in the rows, the first: {first}", errors=shown)


def too_late(seconds: float) -> Problem:
    """The answer to a request that has waited too long."""
    return Problem(504, f"the request was not answered in {seconds:g} s", {"retry-after": "1"})
