"""HTTP/1.1 in the event loop's own thread, for many small requests.

A request that is handed from thread to thread, or gets a task of its own, costs more than its
prediction. Here it doesn't: connections read, requests are parsed by httptools (llhttp, the parser
of Node.js), and the service is given whole ones. TLS and HTTP/2 are a reverse proxy's business.
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
"""Connections that wait in the kernel."""
_FILES = 64
"""Open files that are not connections: databases, what is spilled, libraries."""
_MORE = 2.0
"""Seconds that a request may be at work beyond its limit; the service answers before."""
_TICK = 1.0


class Server:
    """Connections of one listening socket.

    Parameters
    ----------
    most
        Bytes of the largest body.
    budget
        Bytes that all connections may hold together.
    connections
        How many there may be; fewer where the system's limit of open files is lower.
    seconds
        After which a request is given up.

    Attributes
    ----------
    now
        The time of the last tick, which is exact enough for what takes too long.
    """

    def __init__(
        self,
        handler: Handler,
        most: int,
        budget: MemoryBudget,
        connections: int = 1_000,
        seconds: float = 10.0,
    ) -> None:
        self.handler = handler
        self.most = most
        self.budget = budget
        self.patience = seconds + _MORE
        self.ending = False
        self.connections: set[Connection] = set()
        self.now = time.monotonic()
        self._left = asyncio.Event()
        self._heads: dict[tuple[int, str], bytes] = {}
        self._backlog, self._places = _places(connections)

    async def serve(self, listening: socket.socket, until: asyncio.Event, seconds: float) -> None:
        """Serve until the event is set; who has asked before is answered, for so many seconds."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(self), sock=listening, backlog=self._backlog
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

    def admit(self, connection: Connection) -> bool:
        """Whether a new connection may stay; those that do nothing are given up for it."""
        if len(self.connections) >= self._places:
            self._give_up_quiet()
            if len(self.connections) >= self._places:
                return False
        self.connections.add(connection)
        return True

    def forget(self, connection: Connection) -> None:
        """A connection is no more."""
        self.connections.discard(connection)
        if self.ending and not self.connections:
            self._left.set()

    def make_room(self) -> None:
        """Refuse the largest requests that aren't whole yet, until the budget holds.

        So a small request finds room where others have sent much of a large body and wait. Answers
        that nobody reads count likewise.
        """
        while not self.budget.fits:
            largest = max(self.connections, key=Connection.pending, default=None)
            if largest is None or not largest.pending():
                return
            largest.give_room()

    def written(self, answer: Response, request: HttpRequest, *, goes_on: bool) -> bytes:
        """An answer as it is sent; then the connection goes on, or ends."""
        parts = [self._head(answer), b"%d" % len(answer.body)]
        if not goes_on:
            parts.append(b"\r\nconnection: close")
        elif request.old:
            parts.append(b"\r\nconnection: keep-alive")
        parts.append(b"\r\n\r\n")
        if request.method != "HEAD":
            parts.append(answer.body)
        return b"".join(parts)

    def _head(self, answer: Response) -> bytes:
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

    def _give_up_quiet(self) -> None:
        """Close connections that wait for nothing of ours: refused, idle, then slow ones.

        Several at once, so that a flood of new ones doesn't look through all of them each time.
        """
        quiet = [
            (rank, connection.since, number, connection)
            for number, connection in enumerate(self.connections)
            if (rank := connection.rank()) is not None
        ]
        for *_, connection in heapq.nsmallest(max(1, self._places // 16), quiet):
            self.connections.discard(connection)
            connection.abort()

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self.now = time.monotonic()
            self._heads.clear()  # they name the second
            for connection in list(self.connections):
                connection.look()


def _places(connections: int) -> tuple[int, int]:
    """How many connections may wait in the kernel, and how many there may be.

    All that wait are accepted at once, so both have to be below the limit of open files.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:
        return _BACKLOG, connections
    free = max(8, limit - _FILES)
    backlog = min(_BACKLOG, free // 4)
    return backlog, max(1, min(connections, free - backlog))
