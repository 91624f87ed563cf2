"""Requests and answers: bodies with a limit, JSON, problems (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

import orjson

__all__ = [
    "Answer",
    "AsgiRequest",
    "Problem",
    "Receive",
    "Request",
    "Scope",
    "Send",
    "json_answer",
    "problem",
    "too_large",
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON = "application/json"


class Problem(Exception):  # not an error of ours: an answer to the client
    """Why a request is refused.

    Parameters
    ----------
    status
        The HTTP status code.
    detail
        One sentence with the offending value.
    more
        Further members of the problem document.
    headers
        Such as Allow or Retry-After.
    """

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.more = more


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class Request(Protocol):
    """What comes in.

    Attributes
    ----------
    query
        The query string, as it was sent.
    """

    method: str
    path: str
    query: str

    def header(self, name: str) -> str | None:
        """A header's value; None where it isn't there. Names are in lower case."""

    async def body(self, most: int) -> bytes:
        """The whole body.

        Raises
        ------
        Problem
            413 as soon as it is known to be larger than ``most`` bytes.
        """


class AsgiRequest:
    """A request as ASGI servers give it (see ``Request``)."""

    __slots__ = ("_receive", "_scope", "method", "path", "query")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")

    def header(self, name: str) -> str | None:
        """See ``Request.header``."""
        wanted = name.encode()
        for key, value in self._scope["headers"]:
            if key == wanted:
                return bytes(value).decode("latin-1")
        return None

    async def body(self, most: int) -> bytes:
        """See ``Request.body``."""
        stated = self.header("content-length") or ""
        if stated.isdigit() and int(stated) > most:
            raise too_large(most)
        message = await self._receive()
        parts, size = [message.get("body", b"")], len(message.get("body", b""))
        while message.get("more_body") and size <= most:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            parts.append(message.get("body", b""))
            size += len(parts[-1])
        if size > most:
            raise too_large(most)
        return b"".join(parts)


def json_answer(content: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY))


def problem(error: Problem) -> Answer:
    """A problem document."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.detail,
        **error.more,
    }
    return Answer(
        error.status,
        orjson.dumps(content),
        "application/problem+json",
        tuple(error.headers.items()),
    )


def too_large(most: int) -> Problem:
    """What is said of a body of more than ``most`` bytes."""
    return Problem(413, f"the body is larger than {most / 1e6:g} MB")
