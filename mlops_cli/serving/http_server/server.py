"""HTTP/1.1 server in the event loop's thread, for many small requests.

Handing a request from thread to thread, or a task for each, would cost more than the prediction.
So connections parse requests directly with httptools (llhttp, the parser of Node.js), and pass
complete requests to the service. TLS and HTTP/2 are left to a reverse proxy.
"""

from __future__ import annotations

import asyncio
import heapq
import resource
import time
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from mlops_cli.serving.http_server.connection import Connection

if TYPE_CHECKING:
    import socket

    from mlops_cli.serving.http_server.heads import HttpRequest
    from mlops_cli.serving.http_server.http import MemoryBudget, Response
    from mlops_cli.serving.http_server.protocol import Handler

__all__ = ["Server"]

_BACKLOG = 2048
"""Connections that may wait in the kernel to be accepted."""
_RESERVED_FILES = 64
"""Open files reserved for other uses than connections: databases, spill files, libraries."""
_GRACE_SECONDS = 2.0
"""Seconds that a request may take beyond its time limit; normally the service responds before."""
_TICK_SECONDS = 1.0


class Server:
    """Server for one listening socket, and its connections.

    Parameters
    ----------
    max_body_bytes
        Most bytes of a body.
    budget
        Memory budget of all connections together.
    max_connections
        Most connections; fewer if the system's limit of open files is lower.
    request_seconds
        Time limit of a request.

    Attributes
    ----------
    now
        The time of the last tick, which is exact enough for time limits.
    """

    def __init__(
        self,
        handler: Handler,
        max_body_bytes: int,
        budget: MemoryBudget,
        max_connections: int = 1_000,
        request_seconds: float = 10.0,
    ) -> None:
        self.handler = handler
        self.max_body_bytes = max_body_bytes
        self.budget = budget
        self.request_timeout = request_seconds + _GRACE_SECONDS
        self.shutting_down = False
        self.connections: set[Connection] = set()
        self.now = time.monotonic()
        self._all_closed = asyncio.Event()
        self._heads: dict[tuple[int, str], bytes] = {}
        self._backlog, self._max_connections = _connection_limits(max_connections)

    async def serve(
        self, listening: socket.socket, stop: asyncio.Event, grace_seconds: float
    ) -> None:
        """Serve until ``stop`` is set; then finish pending requests, within ``grace_seconds``."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(self), sock=listening, backlog=self._backlog
        )
        ticker = loop.create_task(self._tick())
        await stop.wait()
        self.shutting_down = True
        server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), grace_seconds)
        for connection in list(self.connections):
            connection.abort()
        ticker.cancel()

    def admit(self, connection: Connection) -> bool:
        """Whether a new connection is accepted; inactive ones may be dropped for it."""
        if len(self.connections) >= self._max_connections:
            self._drop_inactive()
            if len(self.connections) >= self._max_connections:
                return False
        self.connections.add(connection)
        return True

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection."""
        self.connections.discard(connection)
        if self.shutting_down and not self.connections:
            self._all_closed.set()

    def free_memory(self) -> None:
        """Refuse the largest incomplete requests, until the memory budget is kept.

        So a small request gets memory while others have sent part of a large body and stall.
        Responses that nobody reads count in the same way.
        """
        while not self.budget.within_limit:
            largest = max(self.connections, key=Connection.pending_bytes, default=None)
            if largest is None or not largest.pending_bytes():
                return
            largest.drop_pending()

    def encode_response(
        self, response: Response, request: HttpRequest, *, keep_alive: bool
    ) -> bytes:
        """The bytes of a response; with ``keep_alive``, the connection stays open after it."""
        parts = [self._head(response), b"%d" % len(response.body)]
        if not keep_alive:
            parts.append(b"\r\nconnection: close")
        elif request.is_http_1_0:
            parts.append(b"\r\nconnection: keep-alive")
        parts.append(b"\r\n\r\n")
        if request.method != "HEAD":
            parts.append(response.body)
        return b"".join(parts)

    def _head(self, response: Response) -> bytes:
        """A response's status line and headers, up to the value of content-length."""
        if not response.headers:
            head = self._heads.get((response.status, response.content_type))
            if head is not None:
                return head
        lines = [
            f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
            f"date: {formatdate(usegmt=True)}",
            *(f"{name}: {value}" for name, value in response.headers),
            f"content-type: {response.content_type}",
            "content-length: ",
        ]
        head = "\r\n".join(lines).encode("latin-1")
        if not response.headers:
            self._heads[response.status, response.content_type] = head
        return head

    def _drop_inactive(self) -> None:
        """Close connections that wait for no response: refused, idle, then slow ones.

        Several at once, so that a flood of new connections doesn't scan all of them each time.
        """
        inactive = [
            (rank, connection.waiting_since, number, connection)
            for number, connection in enumerate(self.connections)
            if (rank := connection.drop_rank()) is not None
        ]
        for *_, connection in heapq.nsmallest(max(1, self._max_connections // 16), inactive):
            self.connections.discard(connection)
            connection.abort()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.now = time.monotonic()
            self._heads.clear()  # they contain the date
            for connection in list(self.connections):
                connection.check_timeouts()


def _connection_limits(connections: int) -> tuple[int, int]:
    """Size of the kernel's backlog, and the most connections.

    All waiting connections are accepted at once, so both together must stay below the limit of open
    files.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return _BACKLOG, connections
    free = max(8, limit - _RESERVED_FILES)
    backlog = min(_BACKLOG, free // 4)
    return backlog, max(1, min(connections, free - backlog))
