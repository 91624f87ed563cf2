"""A request of the own server, and what its head must say (RFC 9112)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

from httptools import HttpParserInvalidURLError, parse_url

from mlops_cli.serving.http_server.http import Problem

if TYPE_CHECKING:
    import asyncio

    from mlops_cli.serving.http_server.http import Response

__all__ = ["FIELDS", "BodyParser", "HttpRequest", "head_fault", "many_headers", "request_target"]

FIELDS = 128
"""Headers of a request."""


class Client(Protocol):
    """A client's connection: the way to it, and the calls of its parser (see ``Connection``)."""

    transport: asyncio.Transport

    def on_message_begin(self) -> None:
        """A request begins."""

    def on_url(self, url: bytes) -> None:
        """A part of what is asked for."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""

    def on_headers_complete(self) -> None:
        """The head is whole."""

    def on_body(self, part: bytes) -> None:
        """A part of the body."""

    def on_message_complete(self) -> None:
        """The request is whole."""


class HttpRequest:
    """A request that has come in whole (see ``Request``).

    Attributes
    ----------
    faulty
        Whether its head can't be right.
    repeated
        Headers that came more than once.
    held
        Bytes of it that count in the budget.
    answer
        The refusal, where its head is already enough for one.
    leave
        Is called when nobody waits for the answer any more.
    """

    # Of the class, so that a request sets only what isn't so.
    method = path = query = ""
    content = b""
    keep = old = faulty = False
    held = repeated = 0
    answer: Response | None = None
    leave: Callable[[], object] | None = None

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self.headers: dict[bytes, bytes] = {}

    def repeat(self, name: bytes, value: bytes) -> None:
        """Take a header that was there already: they are one list (RFC 9110, 5.3)."""
        self.repeated += 1
        if name == b"host" or self.repeated > FIELDS:
            self.faulty = True
        else:
            self.headers[name] += b", " + value

    def header(self, name: str) -> str | None:
        """See ``Request.header``."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def has_body(self) -> bool:
        """Whether something comes after the head."""
        headers = self.headers
        return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"

    @property
    def address(self) -> str:
        """See ``Request.address``."""
        return self._end("peername")

    @property
    def local(self) -> str:
        """See ``Request.local``."""
        return self._end("sockname")

    def _end(self, which: str) -> str:
        found = self._connection.transport.get_extra_info(which)
        return str(found[0]) if isinstance(found, tuple) and found else ""

    async def body(self, most: int) -> bytes:  # noqa: ARG002 - the connection has seen to it
        """See ``Request.body``."""
        return self.content


class BodyParser:
    """The calls of a parser for what comes after a head that another one has parsed."""

    __slots__ = ("_connection", "_in_rest", "on_body", "on_message_complete")

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._in_rest = False
        self.on_body = connection.on_body
        self.on_message_complete = connection.on_message_complete

    def skip_head(self, parser: Any, request: HttpRequest) -> None:
        """Feed the parser a head that says as much of the body, and nothing of an upgrade."""
        headers = request.headers
        options = [o.strip() for o in headers.get(b"connection", b"").lower().split(b",")]
        lines = [b"POST / HTTP/1.0" if request.old else b"POST / HTTP/1.1"]
        lines += [b"connection: " + b", ".join(o for o in options if o != b"upgrade")]
        for name in (b"content-length", b"transfer-encoding"):
            if name in headers:
                lines.append(name + b": " + headers[name])
        parser.feed_data(b"\r\n".join((*lines, b"", b"")))
        self._in_rest = True

    def on_message_begin(self) -> None:
        """See ``Connection``."""
        if self._in_rest:
            self._connection.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """See ``Connection``."""
        if self._in_rest:
            self._connection.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See ``Connection``."""
        if self._in_rest:
            self._connection.on_header(name, value)

    def on_headers_complete(self) -> None:
        """See ``Connection``."""
        if self._in_rest:
            self._connection.on_headers_complete()


def many_headers() -> Problem:
    """What is said of a head with more headers than are taken."""
    return Problem(431, f"there are more than {FIELDS} headers")


def head_fault(request: HttpRequest, version: str) -> Problem | None:
    """Why a head is none of HTTP/1.1 as it is spoken here (RFC 9112; RFC 9110, 10.1.1)."""
    headers = request.headers
    if version not in {"1.1", "1.0"}:
        return Problem(505, f"HTTP/{version} is not spoken here")
    if request.faulty or (b"host" not in headers and not request.old):
        host = Problem(400, "a request of HTTP/1.1 names its host once")
        return many_headers() if request.repeated > FIELDS else host
    if request.method == "CONNECT":
        return Problem(405, "this is no proxy")
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or request.old):
        shown = coding[:80].decode("latin-1")
        return Problem(501, f"the transfer encoding {shown!r} is not known; there is chunked")
    expected = headers.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        shown = expected[:80].decode("latin-1")
        return Problem(417, f"{shown!r} can't be expected; there is 100-continue")
    return None


def request_target(url: bytes, headers: dict[bytes, bytes]) -> tuple[str, str]:
    """Path and query of what was asked for, which may be a whole URL; it then says the host."""
    if not url.startswith(b"/"):
        with suppress(HttpParserInvalidURLError):
            whole = parse_url(url)
            url = b"?".join(part for part in (whole.path or b"/", whole.query) if part is not None)
            if whole.host is not None:
                port = b"" if whole.port is None else b":%d" % whole.port
                headers[b"host"] = whole.host + port
    path, _, query = url.decode("latin-1").partition("?")
    return unquote(path) if "%" in path else path, query
