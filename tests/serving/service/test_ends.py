"""Each request gets a response, and each service shuts down."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Sequence
from typing import Any

import pytest
from model_services import ServedModel, free_port, run_service

from mlops_cli.serving.http_server.connection import Connection
from mlops_cli.serving.http_server.heads import HttpRequest
from mlops_cli.serving.http_server.http import Response
from mlops_cli.serving.http_server.server import Server
from mlops_cli.serving.service import micro_batching
from mlops_cli.serving.service.app import Service
from mlops_cli.serving.service.settings import Model, Settings


class Panic(BaseException):
    """As pyo3 raises it: no Exception."""


def fails(*_: Any) -> Any:
    raise Panic


def whole(service: Service, path: str, body: bytes, query: str = "") -> HttpRequest:
    """A request as the own server gives it."""
    request = HttpRequest(Connection(Server(service, 1_000_000, service.budget)))
    request.method, request.path, request.query, request.content = "POST", path, query, body
    request.headers[b"content-type"] = b"application/json"
    return request


@pytest.mark.parametrize("way", ["quick", "by task", "alone", "asgi"])
def test_a_request_that_panics_is_answered(
    binary: ServedModel, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service(Settings(Model("shop", "v0.1.0", binary.folder), binary.layout.root))
    monkeypatch.setattr(micro_batching, "route", fails)
    body = json.dumps(binary.rows[:100] if way == "alone" else binary.rows[:1]).encode()

    async def ask() -> int:
        service.start()
        answered: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        if way == "asgi":
            answer = await asgi(service, body)
        else:
            query = "explain=true" if way == "by task" else ""
            service.handle(whole(service, "/predict", body, query), answered.set_result)
            answer = (await asyncio.wait_for(answered, 10)).status
        await service.shutdown()
        return answer

    assert asyncio.run(ask()) == 500


async def asgi(
    service: Service,
    body: bytes,
    sent: list[Any] | None = None,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> int:
    """The status that an ASGI server is given."""
    messages = [] if sent is None else sent
    headers = [(b"content-type", b"application/json"), (b"host", b"localhost"), *more]
    scope = {"type": "http", "method": "POST", "path": "/predict", "query_string": b"",
             "headers": headers, "client": ("127.0.0.1", 1), "server": ("::1", 2)}  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        messages.append(message)

    await service(scope, receive, send)
    return int(messages[0]["status"])


def test_a_body_of_an_asgi_server_is_bounded(binary: ServedModel) -> None:
    serve = {"limits": {"megabytes": 0.001, "total_megabytes": 0.0015}}
    settings = Settings(Model("shop", "v0.1.0", binary.folder), binary.layout.root)
    settings = Settings(
        settings.model, settings.root, settings.serve.model_validate(serve), log_events=False
    )
    service = Service(settings)

    async def ask() -> tuple[list[int], int]:
        found = [await asgi(service, b"[" + b" " * size + b"]") for size in (900, 1_100)]
        service.budget.used_bytes = 1_000  # of another client
        found.append(await asgi(service, b"[" + b" " * 900 + b"]"))
        return found, service.budget.used_bytes

    assert asyncio.run(ask()) == ([422, 413, 503], 1_000)


def test_a_body_that_an_asgi_server_dropped_is_no_empty_one(binary: ServedModel) -> None:
    service = Service(Settings(Model("shop", "v0.1.0", binary.folder), binary.layout.root))
    sent: list[Any] = []
    offer = [(b"upgrade", b"h2c"), (b"content-length", b"3")]
    assert asyncio.run(asgi(service, b"", sent, offer)) == 400
    assert b"without Upgrade" in sent[1]["body"]


def blocked(served_model: ServedModel, seconds: float) -> dict[str, str]:
    """A service whose log is a database that isn't there, and waits for it."""
    serve = {"events": {"policy": "block"}, "limits": {"seconds": seconds}}
    url = f"postgresql://127.0.0.1:{free_port()}/nowhere"
    return served_model.environment(MLOPS_EVENTS_URL=url, MLOPS_SERVE=json.dumps(serve))


def test_a_service_whose_log_blocks_is_not_ready_and_a_second_signal_ends_it(
    binary: ServedModel,
) -> None:
    with run_service(blocked(binary, 0.5)) as service:
        assert service.request("POST", "/predict", binary.rows[:1])[0] == 504
        # The request may be over before the first attempt to connect is.
        until = time.monotonic() + 10
        status, content, _ = service.request("GET", "/readyz")
        while status == 200 and time.monotonic() < until:
            status, content, _ = service.request("GET", "/readyz")
        assert (status, content["ready"]) == (503, False)
        assert service.request("GET", "/livez")[0] == 200
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert service.process.poll() is None, "the log has some seconds to come back"
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(2) == -signal.SIGTERM


def test_what_blocks_is_given_up_at_the_end(
    binary: ServedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_cli.events.writer._CLOSE_SECONDS", 0.5)
    settings = Settings.from_environment(blocked(binary, 0.5))
    service = Service(settings)

    async def ask() -> tuple[int, float]:
        service.start()
        status = await asgi(service, json.dumps(binary.rows[:1]).encode())
        began = time.monotonic()
        await asyncio.wait_for(service.shutdown(), 20)
        return status, time.monotonic() - began

    status, seconds = asyncio.run(ask())
    assert status == 504
    assert seconds < 8
