"""Requests to the own server, and checks of their heads (RFC 9112)."""

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

__all__ = [
    "MAX_HEADERS",
    "BodyParser",
    "HttpRequest",
    "head_fault",
    "many_headers",
    "request_target",
]

MAX_HEADERS = 128
"""Most headers of a request."""


class TransportOwner(Protocol):
    """A client's connection, as far as a request knows it."""

    transport: asyncio.Transport


class ParserCallbacks(Protocol):
    """Callbacks of httptools (see ``RequestParser``)."""

    def on_message_begin(self) -> None:
        """A request begins."""

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""

    def on_headers_complete(self) -> None:
        """The head is complete."""

    def on_body(self, part: bytes) -> None:
        """A part of the body."""

    def on_message_complete(self) -> None:
        """The request is complete."""


class HttpRequest:
    """A complete request (see ``Request``).

    Attributes
    ----------
    malformed
        Whether its head is invalid.
    repeated_headers
        How often a header was repeated.
    budget_bytes
        Its bytes that count in the memory budget.
    refusal
        The response, if the request is refused by its head.
    cancel
        Called when the client doesn't wait for the response any more.
    """

    # Defaults are class attributes, so that a request sets only what differs.
    method = path = query = ""
    content = b""
    keep_alive = is_http_1_0 = malformed = False
    budget_bytes = repeated_headers = 0
    refusal: Response | None = None
    cancel: Callable[[], object] | None = None

    def __init__(self, connection: TransportOwner) -> None:
        self._connection = connection
        self.headers: dict[bytes, bytes] = {}

    def add_repeated_header(self, name: bytes, value: bytes) -> None:
        """Add a repeated header: its values are joined to one list (RFC 9110, 5.3)."""
        self.repeated_headers += 1
        if name == b"host" or self.repeated_headers > MAX_HEADERS:
            self.malformed = True
        else:
            self.headers[name] += b", " + value

    def header(self, name: str) -> str | None:
        """See ``Request.header``."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        headers = self.headers
        return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"

    @property
    def client_address(self) -> str:
        """See ``Request.address``."""
        return self._host_of("peername")

    @property
    def server_address(self) -> str:
        """See ``Request.local``."""
        return self._host_of("sockname")

    def _host_of(self, which: str) -> str:
        address = self._connection.transport.get_extra_info(which)
        return str(address[0]) if isinstance(address, tuple) and address else ""

    async def body(self, max_bytes: int) -> bytes:  # noqa: ARG002 - the connection enforces it
        """See ``Request.body``."""
        return self.content


class BodyParser:
    """Parser callbacks for the body of a request whose head was parsed by another parser."""

    __slots__ = ("_callbacks", "_in_rest", "on_body", "on_message_complete")

    def __init__(self, callbacks: ParserCallbacks) -> None:
        self._callbacks = callbacks
        self._in_rest = False
        self.on_body = callbacks.on_body
        self.on_message_complete = callbacks.on_message_complete

    def skip_head(self, parser: Any, request: HttpRequest) -> None:
        """Feed the parser a head with the same framing of the body, and without the upgrade."""
        headers = request.headers
        options = [o.strip() for o in headers.get(b"connection", b"").lower().split(b",")]
        lines = [b"POST / HTTP/1.0" if request.is_http_1_0 else b"POST / HTTP/1.1"]
        lines += [b"connection: " + b", ".join(o for o in options if o != b"upgrade")]
        for name in (b"content-length", b"transfer-encoding"):
            if name in headers:
                lines.append(name + b": " + headers[name])
        parser.feed_data(b"\r\n".join((*lines, b"", b"")))
        self._in_rest = True

    def on_message_begin(self) -> None:
        """See ``RequestParser``."""
        if self._in_rest:
            self._callbacks.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """See ``RequestParser``."""
        if self._in_rest:
            self._callbacks.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See ``RequestParser``."""
        if self._in_rest:
            self._callbacks.on_header(name, value)

    def on_headers_complete(self) -> None:
        """See ``RequestParser``."""
        if self._in_rest:
            self._callbacks.on_headers_complete()


def many_headers() -> Problem:
    """431: the head has too many headers."""
    return Problem(431, f"there are more than {MAX_HEADERS} headers")


def head_fault(request: HttpRequest, version: str) -> Problem | None:
    """Why a head is invalid or unsupported, or None (RFC 9112; RFC 9110, 10.1.1)."""
    headers = request.headers
    if version not in {"1.1", "1.0"}:
        return Problem(505, f"HTTP/{version} is not spoken here")
    if request.malformed or (b"host" not in headers and not request.is_http_1_0):
        host = Problem(400, "a request of HTTP/1.1 names its host once")
        return many_headers() if request.repeated_headers > MAX_HEADERS else host
    if request.method == "CONNECT":
        return Problem(405, "this is no proxy")
    coding = headers.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or request.is_http_1_0):
        shown = coding[:80].decode("latin-1")
        return Problem(501, f"the transfer encoding {shown!r} is not known; there is chunked")
    expected = headers.get(b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        shown = expected[:80].decode("latin-1")
        return Problem(417, f"{shown!r} can't be expected; there is 100-continue")
    return None


def request_target(url: bytes, headers: dict[bytes, bytes]) -> tuple[str, str]:
    """Path and query of a request target; if it is a URL, its host replaces the header."""
    if not url.startswith(b"/"):
        with suppress(HttpParserInvalidURLError):
            parts = parse_url(url)
            url = b"?".join(part for part in (parts.path or b"/", parts.query) if part is not None)
            if parts.host is not None:
                port = b"" if parts.port is None else b":%d" % parts.port
                headers[b"host"] = parts.host + port
    path, _, query = url.decode("latin-1").partition("?")
    return unquote(path) if "%" in path else path, query
