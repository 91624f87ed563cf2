"""Requests that wait for their batch, and the responses to them."""

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
    """The outcome of a request: the responding version, and each row's answer as JSON."""

    served: LoadedModel
    answers: list[str]


Reply = Callable[[RequestOutcome | BaseException], None]
"""Callback, called once with the outcome or the error of a request."""


@dataclass(slots=True)
class PendingRequest:
    """A request that waits for its response.

    Attributes
    ----------
    reply
        None after it was called.
    deadline, started
        Seconds of `time.perf_counter`.
    """

    rows: Rows
    reply: Reply | None
    deadline: float
    started: float

    def respond(self, outcome: RequestOutcome | BaseException) -> None:
        """Respond with an outcome or an error, unless that was done before."""
        if self.reply is not None:
            reply, self.reply = self.reply, None
            reply(outcome)

    @property
    def done(self) -> bool:
        """Whether the request was responded to."""
        return self.reply is None


@dataclass(slots=True)
class ScoredBatch:
    """A scored batch that waits for its events to be durable."""

    requests: list[tuple[PendingRequest, RequestOutcome]] = field(default_factory=list)
    events: list[Prediction] = field(default_factory=list)


def respond(batch: ScoredBatch, error: BaseException | None) -> None:
    """Respond to a batch's requests once its events are durable, or failed with ``error``."""
    refused_ids = unkept_ids(error) if isinstance(error, RefusedEvents) else None
    for request, outcome in batch.requests:
        if error is None or (refused_ids is not None and not _has_any(outcome, refused_ids)):
            request.respond(outcome)
        else:
            request.respond(events_unavailable() if refused_ids is None else event_refused())


def unkept_ids(error: RefusedEvents) -> set[str]:
    """Ids of predictions that the log refused, without the shadow's: those affect no response."""
    return {i for i in error.ids if not i.endswith("-shadow")}


def _has_any(outcome: RequestOutcome, ids: Collection[str]) -> bool:
    """Whether an outcome has one of these predictions; its answers begin with their ids."""
    start = len('{"id":"')
    return any(answer[start : answer.index('"', start)] in ids for answer in outcome.answers)


def resolve(
    future: asyncio.Future[RequestOutcome], outcome: RequestOutcome | BaseException
) -> None:
    """Set a future's outcome or error, unless the future was cancelled."""
    if future.done():
        return
    if isinstance(outcome, RequestOutcome):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


def events_unavailable() -> Problem:
    """503: the event log can't write events."""
    return Problem(503, "the event log can't take the prediction", {"retry-after": "5"})


def event_refused() -> Problem:
    """422: the event log's database refuses a value of the row."""
    return Problem(422, "a value of the row can't be kept: the event log's database refuses it")


def good_requests(
    batch: Sequence[PendingRequest], errors: Sequence[RowError]
) -> list[PendingRequest]:
    """The requests without errors in their rows; responds to the others with their errors."""
    valid, start = [], 0
    for request in batch:
        end = start + len(request.rows)
        own_errors = [e for e in errors if e.row is None or start <= e.row < end]
        if own_errors:
            request.respond(faulty_rows(own_errors, start))
        else:
            valid.append(request)
        start = end
    return valid


def drop_rows(
    batch: Sequence[PendingRequest], positions: Sequence[int], error: BaseException
) -> list[PendingRequest]:
    """The requests that have none of these rows; responds to the others with ``error``."""
    others, start, failed = [], 0, set(positions)
    for request in batch:
        end = start + len(request.rows)
        if failed.isdisjoint(range(start, end)):
            others.append(request)
        else:
            request.respond(error)
        start = end
    return others


def faulty_rows(errors: Sequence[RowError], start: int) -> Problem:
    """422: rows have errors; ``start`` is the request's first row in the batch."""
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
    """504: the request waited too long."""
    return Problem(504, f"the request was not answered in {seconds:g} s", {"retry-after": "1"})
