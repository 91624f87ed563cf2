"""Parser of a connection's requests, with limits of their size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from mlops_cli.serving.http_server.heads import (
    MAX_HEADERS,
    BodyParser,
    HttpRequest,
    head_fault,
    many_headers,
    request_target,
)
from mlops_cli.serving.http_server.http import TOO_MANY_REQUESTS, Problem, too_large

if TYPE_CHECKING:
    import asyncio

    from mlops_cli.serving.http_server.http import Response
    from mlops_cli.serving.http_server.protocol import ConnectionHost

__all__ = ["RequestParser"]

_HEAD_BYTES = 65_536
"""Most bytes of a request line and its headers, or of trailers."""
_CHUNKED_GROWTH = 8
"""Size of a request sent in chunks, as a multiple of the body limit."""


class RequestReceiver(Protocol):
    """Interface of the connection to its parser; see ``Connection``."""

    transport: asyncio.Transport
    server: ConnectionHost[Any]
    waiting_since: float
    stopped: bool
    partial_bytes: int

    @property
    def is_free(self) -> bool:
        """Whether no request is being processed or waits."""

    def accept(self, request: HttpRequest) -> None:
        """Take a complete request."""

    def refuse(self, refusal: Problem | Response) -> None:
        """Refuse the incomplete request."""

    def hold(self, size: int) -> None:
        """Count bytes of the incomplete request in the memory budget."""


class RequestParser:
    """Parses a connection's bytes with httptools, whose callbacks are the methods ``on_...``.

    Attributes
    ----------
    request
        The request that is parsed, or was parsed last.
    idle
        Whether no request has begun since the last one.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_connection",
        "_in_head",
        "_parser",
        "_received",
        "_trailing",
        "_url",
        "idle",
        "request",
    )

    def __init__(self, connection: RequestReceiver) -> None:
        self._connection = connection
        self._parser: Any = HttpRequestParser(self)
        self.request = HttpRequest(connection)
        self._body: bytes | bytearray = b""
        self._url = b""
        self._body_size = self._received = self._trailing = 0
        self.idle = self._in_head = True

    def drop_body(self) -> None:
        """Free the bytes of an incomplete body."""
        self._body = b""

    def close(self) -> None:
        """Break the cycles of references, so that the objects are freed at once."""
        self._parser, self.request = None, cast("HttpRequest", None)
        self._connection = cast("RequestReceiver", None)

    def feed(self, data: bytes) -> None:
        """Parse received bytes, and enforce the size limits."""
        connection = self._connection
        self._received += len(data)
        size_before = self._body_size
        self._feed(data)
        if self.idle:
            self._received = 0
            return
        if connection.stopped:
            return
        if self._in_head:
            if len(self.request.headers) > MAX_HEADERS:
                connection.refuse(many_headers())
                return
            connection.hold(max(self._received, len(data)) - connection.partial_bytes)
        elif self._body_size == size_before:
            # Trailers of a body in chunks, which are ignored.
            self._trailing += len(data)
        else:
            self._trailing = 0  # the bytes before were the framing of a chunk
        if self._received > (
            _HEAD_BYTES
            if self._in_head
            else _HEAD_BYTES + _CHUNKED_GROWTH * connection.server.max_body_bytes
        ):
            status = 431 if self._in_head else 413
            connection.refuse(Problem(status, "the request is larger than what is taken"))
        elif self._trailing > _HEAD_BYTES:
            connection.refuse(Problem(431, "the request's trailers are larger than what is taken"))

    def on_message_begin(self) -> None:
        """Begin a request."""
        connection = self._connection
        self.request, self._body, self._url = HttpRequest(connection), b"", b""
        self._body_size = self._trailing = 0
        self.idle = False
        connection.waiting_since = connection.server.now

    def on_url(self, url: bytes) -> None:
        """Add a part of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        if not self._in_head:
            return  # a trailer
        name, headers = name.lower(), self.request.headers
        if name in headers:
            self.request.add_repeated_header(name, value)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """Check the head, and refuse the request if it is invalid or not permitted."""
        connection = self._connection
        self._in_head = False
        if connection.stopped:
            return
        parser, request = self._parser, self.request
        version, headers = parser.get_http_version(), request.headers
        request.method = parser.get_method().decode("latin-1")
        if version != "1.1":
            request.is_http_1_0 = version == "1.0"
        fault = many_headers() if len(headers) > MAX_HEADERS else head_fault(request, version)
        if fault is not None:
            connection.refuse(fault)
            return
        request.path, request.query = request_target(self._url, headers)
        answer = connection.server.handler.refusal(request)
        max_bytes = connection.server.max_body_bytes
        if answer is None and int(headers.get(b"content-length", b"0")) > max_bytes:
            connection.refuse(too_large(max_bytes))
        elif answer is None:
            if b"expect" in headers and connection.is_free:
                connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif answer.status == TOO_MANY_REQUESTS or request.has_body:
            connection.refuse(answer)
        else:
            request.refusal = answer

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        connection = self._connection
        if connection.stopped:
            return
        self._body_size += len(body)
        if self._body_size > connection.server.max_body_bytes:
            connection.refuse(too_large(connection.server.max_body_bytes))
            return
        if self.request.method != "POST":
            return  # no route reads the body of another method
        if not self._body:
            self._body = body
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body
        connection.hold(len(body))

    def on_message_complete(self) -> None:
        """Pass the complete request to the connection."""
        parser = self._parser
        if parser.should_upgrade():
            return  # see _ignore_upgrade
        self.idle, self._in_head, self._received = True, True, 0
        if self._connection.stopped:
            return
        request = self.request
        request.content = bytes(self._body)
        self._body = b""
        request.keep_alive = parser.should_keep_alive()
        self._connection.accept(request)

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self._connection.stopped:
                    return
                data = memoryview(data)[upgrade.args[0] :]
                self._ignore_upgrade()
                continue
            except HttpParserCallbackError:
                self._connection.refuse(Problem(500, "the request can't be taken"))
            except HttpParserError as error:
                self._connection.refuse(Problem(400, f"this is not HTTP/1.1: {error}"))
            return

    def _ignore_upgrade(self) -> None:
        """Parse a request that offers an upgrade as if it didn't (RFC 9110, 7.8).

        llhttp takes the bytes after such a head for the other protocol.
        """
        rest = BodyParser(self)
        self._parser = HttpRequestParser(rest)
        rest.skip_head(self._parser, self.request)
