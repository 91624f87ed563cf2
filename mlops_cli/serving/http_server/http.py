"""HTTP requests and responses: body limits, JSON, problem documents (RFC 9457)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import orjson

__all__ = [
    "JSON",
    "TOO_MANY_CONNECTIONS",
    "TOO_MANY_REQUESTS",
    "AsgiRequest",
    "ClientGone",
    "MemoryBudget",
    "Problem",
    "Receive",
    "Request",
    "Response",
    "Scope",
    "Send",
    "json_response",
    "no_room",
    "problem",
    "too_large",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON = "application/json"
"""The content type of a JSON text."""
TOO_MANY_REQUESTS = 429
"""A status whose response is delayed, to slow down the guessing of keys."""
_BODY_SECONDS = 60.0
"""Seconds within which a body must arrive."""


class Problem(Exception):  # no error of the service: a response to the client
    """The reason why a request is refused.

    Parameters
    ----------
    status
        The HTTP status code.
    detail
        One sentence with the offending value.
    extensions
        Further members of the problem document.
    headers
        Such as Allow or Retry-After.
    """

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **extensions: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.extensions = extensions


class ClientGone(Exception):
    """The client closed the connection."""


class MemoryBudget:
    """Memory limit of all requests together: received bytes, and responses that nobody reads.

    Attributes
    ----------
    used_bytes
        Bytes that are held now.
    """

    __slots__ = ("max_bytes", "used_bytes")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.used_bytes = 0

    @property
    def within_limit(self) -> bool:
        """Whether the limit is kept."""
        return self.used_bytes <= self.max_bytes


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Request(Protocol):
    """An HTTP request.

    Attributes
    ----------
    query
        The query string, as it was sent.
    headers
        By names in lower case; several headers of one name are joined to one list.
    """

    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]

    def header(self, name: str) -> str | None:
        """A header's value, or None; the name is in lower case."""

    @property
    def client_address(self) -> str:
        """The address of the client, or of the proxy in front of the service."""

    @property
    def server_address(self) -> str:
        """The service's address that the request was sent to."""

    async def body(self, max_bytes: int) -> bytes:
        """The whole body.

        Raises
        ------
        Problem
            413 as soon as it is known to be larger than ``max_bytes``, 503 if all bodies together
            exceed the memory budget.
        """


class AsgiRequest:
    """A request from an ASGI server (see ``Request``).

    Attributes
    ----------
    budget_bytes
        Its bytes that count in the memory budget.
    """

    __slots__ = (
        "_budget",
        "_receive",
        "_scope",
        "budget_bytes",
        "headers",
        "method",
        "path",
        "query",
    )

    def __init__(self, scope: Scope, receive: Receive, budget: MemoryBudget) -> None:
        self._scope, self._receive, self._budget = scope, receive, budget
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.budget_bytes = 0
        self.headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            before = self.headers.get(name)
            self.headers[name] = value if before is None else before + b", " + value

    def header(self, name: str) -> str | None:
        """See ``Request.header``."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def client_address(self) -> str:
        """See ``Request.address``."""
        return str((self._scope.get("client") or ("",))[0])

    @property
    def server_address(self) -> str:
        """See ``Request.local``."""
        return str((self._scope.get("server") or ("",))[0])

    async def body(self, max_bytes: int) -> bytes:
        """See ``Request.body``."""
        stated = self.header("content-length") or ""
        if stated.isdigit() and int(stated) > max_bytes:
            raise too_large(max_bytes)
        content = bytearray()
        more = True
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    more = bool(message.get("more_body"))
                    content += self._hold(message.get("body", b""))
                    if len(content) > max_bytes:
                        raise too_large(max_bytes)
        except TimeoutError:
            raise Problem(408, f"the body did not come in within {_BODY_SECONDS:g} s") from None
        offer = self.header("upgrade")
        if not content and offer is not None and stated not in {"", "0"}:
            raise Problem(
                400,
                f"the server that runs this application dropped the body for the offer of "
                f"{offer[:80]!r}; send it without Upgrade, as HTTP/1.1",
            )
        return bytes(content)

    def _hold(self, part: bytes) -> bytes:
        self.budget_bytes += len(part)
        self._budget.used_bytes += len(part)
        if not self._budget.within_limit:
            raise no_room()
        return part


def json_response(content: Any, status: int = 200) -> Response:
    """A response in JSON."""
    return Response(status, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


def problem(error: Problem) -> Response:
    """The response to a refused request, a problem document."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        **error.extensions,
    }
    return Response(
        error.status,
        orjson.dumps(content),
        "application/problem+json",
        tuple(error.headers.items()),
    )


def no_room() -> Problem:
    """503: all requests together are too large."""
    text = "the requests that are being sent are together larger than what is taken at a time"
    return Problem(503, text, {"retry-after": "1"})


TOO_MANY_CONNECTIONS = problem(Problem(503, "there are too many connections", {"retry-after": "1"}))
"""503: the response to a connection beyond the limit of connections."""


def too_large(max_bytes: int) -> Problem:
    """413: the body is larger than ``max_bytes``."""
    return Problem(413, f"the body is larger than {max_bytes / 1e6:g} MB")
