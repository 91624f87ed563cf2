"""GET endpoints: model, health, metrics, OpenAPI document and HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import orjson

from mlops_cli.data.atomic_files import read_json
from mlops_cli.serving.http_server.http import Response, json_response
from mlops_cli.serving.service import page
from mlops_cli.serving.service.openapi import document

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlops_cli.events.writer import EventLog
    from mlops_cli.serving.http_server.http import Request
    from mlops_cli.serving.service.auth import Authenticator
    from mlops_cli.serving.service.gate import RequestGate
    from mlops_cli.serving.service.loaded_model import LoadedModel
    from mlops_cli.serving.service.metrics import Metrics
    from mlops_cli.serving.service.micro_batching import Batcher
    from mlops_cli.serving.service.settings import Settings
    from mlops_cli.serving.service.versions import Versions

__all__ = ["About"]


class ServiceState(Protocol):
    """The parts of the service that these endpoints read."""

    settings: Settings
    versions: Versions
    batcher: Batcher
    metrics: Metrics
    authenticator: Authenticator
    gate: RequestGate
    event_log: EventLog | None
    shutting_down: bool
    follow_status: Callable[[], dict[str, Any] | None]


class About:
    """Handlers of the service's GET endpoints."""

    def __init__(self, service: ServiceState) -> None:
        self._service = service
        self._document: tuple[LoadedModel, bytes] | None = None

    async def model(self, _request: Request) -> Response:
        """The model: card, signature, lineage and metrics."""
        served = self._service.versions.main
        folder, program = served.model.folder, served.scorer.bundle.program
        content: dict[str, Any] = {"name": served.model.name, "version": served.model.number}
        for name in ("metrics", "lineage", "signature"):
            path = folder / f"{name}.json"
            if path.is_file():
                content[name] = read_json(path)
        card = folder / "README.md"
        content["card"] = card.read_text(encoding="utf-8") if card.is_file() else ""
        content["features"] = program["features"]
        content["others"] = [
            {"version": s.model.number, "role": r}
            for r, s in (
                ("canary", self._service.versions.canary),
                ("shadow", self._service.versions.shadow),
            )
            if s is not None
        ]
        return json_response(content)

    async def alive(self, _request: Request) -> Response:
        """Liveness probe: the process is alive."""
        return json_response({"alive": True})

    async def ready(self, request: Request) -> Response:
        """Readiness probe: whether the service can predict; details only for permitted clients."""
        service, events = self._service, self._service.event_log
        behind = events is not None and events.lag_seconds > service.settings.serve.limits.seconds
        problem = None if events is None else events.problem
        ready = not service.shutting_down and not behind
        content: dict[str, Any] = {"ready": ready}
        if service.gate.shows_details(request):
            content |= {
                "version": service.versions.main.model.number,
                "versions": [s.model.number for s in service.versions.all],
                "waiting": service.batcher.queued_rows,
                "log": None if events is None else {"waiting": events.waiting, **events.counters()},
                "following": service.follow_status(),
                "problem": None if events is None else events.reason,
            }
        elif problem is not None or behind:
            content["problem"] = "the event log can't be reached"
        return json_response(content, 200 if ready else 503)

    async def metrics(self, _request: Request) -> Response:
        """Counters for Prometheus."""
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return Response(200, self._service.metrics.exposition(), kind)

    async def openapi(self, _request: Request) -> Response:
        """The OpenAPI document."""
        served = self._service.versions.main
        if self._document is None or self._document[0] is not served:
            serve = self._service.settings.serve
            content = document(served, serve, key_required=self._service.authenticator.key_required)
            self._document = served, orjson.dumps(content, default=str)
        return Response(200, self._document[1])

    async def page(self, _request: Request) -> Response:
        """The HTML page."""
        return Response(200, page.html(), "text/html; charset=utf-8", page.headers())
