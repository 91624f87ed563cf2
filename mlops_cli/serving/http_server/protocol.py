"""What the own server and its connections need of the service, and of each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_cli.serving.http_server.heads import HttpRequest
    from mlops_cli.serving.http_server.http import MemoryBudget, Response

__all__ = ["ConnectionHost", "Handler"]

C_contra = TypeVar("C_contra", contravariant=True)


class Handler(Protocol):
    """The service, as its server sees it."""

    def refusal(self, request: HttpRequest) -> Response | None:
        """The answer to a request that is refused by its head; None where its body may come."""

    def take(self, request: HttpRequest, reply: Callable[[Response], None]) -> None:
        """Call ``reply`` with the answer, now or later; it never raises."""


class ConnectionHost(Protocol[C_contra]):
    """The server, as its connections see it; see ``Server``."""

    handler: Handler
    most: int
    budget: MemoryBudget
    patience: float
    ending: bool
    now: float

    def admit(self, connection: C_contra) -> bool:
        """Whether a new connection may stay."""

    def forget(self, connection: C_contra) -> None:
        """A connection is no more."""

    def make_room(self) -> None:
        """Refuse the largest requests that aren't whole yet, until the budget holds."""

    def written(self, answer: Response, request: HttpRequest, *, goes_on: bool) -> bytes:
        """An answer as it is sent."""
