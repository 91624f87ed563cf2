"""A client's connection: parses requests and writes the responses to them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, cast

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
from mlops_cli.serving.http_server.http import (
    TOO_MANY_CONNECTIONS,
    TOO_MANY_REQUESTS,
    Problem,
    Response,
    no_room,
    problem,
    too_large,
)

if TYPE_CHECKING:
    from mlops_cli.serving.http_server.protocol import ConnectionHost

__all__ = ["Connection"]

_HEAD_BYTES = 65_536
"""Most bytes of a request line and its headers, or of trailers."""
_CHUNKED_GROWTH = 8
"""Size of a request sent in chunks, as a multiple of the body limit."""
_IO_SECONDS = 60.0
"""Seconds within which a request must arrive, and a response must be read."""
_IDLE_SECONDS = 75.0
"""Seconds for which a connection without a request is kept open."""
_LINGER_SECONDS = 2.0
"""Seconds for which the rest of a refused request is read: a client that is cut off while sending
doesn't see the response."""
_SLOW_SECONDS = 2.0
"""Seconds after which an incomplete request may be dropped for a new connection."""
_QUEUED_BYTES = 2_048
"""Bytes that a pipelined request counts in the memory budget, in addition to its body."""
_NEVER = float("inf")


class Connection(asyncio.Protocol):
    """A client's connection; its requests are processed in their order, one at a time.

    Attributes
    ----------
    transport
        The transport to the client.
    waiting_since
        Time from which the client is waited for: of its last request, response or pause.
    """

    __slots__ = (
        "_body",
        "_body_size",
        "_current",
        "_current_since",
        "_delayed",
        "_held",
        "_idle",
        "_in_head",
        "_linger_until",
        "_parser",
        "_partial",
        "_queue",
        "_received",
        "_request",
        "_server",
        "_stopped",
        "_trailing",
        "_unread",
        "_url",
        "_write_paused",
        "transport",
        "waiting_since",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: ConnectionHost[Connection]) -> None:
        self._server = server
        self._parser: Any = HttpRequestParser(self)
        self._request = HttpRequest(self)
        self._body: bytes | bytearray = b""
        self._url = b""
        self._body_size = self._received = self._trailing = 0
        # Bytes in the memory budget: of the incomplete request; of it and the queue; of responses.
        self._partial = self._held = self._unread = 0
        self._idle = self._in_head = True
        # Pipelined requests, which wait for the current one; a response is a refusal.
        self._queue: deque[HttpRequest | Response] = deque()
        self._current: HttpRequest | None = None
        self._current_since = 0.0
        self._write_paused = self._stopped = False
        self._delayed: Response | None = None
        self._linger_until = _NEVER
        self.waiting_since = server.now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or refuse it if there are too many."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has another base
        if not self._server.admit(self):
            self._stopped = True
            self.transport.write(
                self._server.encode_response(TOO_MANY_CONNECTIONS, self._request, keep_alive=False)
            )
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """Free everything that the connection holds."""
        self._server.remove(self)
        self._stopped = True
        self._release()
        if self._current is not None and self._current.cancel is not None:
            self._current.cancel()
        # Both refer to this object: break the cycles.
        self._parser, self._request = None, cast("HttpRequest", None)

    def eof_received(self) -> bool:
        """The client sends no more; returns whether the connection stays open for a response."""
        stays_open = self._current is not None or bool(self._queue) or self._delayed is not None
        self._stopped = True
        self._drop_partial()
        return stays_open

    def data_received(self, data: bytes) -> None:
        """Parse received bytes, and enforce the size limits."""
        if self._stopped:
            return
        self._received += len(data)
        size_before = self._body_size
        self._feed(data)
        if self._idle:
            self._received = 0
            return
        if self._stopped:
            return
        if self._in_head:
            if len(self._request.headers) > MAX_HEADERS:
                self._refuse(many_headers())
                return
            self._hold(max(self._received, len(data)) - self._partial)
        elif self._body_size == size_before:
            # Trailers of a body in chunks, which are ignored.
            self._trailing += len(data)
        else:
            self._trailing = 0  # the bytes before were the framing of a chunk
        if self._received > (
            _HEAD_BYTES
            if self._in_head
            else _HEAD_BYTES + _CHUNKED_GROWTH * self._server.max_body_bytes
        ):
            status = 431 if self._in_head else 413
            self._refuse(Problem(status, "the request is larger than what is taken"))
        elif self._trailing > _HEAD_BYTES:
            self._refuse(Problem(431, "the request's trailers are larger than what is taken"))

    def pause_writing(self) -> None:
        """Count the responses that the client doesn't read."""
        self._write_paused = True
        self.waiting_since = self._server.now
        self._unread = self.transport.get_write_buffer_size()
        self._server.budget.used_bytes += self._unread
        self._server.free_memory()

    def resume_writing(self) -> None:
        """Continue with the queue."""
        self._write_paused = False
        self._server.budget.used_bytes -= self._unread
        self._unread = 0
        self._process_next()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._request, self._body, self._url = HttpRequest(self), b"", b""
        self._body_size = self._trailing = 0
        self._idle = False
        self.waiting_since = self._server.now

    def on_url(self, url: bytes) -> None:
        """Add a part of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header."""
        if not self._in_head:
            return  # a trailer
        name, headers = name.lower(), self._request.headers
        if name in headers:
            self._request.add_repeated_header(name, value)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """Check the head, and refuse the request if it is invalid or not permitted."""
        self._in_head = False
        if self._stopped:
            return
        parser, request = self._parser, self._request
        version, headers = parser.get_http_version(), request.headers
        request.method = parser.get_method().decode("latin-1")
        if version != "1.1":
            request.is_http_1_0 = version == "1.0"
        fault = many_headers() if len(headers) > MAX_HEADERS else head_fault(request, version)
        if fault is not None:
            self._refuse(fault)
            return
        request.path, request.query = request_target(self._url, headers)
        answer = self._server.handler.refusal(request)
        if (
            answer is None
            and int(headers.get(b"content-length", b"0")) > self._server.max_body_bytes
        ):
            self._refuse(too_large(self._server.max_body_bytes))
        elif answer is None:
            if b"expect" in headers and self._current is None and not self._queue:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif answer.status == TOO_MANY_REQUESTS or request.has_body:
            self._refuse(answer)
        else:
            request.refusal = answer

    def on_body(self, body: bytes) -> None:
        """Add a part of the body."""
        if self._stopped:
            return
        self._body_size += len(body)
        if self._body_size > self._server.max_body_bytes:
            self._refuse(too_large(self._server.max_body_bytes))
            return
        if self._request.method != "POST":
            return  # no route reads the body of another method
        if not self._body:
            self._body = body
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body
        self._hold(len(body))

    def on_message_complete(self) -> None:
        """Process the request, or queue it behind the current one."""
        parser = self._parser
        if parser.should_upgrade():
            return  # see _ignore_upgrade
        self._idle, self._in_head, self._received = True, True, 0
        if self._stopped:
            return
        request = self._request
        request.content = bytes(self._body)
        self._body = b""
        request.budget_bytes, self._partial = self._partial, 0
        request.keep_alive = parser.should_keep_alive()
        if self._current is None and not self._write_paused and not self._queue:
            self._process(request)
        else:
            request.budget_bytes += _QUEUED_BYTES
            self._queue.append(request)
            self.transport.pause_reading()
            self._hold(_QUEUED_BYTES)
            self._partial = 0

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self._stopped:
                    return
                data = memoryview(data)[upgrade.args[0] :]
                self._ignore_upgrade()
                continue
            except HttpParserCallbackError:
                self._refuse(Problem(500, "the request can't be taken"))
            except HttpParserError as error:
                self._refuse(Problem(400, f"this is not HTTP/1.1: {error}"))
            return

    def _ignore_upgrade(self) -> None:
        """Parse a request that offers an upgrade as if it didn't (RFC 9110, 7.8).

        llhttp takes the bytes after such a head for the other protocol.
        """
        rest = BodyParser(self)
        self._parser = HttpRequestParser(rest)
        rest.skip_head(self._parser, self._request)

    def pending_bytes(self) -> int:
        """Bytes in the memory budget that depend on the client."""
        return self._held + self._unread

    def drop_pending(self) -> None:
        """Free the client's bytes, and refuse its request or close the connection."""
        if self._unread:
            self._release()
            self.abort()
        else:
            self._release()
            self._refuse(no_room())

    def _hold(self, size: int) -> None:
        self._partial += size
        self._held += size
        budget = self._server.budget
        budget.used_bytes += size
        if budget.used_bytes > budget.max_bytes:
            self._server.free_memory()

    def _drop_partial(self) -> None:
        """Free the bytes of a request that will not be completed."""
        self._server.budget.used_bytes -= self._partial
        self._held -= self._partial
        self._partial, self._body = 0, b""

    def _release(self) -> None:
        """Free all bytes but those of the current request."""
        self._server.budget.used_bytes -= self._held + self._unread
        self._partial = self._held = self._unread = 0
        self._body = b""
        self._queue.clear()

    def _process(self, request: HttpRequest) -> None:
        self._current = request
        self._current_since = self._server.now
        self._held -= request.budget_bytes
        if request.refusal is None:
            self._server.handler.handle(request, self._respond)
        else:
            self._respond(request.refusal)

    def _respond(self, answer: Response) -> None:
        request, self._current = self._current, None
        if request is None:
            return
        self._server.budget.used_bytes -= request.budget_bytes
        if self._linger_until != _NEVER or self.transport.is_closing():
            return
        goes_on = request.keep_alive and not self._server.shutting_down
        self.transport.write(self._server.encode_response(answer, request, keep_alive=goes_on))
        self.waiting_since = self._server.now
        if not goes_on or (self._stopped and not self._queue and self._delayed is None):
            self._stopped = True
            self.transport.close()
        elif self._queue:
            # Not called directly: many immediate responses would recurse deeply.
            asyncio.get_running_loop().call_soon(self._process_next)

    def _process_next(self) -> None:
        if not self._queue or self._current is not None or self._write_paused:
            return
        queued = self._queue.popleft()
        if isinstance(queued, Response):
            self._respond_last(queued)
            return
        if not self._queue:
            self.transport.resume_reading()
        self._process(queued)

    def _refuse(self, refusal: Problem | Response) -> None:
        """Refuse the incomplete request, in its turn; no further request is read."""
        if self._stopped:
            return
        self._stopped = True
        self._drop_partial()
        answer = problem(refusal) if isinstance(refusal, Problem) else refusal
        if self._current is None and not self._queue:
            self._respond_last(answer)
        else:
            self._queue.append(answer)

    def _respond_last(self, answer: Response) -> None:
        if answer.status == TOO_MANY_REQUESTS and self._delayed is None:
            self._delayed = answer  # sent at the next tick, to slow down the guessing of keys
            return
        self.transport.write(self._server.encode_response(answer, self._request, keep_alive=False))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._linger_until = time.monotonic() + _LINGER_SECONDS

    def drop_rank(self) -> int | None:
        """Order in which connections are dropped for a new one; None: not at all."""
        if self._linger_until != _NEVER or self._delayed is not None:
            return 0
        if self._current is not None or self._queue or self._write_paused:
            return None
        waited = self._server.now - self.waiting_since
        if self._idle:
            return 1 if waited > 0 else None
        return 2 if waited > _SLOW_SECONDS else None

    def check_timeouts(self) -> None:
        """Enforce the time limits; called every second."""
        now = self._server.now
        if now > self._linger_until or (
            self._write_paused and now > self.waiting_since + _IO_SECONDS
        ):
            self.abort()
        elif self._linger_until != _NEVER:
            return
        elif self._delayed is not None:
            self._respond_last(self._delayed)
        elif self._current is not None:
            if now > self._current_since + self._server.request_timeout:
                self._time_out(self._current)
        elif self._queue or self._stopped:
            return
        elif self._idle:
            if now > self.waiting_since + _IDLE_SECONDS:
                self.transport.close()
        elif now > self.waiting_since + _IO_SECONDS:
            self._refuse(Problem(408, f"the request did not come in within {_IO_SECONDS:g} s"))

    def _time_out(self, request: HttpRequest) -> None:
        """Respond to a request that takes too long; its bytes in the budget aren't free yet."""
        self._stopped = True
        self._release()
        if request.cancel is not None:
            request.cancel()
        self._respond_last(problem(Problem(504, "the request was not answered in its time")))

    def close_if_idle(self) -> None:
        """Close the connection if it is idle; a busy one closes after its responses."""
        if self._current is None and not self._queue and self._idle:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._stopped = True
        self.transport.abort()
