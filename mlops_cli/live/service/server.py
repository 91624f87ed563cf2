"""HTTP/1.1 in the event loop's own thread, for many small requests.

A request that is handed from thread to thread, or gets a task of its own, costs more than its
prediction. Here it doesn't: connections read, requests are parsed by httptools (llhttp, the parser
of Node.js), and the service is given whole ones. TLS and HTTP/2 are a reverse proxy's business.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import unquote

from httptools import (
    HttpParserError,
    HttpParserInvalidURLError,
    HttpParserUpgrade,
    HttpRequestParser,
    parse_url,
)

from mlops_cli.live.service.http import Answer, Problem, problem, too_large

if TYPE_CHECKING:
    import socket

__all__ = ["Server", "Whole"]

_BACKLOG = 2048
"""Connections that wait in the kernel."""
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
_TICK = 1.0


class Handler(Protocol):
    """What answers."""

    def take(self, request: Whole, reply: Callable[[Answer], None]) -> None:
        """Call ``reply`` with the answer, now or later."""


class Whole:
    """A request that has come in whole (see ``Request``)."""

    __slots__ = ("content", "headers", "keep", "method", "old", "path", "query")

    def __init__(self) -> None:
        self.method = self.path = self.query = ""
        self.headers: dict[bytes, bytes] = {}
        self.content = b""
        self.keep = self.old = False

    def header(self, name: str) -> str | None:
        """See ``Request.header``."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    async def body(self, most: int) -> bytes:  # noqa: ARG002 - the connection has seen to it
        """See ``Request.body``."""
        return self.content


class Server:
    """Connections of one listening socket.

    Parameters
    ----------
    most
        Bytes of the largest body.
    """

    def __init__(self, handler: Handler, most: int) -> None:
        self.handler = handler
        self.most = most
        self.ending = False
        self.connections: set[_Connection] = set()
        self.now = time.monotonic()
        self._left = asyncio.Event()
        self._heads: dict[tuple[int, str], bytes] = {}

    async def serve(self, listening: socket.socket, until: asyncio.Event, seconds: float) -> None:
        """Serve until the event is set; who has asked before is answered, for so many seconds."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: _Connection(self), sock=listening, backlog=_BACKLOG
        )
        ticking = loop.create_task(self._ticking())
        await until.wait()
        self.ending = True
        server.close()
        for connection in list(self.connections):
            connection.finish()
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._left.wait(), seconds)
        for connection in list(self.connections):
            connection.abort()
        ticking.cancel()

    def forget(self, connection: _Connection) -> None:
        """A connection is no more."""
        self.connections.discard(connection)
        if self.ending and not self.connections:
            self._left.set()

    def head(self, answer: Answer) -> bytes:
        """An answer's status line and headers up to the number of its bytes."""
        if not answer.headers:
            known = self._heads.get((answer.status, answer.kind))
            if known is not None:
                return known
        lines = [
            f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
            f"date: {formatdate(usegmt=True)}",
            *(f"{name}: {value}" for name, value in answer.headers),
            f"content-type: {answer.kind}",
            "content-length: ",
        ]
        made = "\r\n".join(lines).encode("latin-1")
        if not answer.headers:
            self._heads[answer.status, answer.kind] = made
        return made

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self.now = time.monotonic()
            self._heads.clear()  # they name the second
            for connection in list(self.connections):
                connection.look()


class _Connection(asyncio.Protocol):
    """A client's connection; its requests are answered in their order, one at a time."""

    __slots__ = (
        "_began", "_busy", "_full", "_idle", "_in_head", "_lingers", "_parser", "_parts", "_read",
        "_request", "_server", "_size", "_stopped", "_transport", "_url", "_waiting",
    )  # fmt: skip

    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser: Any = HttpRequestParser(self)
        self._request = Whole()
        self._parts: list[bytes] = []
        self._url = b""
        self._size = self._read = 0
        self._idle = self._in_head = True
        # Requests that are there while another one is answered; an answer is a refusal.
        self._waiting: deque[Whole | Answer] = deque()
        self._busy: Whole | None = None
        self._full = self._stopped = False
        self._lingers = float("inf")
        self._began = server.now

    # -- the transport's calls -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has another base
        self._server.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._server.forget(self)
        self._stopped = True
        self._waiting.clear()
        self._parser = None  # it holds this object

    def eof_received(self) -> bool:
        # Who has said all may still wait for an answer.
        waits = self._busy is not None or bool(self._waiting)
        self._stopped = True
        return waits

    def data_received(self, data: bytes) -> None:
        if self._stopped:
            return
        self._read += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            # No other protocol is spoken. The request is answered; what follows isn't one.
            self._stopped = True
        except HttpParserError as error:
            self._refuse(Problem(400, f"this is not HTTP/1.1: {error}"))
        if self._read > (_HEAD if self._in_head else _HEAD + _FRAMED * self._server.most):
            status = 431 if self._in_head else 413
            self._refuse(Problem(status, "the request is larger than what is taken"))

    def pause_writing(self) -> None:
        self._full = True
        self._began = self._server.now

    def resume_writing(self) -> None:
        self._full = False
        self._next()

    # -- the parser's calls ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._request, self._parts, self._url = Whole(), [], b""
        self._size = self._read = 0
        self._idle = False
        self._began = self._server.now

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._request.headers.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        headers = self._request.headers
        stated = headers.get(b"content-length", b"")
        if stated.isdigit() and int(stated) > self._server.most:
            self._refuse(too_large(self._server.most))
        elif headers.get(b"expect", b"").lower() == b"100-continue" and self._busy is None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._server.most:
            self._refuse(too_large(self._server.most))
        elif not self._stopped:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        self._idle, self._in_head, self._read = True, True, 0
        if self._stopped:
            return
        request = self._request
        request.method = self._parser.get_method().decode("latin-1")
        request.path, request.query = _target(self._url)
        request.content = b"".join(self._parts)
        request.keep = self._parser.should_keep_alive() and not self._parser.should_upgrade()
        request.old = self._parser.get_http_version() == "1.0"
        if self._busy is None and not self._full and not self._waiting:
            self._begin(request)
        else:
            self._waiting.append(request)
            self._transport.pause_reading()

    # -- requests and answers --------------------------------------------------------------

    def _begin(self, request: Whole) -> None:
        self._busy = request
        self._server.handler.take(request, self._answered)

    def _answered(self, answer: Answer) -> None:
        request, self._busy = self._busy, None
        if request is None or self._transport.is_closing():
            return
        goes_on = request.keep and not self._server.ending
        parts = [self._server.head(answer), b"%d" % len(answer.body)]
        if not goes_on:
            parts.append(b"\r\nconnection: close")
        elif request.old:
            parts.append(b"\r\nconnection: keep-alive")
        parts.append(b"\r\n\r\n")
        if request.method != "HEAD":
            parts.append(answer.body)
        self._transport.write(b"".join(parts))
        self._began = self._server.now
        if not goes_on or (self._stopped and not self._waiting):
            self._transport.close()
        elif self._waiting:
            # Not from here: many that are answered at once would go deep.
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if not self._waiting or self._busy is not None or self._full:
            return
        one = self._waiting.popleft()
        if isinstance(one, Answer):
            self._end_with(one)
            return
        if not self._waiting:
            self._transport.resume_reading()
        self._begin(one)

    def _refuse(self, error: Problem) -> None:
        """Answer what can't be taken, when its turn comes; nothing more is read as a request."""
        if self._stopped:
            return
        self._stopped = True
        if self._busy is None and not self._waiting:
            self._end_with(problem(error))
        else:
            self._waiting.append(problem(error))

    def _end_with(self, answer: Answer) -> None:
        length = b"%d\r\nconnection: close\r\n\r\n" % len(answer.body)
        self._transport.write(self._server.head(answer) + length + answer.body)
        self._transport.write_eof()
        self._lingers = time.monotonic() + _LINGER

    # -- time ------------------------------------------------------------------------------

    def look(self) -> None:
        """End what takes too long; called every second."""
        now = self._server.now
        if now > self._lingers or (self._full and now > self._began + _PATIENCE):
            self.abort()
        elif self._busy is not None or self._waiting or self._stopped:
            return
        elif self._idle:
            if now > self._began + _IDLE:
                self._transport.close()
        elif now > self._began + _PATIENCE:
            self._refuse(Problem(408, f"the request did not come in within {_PATIENCE:g} s"))

    def finish(self) -> None:
        """Close when what was asked is answered."""
        if self._busy is None and not self._waiting and self._idle:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()


def _target(url: bytes) -> tuple[str, str]:
    """Path and query of what was asked for, which may be a whole URL."""
    if not url.startswith(b"/"):
        with suppress(HttpParserInvalidURLError):
            whole = parse_url(url)
            url = b"?".join(part for part in (whole.path, whole.query) if part is not None)
    path, _, query = url.partition(b"?")
    return unquote(path.decode("latin-1")), query.decode("latin-1")
