"""Requests and answers on the level of ASGI: bodies with a limit, JSON, problems (RFC 9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

__all__ = ["Answer", "Problem", "Receive", "Scope", "Send", "body_of", "json_answer", "problem"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
JSON = b"application/json"


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
        self, status: int, detail: str, headers: dict[bytes, bytes] | None = None, **more: Any
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
    kind: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def send(self, send: Send) -> None:
        """Send it whole."""
        headers = [
            (b"content-type", self.kind),
            (b"content-length", b"%d" % len(self.body)),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


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
        b"application/problem+json",
        tuple(error.headers.items()),
    )


async def body_of(scope: Scope, receive: Receive, most: int) -> bytes:
    """The whole body.

    Raises
    ------
    Problem
        413 as soon as it is known to be larger than ``most`` bytes.
    """
    stated = header(scope, b"content-length")
    if stated is not None and stated.isdigit() and int(stated) > most:
        raise _too_large(most)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > most:
            raise _too_large(most)
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            raise _too_large(most)
    return b"".join(parts)


def header(scope: Scope, name: bytes) -> bytes | None:
    """A header's value; None where it isn't there."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def _too_large(most: int) -> Problem:
    return Problem(413, f"the body is larger than {most / 1e6:g} MB")
