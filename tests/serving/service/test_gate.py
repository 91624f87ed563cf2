"""Refusals from the headers of a request: keys, hosts, pages, encodings."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from model_services import RunningService, ServedModel, run_service

from mlops_cli.errors import BadParams
from mlops_cli.serving.service.auth import Authenticator
from mlops_cli.serving.service.settings import Settings

LONG = "a key of at least thirty-two bytes as HS256 asks"
KEY, METRICS = "a key of thirty-two bytes or more", "another key, for the metrics only"


@pytest.fixture(scope="module")
def locked(binary: ServedModel) -> Iterator[RunningService]:
    """A service that asks for keys."""
    words = binary.environment(
        MLOPS_API_KEYS=KEY.replace(",", ""), MLOPS_METRICS_KEY=METRICS.replace(",", "")
    )
    with run_service(words) as service:
        yield service


@pytest.fixture(scope="module")
def open_(binary: ServedModel) -> Iterator[RunningService]:
    """A service that asks for none, and is called by a name."""
    with run_service(
        binary.environment(MLOPS_HOSTS="model.example, *.svc.cluster.local")
    ) as service:
        yield service


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key.replace(',', '')}"}


# Keys.


def test_a_key_for_the_metrics_opens_metrics_only(
    locked: RunningService, binary: ServedModel
) -> None:
    assert locked.request("GET", "/metrics")[0] == 401
    status, text, _ = locked.request("GET", "/metrics", headers=bearer(METRICS))
    assert (status, b"mlops_requests_total" in text) == (200, True)
    assert locked.request("GET", "/metrics", headers=bearer(KEY))[0] == 200
    # Prometheus calls it by any name.
    named = {**bearer(METRICS), "host": "service:3000"}
    assert locked.request("GET", "/metrics", headers=named)[0] == 200
    for path in ("/model", "/docs.json"):
        assert locked.request("GET", path, headers=bearer(METRICS))[0] == 401
        assert locked.request("GET", path, headers=bearer(KEY))[0] == 200
    given = {"x-api-key": METRICS.replace(",", "")}
    assert locked.request("POST", "/predict", binary.rows[:1], headers=given)[0] == 401


def test_the_page_needs_no_key_and_holds_nothing_of_the_model(
    locked: RunningService, open_: RunningService, binary: ServedModel
) -> None:
    status, text, headers = locked.request("GET", "/")
    assert (status, text) == (200, open_.request("GET", "/")[1])
    words = [*binary.rows[0], "flights", "shop@", "v0.1.0", str(binary.rows[-1]["at"])]
    assert not [word for word in words if re.search(rf"\b{re.escape(word)}\b", text.decode())
                and word not in {"width", "height", "kind", "order", "at"}]  # fmt: skip
    assert b"{{" not in text
    policy = headers["content-security-policy"]
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text.decode(), re.DOTALL)
        hashed = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{hashed}'" in policy


def test_what_a_probe_is_told_without_a_key(locked: RunningService, open_: RunningService) -> None:
    for path in ("/readyz", "/healthz"):
        assert locked.request("GET", path)[:2] == (200, {"ready": True})
        assert locked.request("GET", path, headers=bearer(KEY))[1]["version"] == "v0.1.0"
        assert open_.request("GET", path)[1]["version"] == "v0.1.0"
        assert open_.request("GET", path, headers={"host": "10.1.2.3:3000"})[:2] == (
            200,
            {"ready": True},
        )
    assert locked.request("GET", "/livez", headers={"host": "10.1.2.3:3000"})[0] == 200


def test_sixty_clients_without_a_key_take_no_memory(locked: RunningService) -> None:
    """Each sent 15 of 16 MB before it was asked for a key, and the service held 900 MB."""
    before = resident(locked)
    clients, answers = [], []
    for _ in range(60):
        client = socket.create_connection(("127.0.0.1", locked.port), timeout=10)
        client.sendall(
            b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 16000000\r\n\r\n"
        )
        clients.append(client)
    for client in clients:
        answers.append(client.recv(65536)[:12])
        try:
            client.sendall(b"x" * 1_000_000)
        except OSError:
            continue
    assert set(answers) == {b"HTTP/1.1 401"}
    assert resident(locked) - before < 30
    for client in clients:
        client.close()


def test_bodies_of_all_clients_together_are_bounded(binary: ServedModel) -> None:
    serve = json.dumps({"limits": {"megabytes": 8, "total_megabytes": 16}})
    with run_service(binary.environment(MLOPS_SERVE=serve)) as service:
        before, clients = resident(service), []
        head = (
            b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"content-length: 8000000\r\n\r\n"
        )
        for _ in range(20):
            client = socket.create_connection(("127.0.0.1", service.port), timeout=10)
            client.sendall(head + b" " * 7_500_000)
            clients.append(client)
            service.predict(binary.rows[:1])
        assert resident(service) - before < 60, "150 MB were sent"
        first = clients[0].recv(65536)
        assert first.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after" in first
        for client in clients:
            client.close()


def resident(service: RunningService) -> float:
    """Megabytes of memory that a service has."""
    status = open(f"/proc/{service.process.pid}/status").read()  # noqa: SIM115, PTH123
    (kilobytes,) = re.findall(r"VmRSS:\s+(\d+)", status)
    return int(kilobytes) / 1e3


def test_two_hundred_idle_clients_lock_nobody_out(binary: ServedModel) -> None:
    limited = ["bash", "-c", 'ulimit -n 200; exec "$@"', "x"]
    words = [*limited, sys.executable, "-m", "mlops_cli.serving.service"]
    with run_service(binary.environment(), *words) as service:
        address = ("127.0.0.1", service.port)
        clients = [socket.create_connection(address, timeout=10) for _ in range(200)]
        time.sleep(2)  # new ones have a moment to say what they want
        assert service.request("GET", "/livez")[0] == 200
        service.predict(binary.rows[:1])
        for client in clients:
            client.close()


def test_wrong_keys_are_logged_and_slowed_down(binary: ServedModel) -> None:
    with run_service(binary.environment(MLOPS_API_KEYS=KEY)) as service:
        found = [service.request("GET", "/model", headers=bearer("wrong"))[0] for _ in range(20)]
        assert set(found) == {401}
        began = time.monotonic()
        status, _, headers = service.request("GET", "/model", headers=bearer("wrong"))
        assert (status, headers["retry-after"]) == (429, "60")
        assert service.request("GET", "/model")[0] == 401, "none was tried"
        assert service.request("GET", "/model", headers=bearer(KEY))[0] == 200, (
            "a right one is taken"
        )
        many = [threading.Thread(target=service.request, args=("GET", "/model")) for _ in range(20)]
        for one in many:
            one.start()
        for one in many:
            one.join()
        assert time.monotonic() - began > 0.5
        service.process.terminate()
        lines = [
            json.loads(line) for line in service.process.communicate(timeout=20)[1].splitlines()
        ]
    refused = [line for line in lines if line["event"] == "refused"]
    assert len(refused) == 30
    assert {line["address"] for line in refused} == {"127.0.0.1"}
    assert not [line for line in lines if "wrong" in json.dumps(line)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"MLOPS_SERVE": '{"jwt": {"algorithms": ["HS257"]}}', "MLOPS_JWT_KEY": LONG},
            "names 'HS257', which is not known",
        ),
        (
            {"MLOPS_SERVE": '{"jwt": {"algorithms": ["none"]}}', "MLOPS_JWT_KEY": LONG},
            "names 'none', which is not known",
        ),
        (
            {"MLOPS_SERVE": '{"jwt": {}}', "MLOPS_JWT_KEY": "a secret"},
            "MLOPS_JWT_KEY has 8 bytes, and HS256 needs 32",
        ),
        (
            {"MLOPS_SERVE": '{"jwt": {"algorithms": ["HS512"]}}', "MLOPS_JWT_KEY": LONG},
            "MLOPS_JWT_KEY has 48 bytes, and HS512 needs 64",
        ),
        (
            {"MLOPS_SERVE": '{"jwt": {"algorithms": ["RS256"]}}', "MLOPS_JWT_KEY": LONG},
            "MLOPS_JWT_KEY can't check tokens of the algorithm RS256",
        ),
        ({"MLOPS_API_KEYS": f"{LONG},x"}, "key 2 in MLOPS_API_KEYS has 1 bytes"),
        ({"MLOPS_METRICS_KEY": "short"}, "key 1 in MLOPS_METRICS_KEY has 5 bytes"),
    ],
)
def test_keys_that_protect_nothing_are_refused_at_the_start(
    binary: ServedModel, changed: dict[str, str], said: str
) -> None:
    with pytest.raises(BadParams, match=said):
        Authenticator(Settings.from_environment(binary.environment(**changed)))


# Pages of other sites, and names.


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/feedback", {"content-type": "text/plain", "origin": "https://evil.example",
                               "host": "evil.example"}, 421),
        ("POST", "/feedback", {"content-type": "text/plain",
                               "origin": "https://evil.example"}, 403),
        ("POST", "/feedback", {"content-type": "text/plain"}, 415),
        ("POST", "/feedback", {"content-type": "text/csv"}, 415),
        ("POST", "/predict", {}, 415),
        ("POST", "/predict", {"content-type": "text/plain"}, 415),
        ("POST", "/predict", {"content-type": "multipart/form-data; boundary=x"}, 415),
        ("POST", "/predict", {"content-type": "application/x-www-form-urlencoded"}, 415),
        ("POST", "/predict", {"content-type": "application/json"}, 422),
        ("POST", "/predict", {"content-type": "application/json",
                              "sec-fetch-site": "cross-site"}, 403),
        ("POST", "/predict", {"content-type": "application/json",
                              "sec-fetch-site": "same-site"}, 403),
        ("POST", "/predict", {"content-type": "application/json",
                              "sec-fetch-site": "same-origin"}, 422),
        ("POST", "/predict", {"content-type": "application/json", "origin": "null"}, 403),
        ("POST", "/predict", {"content-type": "application/json",
                              "origin": "http://localhost:1"}, 403),
        ("POST", "/predict", {"content-type": "application/json", "host": "localhost:7",
                              "origin": "http://localhost:7"}, 422),
        ("POST", "/predict", {"content-type": "application/json", "x-forwarded-host": "a.example",
                              "origin": "https://a.example"}, 422),
        ("POST", "/predict", {"content-type": "application/json",
                              "origin": "https://model.example"}, 422),
        ("GET", "/model", {"host": "evil.example"}, 421),
        ("GET", "/model", {"host": "localhost.evil.example:3000"}, 421),
        ("GET", "/model", {"host": "127.0.0.1.evil.example"}, 421),
        ("GET", "/model", {"host": "10.1.2.3"}, 421),
        ("GET", "/model", {"host": "2130706433"}, 421),
        ("GET", "/metrics", {"host": "evil.example"}, 421),
        ("GET", "/docs.json", {"host": "evil.example"}, 421),
        ("GET", "/", {"host": "evil.example"}, 421),
        ("GET", "/", {"sec-fetch-site": "cross-site"}, 200),
        ("GET", "/model", {"sec-fetch-site": "cross-site"}, 403),
        ("GET", "/model", {"sec-fetch-site": "none"}, 200),
        ("GET", "/model", {"host": "localhost"}, 200),
        ("GET", "/model", {"host": "LOCALHOST.:9"}, 200),
        ("GET", "/model", {"host": "127.8.9.1:3000"}, 200),
        ("GET", "/model", {"host": "[::1]:3000"}, 200),
        ("GET", "/model", {"host": "model.example:3000"}, 200),
        ("GET", "/model", {"host": "shop.ns.svc.cluster.local"}, 200),
        ("GET", "/livez", {"host": "evil.example", "sec-fetch-site": "cross-site"}, 200),
        ("POST", "/predict", {"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ("POST", "/predict", {"content-type": "application/json",
                              "content-encoding": "identity"}, 422),
    ],
)  # fmt: skip
def test_what_a_browser_may_send_without_asking_is_refused(
    open_: RunningService, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    body = b'{"rows": []}' if method == "POST" else None
    assert raw(open_, method, path, headers, body) == status


def raw(
    service: RunningService, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> int:
    """The status of a request with exactly these headers."""
    given = {"host": f"127.0.0.1:{service.port}", **headers}
    if body is not None:
        given["content-length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b""))
        return int(client.recv(65536).split()[1])


def test_a_compressed_body_is_refused_by_its_encoding(open_: RunningService) -> None:
    status, content, headers = open_.request(
        "POST", "/predict", b"\x1f\x8b", headers={"content-encoding": "gzip"}
    )
    assert (status, headers["accept-encoding"]) == (415, "identity")
    assert "'gzip' is not taken" in content["detail"]


def test_a_public_address_without_a_key_gives_a_warning(binary: ServedModel) -> None:
    words = [sys.executable, "-m", "mlops_cli.serving.service", "--host", "0.0.0.0"]  # noqa: S104
    with run_service(binary.environment(), *words) as service:
        assert raw(service, "GET", "/model", {"host": "evil.example"}, None) == 421
        service.process.terminate()
        lines = service.process.communicate(timeout=20)[1]
    assert "no key is set: set MLOPS_API_KEYS" in lines


# Behind a prefix.


def test_addresses_are_relative(open_: RunningService) -> None:
    text = open_.request("GET", "/")[1].decode()
    assert not re.findall(r"""(?:href|src)="/|fetch\(["']/""", text)
    assert open_.request("GET", "/docs.json")[1]["servers"] == [{"url": "."}]
