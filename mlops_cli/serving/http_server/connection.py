"""A client's connection: its requests, and the answers to them."""

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
    FIELDS,
    BodyParser,
    HttpRequest,
    head_fault,
    many_headers,
    request_target,
)
from mlops_cli.serving.http_server.http import (
    FULL,
    TOO_MANY,
    Problem,
    Response,
    no_room,
    problem,
    too_large,
)

if TYPE_CHECKING:
    from mlops_cli.serving.http_server.protocol import ConnectionHost

__all__ = ["Connection"]

_HEAD = 65_536
"""Bytes of a request's line and headers."""
_FRAMED = 8
"""How much more than its body a request sent in chunks may be."""
_PATIENCE = 60.0
"""Seconds in which a request must have come in, and an answer must have been read."""
_IDLE = 75.0
"""Seconds for which a connection without a request is kept."""
_LINGER = 2.0
"""Seconds in which what still comes of a refused request is read: who is cut off while sending
doesn't get to see the answer."""
_SLOW = 2.0
"""Seconds after which a request that isn't whole may be given up for a new connection."""
_QUEUED = 2_048
"""Bytes for which a request counts that waits for the one before it, beside its body."""
_NEVER = float("inf")


class Connection(asyncio.Protocol):
    """A client's connection; its requests are answered in their order, one at a time.

    Attributes
    ----------
    transport
        To the client.
    since
        When the last thing happened that a client is waited for.
    """

    __slots__ = (
        "_body", "_busy", "_busy_since", "_full", "_held", "_idle", "_in_head", "_late", "_lingers",
        "_parser", "_part", "_read", "_request", "_server", "_size", "_still", "_stopped",
        "_unread", "_url", "_waiting", "since", "transport",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: ConnectionHost[Connection]) -> None:
        self._server = server
        self._parser: Any = HttpRequestParser(self)
        self._request = HttpRequest(self)
        self._body: bytes | bytearray = b""
        self._url = b""
        self._size = self._read = self._still = 0
        # Bytes that count: of the request that isn't whole, also of those that wait, of answers.
        self._part = self._held = self._unread = 0
        self._idle = self._in_head = True
        # Requests that are there while another one is answered; an answer is a refusal.
        self._waiting: deque[HttpRequest | Response] = deque()
        self._busy: HttpRequest | None = None
        self._busy_since = 0.0
        self._full = self._stopped = False
        self._late: Response | None = None
        self._lingers = _NEVER
        self.since = server.now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or say that there are too many."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has another base
        if not self._server.admit(self):
            self._stopped = True
            self.transport.write(self._server.written(FULL, self._request, goes_on=False))
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """Hold nothing any more."""
        self._server.forget(self)
        self._stopped = True
        self._let_go()
        if self._busy is not None and self._busy.leave is not None:
            self._busy.leave()
        # They hold this object, and are needed no more.
        self._parser, self._request = None, cast("HttpRequest", None)

    def eof_received(self) -> bool:
        """Read no more; whether the connection stays open for an answer."""
        waits = self._busy is not None or bool(self._waiting) or self._late is not None
        self._stopped = True
        self._drop_part()
        return waits

    def data_received(self, data: bytes) -> None:
        """Take what has come in."""
        if self._stopped:
            return
        self._read += len(data)
        before = self._size
        self._feed(data)
        if self._idle:
            self._read = 0
            return
        if self._stopped:
            return
        if self._in_head:
            if len(self._request.headers) > FIELDS:
                self._refuse(many_headers())
                return
            self._hold(max(self._read, len(data)) - self._part)
        elif self._size == before:
            # Ends of a body in chunks (trailers), which nobody reads.
            self._still += len(data)
        else:
            self._still = 0  # what came before was the frame of a chunk
        if self._read > (_HEAD if self._in_head else _HEAD + _FRAMED * self._server.most):
            status = 431 if self._in_head else 413
            self._refuse(Problem(status, "the request is larger than what is taken"))
        elif self._still > _HEAD:
            self._refuse(Problem(431, "the request's trailers are larger than what is taken"))

    def pause_writing(self) -> None:
        """Count the answers that the client doesn't read."""
        self._full = True
        self.since = self._server.now
        self._unread = self.transport.get_write_buffer_size()
        self._server.budget.held += self._unread
        self._server.make_room()

    def resume_writing(self) -> None:
        """Go on with what waits."""
        self._full = False
        self._server.budget.held -= self._unread
        self._unread = 0
        self._next()

    def on_message_begin(self) -> None:
        """Begin a request."""
        self._request, self._body, self._url = HttpRequest(self), b"", b""
        self._size = self._still = 0
        self._idle = False
        self.since = self._server.now

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if not self._in_head:
            return  # a trailer
        name, headers = name.lower(), self._request.headers
        if name in headers:
            self._request.repeat(name, value)
        else:
            headers[name] = value

    def on_headers_complete(self) -> None:
        """Refuse what can be refused by its head."""
        self._in_head = False
        if self._stopped:
            return
        parser, request = self._parser, self._request
        version, headers = parser.get_http_version(), request.headers
        request.method = parser.get_method().decode("latin-1")
        if version != "1.1":
            request.old = version == "1.0"
        fault = many_headers() if len(headers) > FIELDS else head_fault(request, version)
        if fault is not None:
            self._refuse(fault)
            return
        request.path, request.query = request_target(self._url, headers)
        answer = self._server.handler.refusal(request)
        if answer is None and int(headers.get(b"content-length", b"0")) > self._server.most:
            self._refuse(too_large(self._server.most))
        elif answer is None:
            if b"expect" in headers and self._busy is None and not self._waiting:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif answer.status == TOO_MANY or request.has_body:
            self._refuse(answer)
        else:
            request.answer = answer

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        if self._stopped:
            return
        self._size += len(body)
        if self._size > self._server.most:
            self._refuse(too_large(self._server.most))
            return
        if self._request.method != "POST":
            return  # a body that no path of ours looks at
        if not self._body:
            self._body = body
        else:
            if isinstance(self._body, bytes):
                self._body = bytearray(self._body)
            self._body += body
        self._hold(len(body))

    def on_message_complete(self) -> None:
        """Have the request answered, when its turn comes."""
        parser = self._parser
        if parser.should_upgrade():
            return  # see _without_upgrade
        self._idle, self._in_head, self._read = True, True, 0
        if self._stopped:
            return
        request = self._request
        request.content = bytes(self._body)
        self._body = b""
        request.held, self._part = self._part, 0
        request.keep = parser.should_keep_alive()
        if self._busy is None and not self._full and not self._waiting:
            self._begin(request)
        else:
            request.held += _QUEUED
            self._waiting.append(request)
            self.transport.pause_reading()
            self._hold(_QUEUED)
            self._part = 0

    def _feed(self, data: bytes | memoryview) -> None:
        while True:
            try:
                self._parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                if self._stopped:
                    return
                data = memoryview(data)[upgrade.args[0] :]
                self._without_upgrade()
                continue
            except HttpParserCallbackError:
                self._refuse(Problem(500, "the request can't be taken"))
            except HttpParserError as error:
                self._refuse(Problem(400, f"this is not HTTP/1.1: {error}"))
            return

    def _without_upgrade(self) -> None:
        """Go on with a request that offers another protocol as if it didn't (RFC 9110, 7.8).

        llhttp takes what comes after such a head for the other protocol.
        """
        rest = BodyParser(self)
        self._parser = HttpRequestParser(rest)
        rest.skip_head(self._parser, self._request)

    def pending(self) -> int:
        """Bytes that the client keeps us holding."""
        return self._held + self._unread

    def give_room(self) -> None:
        """Hold nothing more for the client."""
        if self._unread:
            self._let_go()
            self.abort()
        else:
            self._let_go()
            self._refuse(no_room())

    def _hold(self, size: int) -> None:
        self._part += size
        self._held += size
        budget = self._server.budget
        budget.held += size
        if budget.held > budget.most:
            self._server.make_room()

    def _drop_part(self) -> None:
        """Hold nothing of a request that isn't whole and won't be."""
        self._server.budget.held -= self._part
        self._held -= self._part
        self._part, self._body = 0, b""

    def _let_go(self) -> None:
        """Hold nothing but the request at work."""
        self._server.budget.held -= self._held + self._unread
        self._part = self._held = self._unread = 0
        self._body = b""
        self._waiting.clear()

    def _begin(self, request: HttpRequest) -> None:
        self._busy = request
        self._busy_since = self._server.now
        self._held -= request.held
        if request.answer is None:
            self._server.handler.take(request, self._answered)
        else:
            self._answered(request.answer)

    def _answered(self, answer: Response) -> None:
        request, self._busy = self._busy, None
        if request is None:
            return
        self._server.budget.held -= request.held
        if self._lingers != _NEVER or self.transport.is_closing():
            return
        goes_on = request.keep and not self._server.ending
        self.transport.write(self._server.written(answer, request, goes_on=goes_on))
        self.since = self._server.now
        if not goes_on or (self._stopped and not self._waiting and self._late is None):
            self._stopped = True
            self.transport.close()
        elif self._waiting:
            # Not from here: many that are answered at once would go deep.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if not self._waiting or self._busy is not None or self._full:
            return
        one = self._waiting.popleft()
        if isinstance(one, Response):
            self._end_with(one)
            return
        if not self._waiting:
            self.transport.resume_reading()
        self._begin(one)

    def _refuse(self, refusal: Problem | Response) -> None:
        """Answer what can't be taken, when its turn comes; nothing more is read as a request."""
        if self._stopped:
            return
        self._stopped = True
        self._drop_part()
        answer = problem(refusal) if isinstance(refusal, Problem) else refusal
        if self._busy is None and not self._waiting:
            self._end_with(answer)
        else:
            self._waiting.append(answer)

    def _end_with(self, answer: Response) -> None:
        if answer.status == TOO_MANY and self._late is None:
            self._late = answer  # at the next tick, so that guessing takes its time
            return
        self.transport.write(self._server.written(answer, self._request, goes_on=False))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._lingers = time.monotonic() + _LINGER

    def rank(self) -> int | None:
        """How soon the connection is given up for a new one; None: not at all."""
        if self._lingers != _NEVER or self._late is not None:
            return 0
        if self._busy is not None or self._waiting or self._full:
            return None
        waited = self._server.now - self.since
        if self._idle:
            return 1 if waited > 0 else None
        return 2 if waited > _SLOW else None

    def look(self) -> None:
        """End what takes too long; called every second."""
        now = self._server.now
        if now > self._lingers or (self._full and now > self.since + _PATIENCE):
            self.abort()
        elif self._lingers != _NEVER:
            return
        elif self._late is not None:
            self._end_with(self._late)
        elif self._busy is not None:
            if now > self._busy_since + self._server.patience:
                self._give_up(self._busy)
        elif self._waiting or self._stopped:
            return
        elif self._idle:
            if now > self.since + _IDLE:
                self.transport.close()
        elif now > self.since + _PATIENCE:
            self._refuse(Problem(408, f"the request did not come in within {_PATIENCE:g} s"))

    def _give_up(self, request: HttpRequest) -> None:
        """End a request that is at work for too long; its place in the budget isn't free yet."""
        self._stopped = True
        self._let_go()
        if request.leave is not None:
            request.leave()
        self._end_with(problem(Problem(504, "the request was not answered in its time")))

    def finish(self) -> None:
        """Close when what was asked is answered."""
        if self._busy is None and not self._waiting and self._idle:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._stopped = True
        self.transport.abort()
