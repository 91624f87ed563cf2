"""Write requests: the events of one call, which wait for the writer thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlops_cli.events.base import Label, Prediction

__all__ = ["WriteRequest", "set_results"]


@dataclass(slots=True)
class WriteRequest:
    """Events of one call, which are stored or refused together, with the call's future."""

    predictions: Sequence[Prediction]
    labels: Sequence[Label]
    future: Future[list[str]] = field(default_factory=Future)
    enqueued_at: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        """Number of events."""
        return len(self.predictions) + len(self.labels)


def set_results(requests: list[WriteRequest], results: list[str]) -> None:
    """Complete each request's future with the results of its labels."""
    start = 0
    for request in requests:
        end = start + len(request.labels)
        request.future.set_result(results[start:end])
        start = end
