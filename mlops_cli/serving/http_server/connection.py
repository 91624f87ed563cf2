"""A client's connection: passes its requests to the service, and writes the responses."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, cast

from mlops_cli.serving.http_server.http import (
    TOO_MANY_CONNECTIONS,
    TOO_MANY_REQUESTS,
    Problem,
    Response,
    no_room,
    problem,
)
from mlops_cli.serving.http_server.request_parser import RequestParser

if TYPE_CHECKING:
    from mlops_cli.serving.http_server.heads import HttpRequest
    from mlops_cli.serving.http_server.protocol import ConnectionHost

__all__ = ["Connection"]

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
    server
        The server, with its limits.
    stopped
        Whether nothing more is read.
    partial_bytes
        Bytes of the incomplete request in the memory budget.
    """

    __slots__ = (
        "_current",
        "_current_since",
        "_delayed",
        "_held",
        "_linger_until",
        "_parser",
        "_queue",
        "_unread",
        "_write_paused",
        "partial_bytes",
        "server",
        "stopped",
        "transport",
        "waiting_since",
    )  # fmt: skip

    transport: asyncio.Transport

    def __init__(self, server: ConnectionHost[Connection]) -> None:
        self.server = server
        self._parser = RequestParser(self)
        # Bytes in the memory budget: of the incomplete request; of it and the queue; of responses.
        self.partial_bytes = self._held = self._unread = 0
        # Pipelined requests, which wait for the current one; a response is a refusal.
        self._queue: deque[HttpRequest | Response] = deque()
        self._current: HttpRequest | None = None
        self._current_since = 0.0
        self._write_paused = self.stopped = False
        self._delayed: Response | None = None
        self._linger_until = _NEVER
        self.waiting_since = server.now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or refuse it if there are too many."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has another base
        if not self.server.admit(self):
            self.stopped = True
            request = self._parser.request
            self.transport.write(
                self.server.encode_response(TOO_MANY_CONNECTIONS, request, keep_alive=False)
            )
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        """Free everything that the connection holds."""
        self.server.remove(self)
        self.stopped = True
        self._release()
        if self._current is not None and self._current.cancel is not None:
            self._current.cancel()
        self._parser.close()

    def eof_received(self) -> bool:
        """The client sends no more; returns whether the connection stays open for a response."""
        stays_open = not self.is_free or self._delayed is not None
        self.stopped = True
        self._drop_partial()
        return stays_open

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        if not self.stopped:
            self._parser.feed(data)

    def pause_writing(self) -> None:
        """Count the responses that the client doesn't read."""
        self._write_paused = True
        self.waiting_since = self.server.now
        self._unread = self.transport.get_write_buffer_size()
        self.server.budget.used_bytes += self._unread
        self.server.free_memory()

    def resume_writing(self) -> None:
        """Continue with the queue."""
        self._write_paused = False
        self.server.budget.used_bytes -= self._unread
        self._unread = 0
        self._process_next()

    @property
    def is_free(self) -> bool:
        """Whether no request is being processed or waits."""
        return self._current is None and not self._queue

    def accept(self, request: HttpRequest) -> None:
        """Process a complete request, or queue it behind the current one."""
        request.budget_bytes, self.partial_bytes = self.partial_bytes, 0
        if self.is_free and not self._write_paused:
            self._process(request)
        else:
            request.budget_bytes += _QUEUED_BYTES
            self._queue.append(request)
            self.transport.pause_reading()
            self.hold(_QUEUED_BYTES)
            self.partial_bytes = 0

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
            self.refuse(no_room())

    def hold(self, size: int) -> None:
        """Count bytes of the incomplete request in the memory budget."""
        self.partial_bytes += size
        self._held += size
        budget = self.server.budget
        budget.used_bytes += size
        if budget.used_bytes > budget.max_bytes:
            self.server.free_memory()

    def _drop_partial(self) -> None:
        """Free the bytes of a request that will not be completed."""
        self.server.budget.used_bytes -= self.partial_bytes
        self._held -= self.partial_bytes
        self.partial_bytes = 0
        self._parser.drop_body()

    def _release(self) -> None:
        """Free all bytes but those of the current request."""
        self.server.budget.used_bytes -= self._held + self._unread
        self.partial_bytes = self._held = self._unread = 0
        self._parser.drop_body()
        self._queue.clear()

    def _process(self, request: HttpRequest) -> None:
        self._current = request
        self._current_since = self.server.now
        self._held -= request.budget_bytes
        if request.refusal is None:
            self.server.handler.handle(request, self._respond)
        else:
            self._respond(request.refusal)

    def _respond(self, answer: Response) -> None:
        request, self._current = self._current, None
        if request is None:
            return
        self.server.budget.used_bytes -= request.budget_bytes
        if self._linger_until != _NEVER or self.transport.is_closing():
            return
        goes_on = request.keep_alive and not self.server.shutting_down
        self.transport.write(self.server.encode_response(answer, request, keep_alive=goes_on))
        self.waiting_since = self.server.now
        if not goes_on or (self.stopped and not self._queue and self._delayed is None):
            self.stopped = True
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

    def refuse(self, refusal: Problem | Response) -> None:
        """Refuse the incomplete request, in its turn; no further request is read."""
        if self.stopped:
            return
        self.stopped = True
        self._drop_partial()
        answer = problem(refusal) if isinstance(refusal, Problem) else refusal
        if self.is_free:
            self._respond_last(answer)
        else:
            self._queue.append(answer)

    def _respond_last(self, answer: Response) -> None:
        if answer.status == TOO_MANY_REQUESTS and self._delayed is None:
            self._delayed = answer  # sent at the next tick, to slow down the guessing of keys
            return
        request = self._parser.request
        self.transport.write(self.server.encode_response(answer, request, keep_alive=False))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._linger_until = time.monotonic() + _LINGER_SECONDS

    def drop_rank(self) -> int | None:
        """Order in which connections are dropped for a new one; None: not at all."""
        if self._linger_until != _NEVER or self._delayed is not None:
            return 0
        if self._write_paused or not self.is_free:
            return None
        waited = self.server.now - self.waiting_since
        if self._parser.idle:
            return 1 if waited > 0 else None
        return 2 if waited > _SLOW_SECONDS else None

    def check_timeouts(self) -> None:
        """Enforce the time limits; called every second."""
        now = self.server.now
        if now > self._linger_until or (
            self._write_paused and now > self.waiting_since + _IO_SECONDS
        ):
            self.abort()
        elif self._linger_until != _NEVER:
            return
        elif self._delayed is not None:
            self._respond_last(self._delayed)
        elif self._current is not None:
            if now > self._current_since + self.server.request_timeout:
                self._time_out(self._current)
        elif self._queue or self.stopped:
            return
        elif self._parser.idle:
            if now > self.waiting_since + _IDLE_SECONDS:
                self.transport.close()
        elif now > self.waiting_since + _IO_SECONDS:
            self.refuse(Problem(408, f"the request did not come in within {_IO_SECONDS:g} s"))

    def _time_out(self, request: HttpRequest) -> None:
        """Respond to a request that takes too long; its bytes in the budget aren't free yet."""
        self.stopped = True
        self._release()
        if request.cancel is not None:
            request.cancel()
        self._respond_last(problem(Problem(504, "the request was not answered in its time")))

    def close_if_idle(self) -> None:
        """Close the connection if it is idle; a busy one closes after its responses."""
        if self.is_free and self._parser.idle:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.stopped = True
        self.transport.abort()
