"""Protocols between the service, its HTTP server and the server's connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_cli.serving.http_server.heads import HttpRequest
    from mlops_cli.serving.http_server.http import MemoryBudget, Response

__all__ = ["ConnectionHost", "Handler"]

C_contra = TypeVar("C_contra", contravariant=True)


class Handler(Protocol):
    """Interface of the service to its server."""

    def refusal(self, request: HttpRequest) -> Response | None:
        """The response that refuses a request by its head; None if its body may follow."""

    def handle(self, request: HttpRequest, reply: Callable[[Response], None]) -> None:
        """Call ``reply`` with the response, now or later; never raises."""


class ConnectionHost(Protocol[C_contra]):
    """Interface of the server to its connections; see ``Server``."""

    handler: Handler
    max_body_bytes: int
    budget: MemoryBudget
    request_timeout: float
    shutting_down: bool
    now: float

    def admit(self, connection: C_contra) -> bool:
        """Whether a new connection is accepted."""

    def remove(self, connection: C_contra) -> None:
        """Remove a closed connection."""

    def free_memory(self) -> None:
        """Refuse the largest incomplete requests, until the memory budget is kept."""

    def encode_response(
        self, response: Response, request: HttpRequest, *, keep_alive: bool
    ) -> bytes:
        """The bytes of a response."""
