"""The service's own HTTP server, byte for byte, with a handler that answers what it got."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from mlops_cli.live.service.heads import Whole
from mlops_cli.live.service.http import Answer, Budget, Problem, problem
from mlops_cli.live.service.server import Server

MOST = 100_000
CLOSE = b"connection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


class Echo:
    """Answers method, path, query and body; a path that begins with /late a moment later.

    /never isn't answered at all, and /closed is refused by its head.
    """

    def __init__(self) -> None:
        self.left: list[str] = []

    def refusal(self, request: Whole) -> Answer | None:
        """See ``Handler.refusal``."""
        if request.path.startswith("/closed"):
            return problem(Problem(429 if "429" in request.path else 401, "the key is missing"))
        return None

    def take(self, request: Whole, reply: Callable[[Answer], None]) -> None:
        """See ``Handler.take``."""
        text = f"{request.method} {request.path}?{request.query} ".encode() + request.content
        answer = Answer(200, text, "text/plain")
        if request.path.startswith("/never"):
            request.leave = lambda: self.left.append(request.path)
        elif request.path.startswith("/late"):
            asyncio.get_running_loop().call_later(0.05, reply, answer)
        else:
            reply(answer)


def server(most: int = MOST, together: int = 10 * MOST, **more: float) -> Server:
    """A server that answers as Echo does."""
    return Server(Echo(), most, Budget(together), **more)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def serving(one: Server | None = None) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server, and the event that ends it."""
    listening = socket.create_server(("127.0.0.1", 0))
    port, until = listening.getsockname()[1], asyncio.Event()
    task = asyncio.ensure_future((one or server()).serve(listening, until, 5))
    try:
        yield port, until
    finally:
        until.set()
        await asyncio.wait_for(task, 10)


def quickened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what takes a minute take a moment."""
    for name in ("connection._PATIENCE", "connection._IDLE", "connection._LINGER", "server._TICK"):
        monkeypatch.setattr(f"mlops_cli.live.service.{name}", 0.05)


def said(*parts: bytes, pause: float = 0.0) -> bytes:
    """Everything that the server says to these bytes until it closes."""

    async def talk() -> bytes:
        async with serving() as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for part in parts:
                writer.write(part)
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                await asyncio.sleep(pause)
            found = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            return found

    return asyncio.run(talk())


def bodies(answer: bytes) -> list[bytes]:
    """The bodies of the answers in a stream."""
    found = []
    while answer:
        head, _, rest = answer.partition(b"\r\n\r\n")
        (length,) = (
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.startswith(b"content-length")
        )
        found.append(rest[:length])
        answer = rest[length:]
    return found


def test_requests_of_one_connection_are_answered_in_their_order() -> None:
    many = b"".join(b"GET /%s%d HTTP/1.1\r\nhost: x\r\n\r\n" % (b"late" if i % 5 == 0 else b"", i)
                    for i in range(20))  # fmt: skip
    last = b"GET /end HTTP/1.1\r\nhost: x\r\nConnection: close\r\n\r\n"
    found = bodies(said(many + last))
    assert [body.split(b" ")[1] for body in found] == [
        b"/%s%d?" % (b"late" if i % 5 == 0 else b"", i) for i in range(20)
    ] + [b"/end?"]


def test_a_request_may_come_in_pieces_and_in_chunks() -> None:
    request = (
        b"POST /a%20b?x=1 HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
        b"connection: close\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    pieces = [request[i : i + 7] for i in range(0, len(request), 7)]
    (body,) = bodies(said(*pieces, pause=0.001))
    assert body == b"POST /a b?x=1 abcde"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"no HTTP at all\r\n\r\n", 400),
        (POST + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 200_000, 431),
        (POST + b"content-length: 100001\r\n\r\n", 413),
        (CHUNKED + b"fa0\r\n%s\r\n" % (b"x" * 4000) * 26, 413),
    ],
)
def test_what_cannot_be_taken_is_refused_and_the_connection_ends(
    request_: bytes, status: int
) -> None:
    answer = said(request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert CLOSE in answer
    assert b"application/problem+json" in answer


def test_a_refusal_waits_for_its_turn() -> None:
    answer = said(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\nno HTTP at all\r\n\r\n")
    assert [body[:9] for body in bodies(answer)] == [b"GET /late", b'{"type":"']


def test_who_expects_a_word_before_the_body_gets_one() -> None:
    head = POST + b"expect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n"
    answer = said(head, b"ok", pause=0.05)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"POST /? ok")


def test_head_has_no_body_and_old_clients_are_told_whether_it_goes_on() -> None:
    answer = said(b"HEAD / HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n")
    first, _, second = answer.partition(b"\r\n\r\n")
    assert first.endswith(b"content-length: 8\r\nconnection: keep-alive")
    assert CLOSE in second
    assert second.endswith(b"GET /? ")


def test_who_says_no_more_still_gets_the_answer() -> None:
    async def talk() -> bytes:
        async with serving() as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
            writer.write_eof()
            return await asyncio.wait_for(reader.read(), 10)

    assert asyncio.run(talk()).endswith(b"GET /late? ")


def test_at_the_end_who_has_asked_is_answered_and_the_others_are_let_go() -> None:
    async def talk() -> tuple[bytes, bytes]:
        async with serving() as (port, until):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            idle, _ = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.sleep(0.01)
            until.set()
            return await asyncio.wait_for(reader.read(), 10), await asyncio.wait_for(idle.read(), 9)

    answer, nothing = asyncio.run(talk())
    assert answer.endswith(b"GET /late? ")
    assert CLOSE in answer
    assert nothing == b""


def test_slow_and_idle_clients_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    quickened(monkeypatch)
    assert said(b"GET / HTTP/1.1\r\nhost: x\r\nx: ").startswith(b"HTTP/1.1 408 ")
    assert said() == b""
