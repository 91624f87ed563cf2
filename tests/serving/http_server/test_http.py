"""The service's HTTP server, byte for byte, with an echo handler."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable

import pytest

from mlops_cli.serving.http_server.heads import HttpRequest
from mlops_cli.serving.http_server.http import MemoryBudget, Problem, Response, problem
from mlops_cli.serving.http_server.server import Server

MOST = 100_000
CLOSE = b"connection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


class Echo:
    """Answers method, path, query and body; /late a moment later, /later one more.

    /never isn't answered at all, and /closed is refused by its head.
    """

    def __init__(self) -> None:
        self.left: list[str] = []

    def refusal(self, request: HttpRequest) -> Response | None:
        """See ``Handler.refusal``."""
        if request.path.startswith("/closed"):
            return problem(Problem(429 if "429" in request.path else 401, "the key is missing"))
        return None

    def handle(self, request: HttpRequest, reply: Callable[[Response], None]) -> None:
        """See ``Handler.handle``."""
        text = f"{request.method} {request.path}?{request.query} ".encode() + request.content
        answer = Response(200, text, "text/plain")
        if request.path.startswith("/never"):
            request.cancel = lambda: self.left.append(request.path)
        elif request.path.startswith("/late"):
            seconds = 0.5 if request.path == "/later" else 0.05
            asyncio.get_running_loop().call_later(seconds, reply, answer)
        else:
            reply(answer)


def server(most: int = MOST, together: int = 10 * MOST, **more: float) -> Server:
    """A server that answers as Echo does."""
    return Server(Echo(), most, MemoryBudget(together), **more)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def serving(one: Server | None = None) -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server, and the event that ends it."""
    listening = socket.create_server(("127.0.0.1", 0))
    port, until = listening.getsockname()[1], asyncio.Event()
    seconds = 5 if one is None else 0.2
    task = asyncio.ensure_future((one or server()).serve(listening, until, seconds))
    try:
        yield port, until
    finally:
        until.set()
        await asyncio.wait_for(task, 10)


def quickened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have what takes a minute take a moment."""
    for name in (
        "connection._IO_SECONDS",
        "connection._IDLE_SECONDS",
        "connection._LINGER_SECONDS",
        "server._TICK_SECONDS",
    ):
        monkeypatch.setattr(f"mlops_cli.serving.http_server.{name}", 0.05)


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


def test_expect_100_continue_gets_a_continue_response() -> None:
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


def test_a_half_closed_connection_still_gets_its_response() -> None:
    async def talk() -> bytes:
        async with serving() as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /late HTTP/1.1\r\nhost: x\r\n\r\n")
            writer.write_eof()
            return await asyncio.wait_for(reader.read(), 10)

    assert asyncio.run(talk()).endswith(b"GET /late? ")


def test_shutdown_answers_open_requests_and_closes_other_connections() -> None:
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


# Another protocol is offered.


@pytest.mark.parametrize("pause", [None, 0.0], ids=["at once", "byte by byte"])
def test_an_upgrade_is_passed_over_and_the_connection_goes_on(pause: float | None) -> None:
    offer = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    many = b"".join(
        (
            POST + offer + b"content-length: 3\r\n\r\nabc",
            POST + offer + b"transfer-encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n",
            b"GET /late HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            POST + b"content-length: 2\r\n\r\nfg",
            POST + b"connection: close, upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nh",
        )
    )
    parts = [many] if pause is None else [many[i : i + 1] for i in range(len(many))]
    answer = said(*parts, pause=pause or 0.0)
    assert bodies(answer) == [b"POST /? abc", b"POST /? de", b"GET /late? ", b"POST /? fg",
                              b"POST /? h"]  # fmt: skip
    assert answer.count(b"HTTP/1.1 200 OK") == 5
    assert answer.count(b"connection: close") == 1


# What a head is enough for.


def test_what_a_head_is_enough_for_is_answered_before_a_body_comes() -> None:
    for length in (b"1", b"16000000"):
        head = b"POST /closed HTTP/1.1\r\nhost: x\r\ncontent-length: " + length + b"\r\n\r\n"
        answer = said(head)
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert CLOSE in answer
    chunked = b"POST /closed HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert said(chunked).startswith(b"HTTP/1.1 401 ")
    expects = b"POST /closed HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n"
    assert said(expects + b"\r\n").startswith(b"HTTP/1.1 401 ")


def test_a_refusal_without_a_body_leaves_the_connection_open() -> None:
    get = b"GET /closed HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET /end HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = said(get + get + last)
    assert answer.count(b"HTTP/1.1 401 ") == 2
    assert answer.endswith(b"GET /end? ")


def test_a_guess_too_many_is_answered_a_moment_later() -> None:
    began = time.monotonic()
    assert said(b"GET /closed-429 HTTP/1.1\r\nhost: x\r\n\r\n").startswith(b"HTTP/1.1 429 ")
    assert time.monotonic() - began > 0.5


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n", 400),
        (b"GET http://a/ HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.0\r\n", 200),
        (b"GET / HTTP/2.0\r\nhost: a\r\n", 505),
        (b"GET / HTTP/0.9\r\nhost: a\r\n", 505),
        (b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n", 405),
        (POST + b"transfer-encoding: gzip, chunked\r\n", 501),
        (POST + b"transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", 501),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n", 501),
        (POST + b"expect: other\r\ncontent-length: 1\r\n", 417),
        (POST + b"expect: 100-continue, other\r\ncontent-length: 1\r\n", 417),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 130, 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(128)), 431),
    ],
)
def test_a_head_that_is_none_of_http_1_1_is_refused(head: bytes, status: int) -> None:
    tail = b"connection: close\r\n\r\n" if status == 200 else b"\r\n"
    assert said(head + tail).startswith(b"HTTP/1.1 %d " % status)


def test_headers_of_one_name_are_one_list() -> None:
    seen: list[str | None] = []

    class Seeing(Echo):
        def refusal(self, request: HttpRequest) -> Response | None:
            seen.append(request.header("content-encoding"))
            return None

    one = server()
    one.handler = Seeing()
    twice = b"content-encoding: identity\r\ncontent-encoding: gzip\r\nconnection: close\r\n\r\n"
    asyncio.run(asked(one, b"GET / HTTP/1.1\r\nhost: a\r\n" + twice))
    assert seen == ["identity, gzip"]


# What all clients together may take.


async def asked(one: Server, text: bytes) -> bytes:
    """Everything that a server says to these bytes until it closes."""
    async with serving(one) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(text)
        return await asyncio.wait_for(reader.read(), 10)


GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


def test_the_largest_request_that_is_not_whole_makes_room_for_others() -> None:
    one = server(together=150_000)

    async def talk() -> list[bytes]:
        async with serving(one) as (port, _):
            slow, large = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            slow[1].write(POST + b"content-length: 100000\r\n\r\n" + b"x" * 99_000)
            await asyncio.sleep(0.05)
            assert one.budget.used_bytes == 99_000
            small = await answered(port, POST + b"connection: close\r\ncontent-length: 1\r\n\r\nx")
            large[1].write(
                POST + b"connection: close\r\ncontent-length: 70000\r\n\r\n" + b"y" * 70_000
            )
            return [small, await large[0].read(), await slow[0].read()]

    small, large, slow = asyncio.run(talk())
    assert small.startswith(b"HTTP/1.1 200 ")
    assert large.endswith(b"y" * 70_000)
    assert slow.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in slow
    assert one.budget.used_bytes == 0


async def until_it_is(true: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it didn't become so")


async def answered(port: int, text: bytes) -> bytes:
    """What a server says to a client of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    return await asyncio.wait_for(reader.read(), 10)


def test_whatever_is_held_counts_and_is_given_back() -> None:
    """Heads that aren't whole, requests that wait for one before them, bodies of lost clients."""
    one = server(together=10 * MOST)
    head = b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 50_000
    queue = b"GET /later HTTP/1.1\r\nhost: x\r\n\r\n" + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 200
    cut = POST + b"content-length: 90000\r\n\r\n" + b"x" * 40_000

    async def talk() -> None:
        async with serving(one) as (port, _):
            for text, least in ((head, 50_000), (queue, 400_000), (cut, 40_000)):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(text)
                await asyncio.sleep(0.1)
                assert least <= one.budget.used_bytes < 2 * least + 20_000
                writer.transport.abort()
                await until_it_is(lambda: one.budget.used_bytes == 0)

    asyncio.run(talk())


def test_a_flood_of_small_requests_on_one_connection_makes_room() -> None:
    one = server(together=300_000)
    queue = b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n" + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" * 900

    async def talk() -> bytes:
        async with serving(one) as (port, _):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(queue)
            await asyncio.sleep(0.1)
            assert one.budget.used_bytes <= 300_000
            return await answered(port, GET)

    assert asyncio.run(talk()).startswith(b"HTTP/1.1 200 ")


def test_a_body_in_chunks_of_two_bytes_takes_its_bytes_only() -> None:
    one = server(most=1_000_000, together=2_000_000)
    chunks = b"2\r\nab\r\n" * 200_000

    async def talk() -> int:
        async with serving(one) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            tracemalloc.start()
            writer.write(POST + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n")
            for start in range(0, len(chunks), 70_000):
                writer.write(chunks[start : start + 70_000])
                await writer.drain()
                await asyncio.sleep(0)
            await asyncio.sleep(0.3)
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            writer.write(b"0\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 10)
            assert answer.endswith(b"ab" * 200_000)
            return most

    assert asyncio.run(talk()) < 4_000_000, "a list of the pieces takes 9 MB"


def test_trailers_without_end_are_refused() -> None:
    body = CHUNKED + b"1\r\na\r\n0\r\nx: "
    answer = said(body, *[b"y" * 60_000] * 4, pause=0.02)
    assert answer.startswith((b"HTTP/1.1 431", b"HTTP/1.1 413"))


def test_frames_that_come_apart_from_their_chunks_are_no_trailers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mlops_cli.serving.http_server.request_parser._HEAD_BYTES", 300)
    pieces = [piece for _ in range(120) for piece in (b"1\r\n", b"a\r\n")]
    head = POST + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = said(head, *pieces, b"0\r\n\r\n", pause=0.001)
    assert b"200" in answer.partition(b"\r\n")[0]


def test_who_does_not_read_its_answers_makes_room() -> None:
    one = server(most=2_000_000, together=4_000_000)

    async def talk() -> None:
        async with serving(one) as (port, _):
            body = POST + b"content-length: 1900000\r\n\r\n" + b"x" * 1_900_000
            clients = []
            for _ in range(8):
                client = socket.create_connection(("127.0.0.1", port))
                client.setblocking(False)
                clients.append(client)
                await asyncio.get_running_loop().sock_sendall(client, body)
                await asyncio.sleep(0.05)
                assert one.budget.used_bytes <= 4_000_000
            assert (await answered(port, GET)).startswith(b"HTTP/1.1 200 ")
            for client in clients:
                client.close()

    asyncio.run(talk())


# How many may come.


@pytest.mark.parametrize("text", [b"", b"GET / HTTP/1.1\r\nx: "], ids=["idle", "slow"])
def test_idle_and_slow_clients_make_room_for_new_ones(
    text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_cli.serving.http_server.server._TICK_SECONDS", 0.05)
    monkeypatch.setattr("mlops_cli.serving.http_server.connection._SLOW_SECONDS", 0.05)
    one = server(max_connections=8)

    async def talk() -> list[bytes]:
        async with serving(one) as (port, _):
            writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(8)]
            for writer in writers:
                writer.write(text)
            await asyncio.sleep(0.3)
            assert len(one.connections) == 8
            return [await answered(port, GET) for _ in range(20)]

    assert all(answer.startswith(b"HTTP/1.1 200 ") for answer in asyncio.run(talk()))


def test_a_new_client_gets_503_if_all_connections_are_busy() -> None:
    one = server(max_connections=4)

    async def talk() -> bytes:
        async with serving(one) as (port, _):
            writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(4)]
            for writer in writers:
                writer.write(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(0.1)
            answer = await answered(port, b"")
            for connection in list(one.connections):
                connection.abort()
            return answer

    answer = asyncio.run(talk())
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after" in answer


# What is never answered.


def test_a_request_at_work_for_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    quickened(monkeypatch)
    monkeypatch.setattr("mlops_cli.serving.http_server.server._GRACE_SECONDS", 0.05)
    one = server(request_seconds=0.1)
    assert asyncio.run(asked(one, GET.replace(b"/ ", b"/never "))).startswith(b"HTTP/1.1 504 ")
    assert one.handler.left[0] == "/never"  # type: ignore[attr-defined]
    assert not one.connections


def test_a_client_that_has_left_is_noticed() -> None:
    one = server()

    async def talk() -> None:
        async with serving(one) as (port, _):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n")
            await asyncio.sleep(0.05)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await asyncio.sleep(0.1)
            assert not one.connections

    asyncio.run(talk())
    assert one.handler.left == ["/never"]  # type: ignore[attr-defined]
