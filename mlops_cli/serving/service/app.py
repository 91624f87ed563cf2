"""The service's application: routes, startup and shutdown.

It uses no web framework, whose routing would cost as much time as the model. It is an ASGI
application for any server; its own server passes complete requests instead, which is cheaper.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from mlops_cli.data.atomic_files import read_json
from mlops_cli.errors import MlopsError
from mlops_cli.serving.http_server.hosts import Hosts
from mlops_cli.serving.http_server.http import (
    JSON,
    TOO_MANY_REQUESTS,
    AsgiRequest,
    ClientGone,
    MemoryBudget,
    Problem,
    Response,
    json_response,
    problem,
)
from mlops_cli.serving.scorer import UnscorableValue
from mlops_cli.serving.service.about import About
from mlops_cli.serving.service.auth import Authenticator
from mlops_cli.serving.service.feedback import handle_feedback
from mlops_cli.serving.service.gate import PathAccess, RequestGate, Route, media_type
from mlops_cli.serving.service.ids import Ids
from mlops_cli.serving.service.logs import log
from mlops_cli.serving.service.metrics import Metrics
from mlops_cli.serving.service.micro_batching import Batcher
from mlops_cli.serving.service.pending import RequestOutcome
from mlops_cli.serving.service.request_bodies import SMALL_BYTES, Bodies
from mlops_cli.serving.service.settings import Settings
from mlops_cli.serving.service.versions import Versions

if TYPE_CHECKING:
    from mlops_cli.events.writer import EventLog
    from mlops_cli.online.store import OnlineStore
    from mlops_cli.serving.http_server.heads import HttpRequest
    from mlops_cli.serving.http_server.http import Receive, Request, Scope, Send
    from mlops_cli.serving.service.loaded_model import LoadedModel

__all__ = ["Service", "create_app"]

_GIVE_UP_SECONDS = 0.25
"""Seconds between two checks for requests that have waited too long."""


_JSON = JSON.encode()
_DRAIN_SECONDS = 15.0
"""Seconds for responses to pending requests at shutdown; the event log gives up before."""
_GIVEN_UP = problem(Problem(503, "the request was given up", {"retry-after": "1"}))


def create_app(settings: Settings | None = None) -> Service:
    """Create the application; by default with settings from the environment."""
    return Service(settings or Settings.from_environment())


class Service:
    """The ASGI application over the loaded versions, the online store and the event log."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.authenticator = Authenticator(settings)
        self.metrics = Metrics()
        self.store = _open_store(settings)
        self.versions = Versions(settings, self.store)
        self.event_log = _event_log(settings)
        limits = settings.serve.limits
        self.batcher = Batcher(self.versions, self.event_log, self.metrics, Ids(), limits.seconds)
        self.bodies = Bodies(limits, settings.serve.formats, settings.text_options)
        self._most_bytes = int(limits.megabytes * 1e6)
        self.budget = MemoryBudget(int(max(limits.megabytes, limits.total_megabytes) * 1e6))
        self.shutting_down = False
        self._tasks: set[asyncio.Task[Response]] = set()
        self._ticker: asyncio.Task[None] | None = None
        self.follow_status: Callable[[], dict[str, Any] | None] = lambda: None
        self.on_start: list[Callable[[asyncio.AbstractEventLoop], None]] = []
        about = About(self)
        self.hosts = Hosts((*settings.serve.hosts, *settings.hosts))
        self.routes: dict[str, Route] = {
            "/predict": Route(
                "POST",
                self._predict,
                content_types=self.bodies.content_types,
                check_content_type=self.bodies.format_of,
            ),
            "/feedback": Route(
                "POST", self._feedback, content_types=frozenset({"application/json"})
            ),
            "/model": Route("GET", about.model),
            "/livez": Route("GET", about.alive, PathAccess.PROBE),
            "/readyz": Route("GET", about.ready, PathAccess.PROBE),
            "/healthz": Route("GET", about.ready, PathAccess.PROBE),
            "/metrics": Route("GET", about.metrics, PathAccess.METRICS),
            "/docs.json": Route("GET", about.openapi),
            "/": Route("GET", about.page, PathAccess.PAGE),
        }
        self.gate = RequestGate(self.routes, self.authenticator, self.hosts)
        self._add_gauges()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to one request of an ASGI server, or start and stop the service."""
        if scope["type"] == "http":
            request = AsgiRequest(scope, receive, self.budget)
            try:
                answer = self.refusal(request) or await self.respond(request)
            except ClientGone:
                return
            finally:
                self.budget.used_bytes -= request.budget_bytes
            if answer.status == TOO_MANY_REQUESTS:
                await asyncio.sleep(1)
            headers = [
                (b"content-type", answer.content_type.encode()),
                (b"content-length", b"%d" % len(answer.body)),
                *((name.encode(), value.encode()) for name, value in answer.headers),
            ]
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            await send(start)
            await send({"type": "http.response.body", "body": answer.body})
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    def refusal(self, request: Request) -> Response | None:
        """The response that refuses a request by its head; None if its body may follow."""
        try:
            self.gate.check(request)
        except BaseException as error:  # noqa: BLE001 - see `respond`
            answer = _error_response(request.path, error)
            self._count(request.path, answer, time.perf_counter())
            return answer
        return None

    def handle(self, request: HttpRequest, reply: Callable[[Response], None]) -> None:
        """Respond to a request of the own server by a call of ``reply``, now or later.

        A few rows go into a batch directly: a task per request would cost as much as its features.
        """
        is_prediction = request.path == "/predict" and request.method == "POST"
        if is_prediction and not request.query and len(request.content) <= SMALL_BYTES:
            self._queue_rows(request, reply)
        else:
            self._run_task(request, reply)

    def switch(self, served: LoadedModel) -> None:
        """Respond with another version from now on."""
        log("version", version=served.model.number, before=self.versions.main.model.number)
        self.versions.main = served

    # -- requests --------------------------------------------------------------------------

    async def respond(self, request: Request) -> Response:
        """Respond to a request whose head was accepted; errors become responses, too."""
        started, path = time.perf_counter(), request.path
        try:
            answer = await self.routes[path].handler(request)
        except (ClientGone, asyncio.CancelledError):
            raise
        # The last resort: no traceback reaches a client. Panics of Rust libraries are no Exception.
        except BaseException as error:  # noqa: BLE001
            answer = _error_response(path, error)
        self._count(path, answer, started)
        return answer

    def _count(self, path: str, answer: Response, started: float) -> None:
        endpoint = path if path in self.routes else "other"
        version = self.versions.main.model.number
        self.metrics.count_response(endpoint, answer.status, version, time.perf_counter() - started)
        if answer.status >= 500:  # noqa: PLR2004 - a fault of the service
            log("answer", path=endpoint, status=answer.status)

    def _run_task(self, request: HttpRequest, reply: Callable[[Response], None]) -> None:
        task = asyncio.get_running_loop().create_task(self.respond(request))
        self._tasks.add(task)  # the loop itself holds only a weak reference
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: reply(_GIVEN_UP if done.cancelled() else done.result()))
        request.cancel = task.cancel

    def _queue_rows(self, request: HttpRequest, reply: Callable[[Response], None]) -> None:
        """Queue a few rows for a batch, without a task; any other body gets a task."""
        started = time.perf_counter()

        def respond(outcome: RequestOutcome | BaseException) -> None:
            if isinstance(outcome, RequestOutcome):
                answer = _prediction_response(outcome)
            else:
                answer = _error_response(request.path, outcome)
            self._count(request.path, answer, started)
            reply(answer)

        try:
            rows = self.bodies.parse_small(request.content, _content_type(request))
            if rows is not None and self.batcher.can_share(rows):
                self.batcher.submit(rows, respond)  # type: ignore[arg-type]
                return
        except BaseException as error:  # noqa: BLE001 - see `respond`
            respond(error)
            return
        self._run_task(request, reply)

    async def _predict(self, request: Request) -> Response:
        body = await request.body(self._most_bytes)
        explain = "explain" in request.query and _parse_flag(request.query, "explain")
        async with self.bodies.parse(body, _content_type(request)) as rows:
            return _prediction_response(await self.batcher.score(rows, explain=explain))

    async def _feedback(self, request: Request) -> Response:
        body = await request.body(self._most_bytes)
        content = await self.bodies.parse_document(body)
        results = await handle_feedback(
            content, self.event_log, self.versions.main, self.settings.serve.limits
        )
        for result in results:
            self.metrics.labels[result] += 1
        return json_response({"results": results})

    # -- start and end ---------------------------------------------------------------------

    def start(self) -> None:
        """Start in the running event loop."""
        # What is loaded stays: the garbage collector needn't scan it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        # The threads for the log and for HTTP wait for the GIL while rows are scored. With the
        # default of 5 ms they would wait too long; with much less, handing over the GIL would take
        # most of the time.
        sys.setswitchinterval(0.001)
        loop = asyncio.get_running_loop()
        self._ticker = loop.create_task(self._give_up_periodically())
        self._starting_bodies = loop.create_task(self.bodies.start())
        self.metrics.drift_gauges.start()
        for call in self.on_start:
            call(loop)

    def begin_shutdown(self) -> None:
        """Begin the shutdown: the event log soon gives up on events that it can't write."""
        if not self.shutting_down:
            self.shutting_down = True
            if self.event_log is not None:
                self.event_log.set_deadline()

    async def shutdown(self) -> None:
        """Shut down: respond to pending requests, and write the event log's queue."""
        self.begin_shutdown()
        await self.batcher.drain(_DRAIN_SECONDS)
        if self._ticker is not None:
            self._ticker.cancel()
        await self.bodies.close()
        await asyncio.to_thread(self.metrics.drift_gauges.stop)
        if self.event_log is not None:
            await asyncio.to_thread(self.event_log.close)
        if self.store is not None:
            self.store.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.shutdown()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _give_up_periodically(self) -> None:
        while True:
            await asyncio.sleep(_GIVE_UP_SECONDS)
            self.batcher.refuse_overdue()

    def _add_gauges(self) -> None:
        gauges = self.metrics.gauges
        gauges["mlops_waiting_rows"] = (
            "Rows that wait to be scored.",
            lambda: self.batcher.queued_rows,
        )
        events = self.event_log
        if events is not None:
            gauges["mlops_log_waiting"] = (
                "Events that wait to be durable.",
                lambda: events.waiting,
            )
            gauges["mlops_log_lag_seconds"] = (
                "Age of the oldest event that isn't durable.", lambda: events.lag_seconds,
            )  # fmt: skip
            for name in events.counters():
                gauges[f"mlops_log_{name}"] = (
                    f"Events {name} since the start.", partial(_event_counter, events, name),
                )  # fmt: skip


def _event_counter(log: EventLog, name: str) -> float:
    return log.counters()[name]


def _error_response(path: str, error: BaseException) -> Response:
    """The response for an error in a request.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        Unchanged: they end the process.
    """
    if isinstance(error, Problem):
        return problem(error)
    if isinstance(error, UnscorableValue):
        return problem(Problem(422, error.message))
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    log("fault", path=path, kind=type(error).__name__, said=_fault_location(error))
    return problem(Problem(500, "an unexpected fault; the service's log says where"))


def _content_type(request: Request) -> str:
    kind = request.headers.get(b"content-type", b"")
    return JSON if kind == _JSON else media_type(kind.decode("latin-1"))


def _prediction_response(outcome: RequestOutcome) -> Response:
    answers = ",".join(outcome.answers)
    return Response(200, f'{outcome.served.response_prefix},"predictions":[{answers}]}}'.encode())


def _parse_flag(query: str, name: str) -> bool:
    """A boolean parameter of the query string.

    Raises
    ------
    Problem
        422 if it is neither true nor false.
    """
    values = parse_qs(query, keep_blank_values=True).get(name)
    if values is None:
        return False
    if values[-1] not in {"true", "false"}:
        raise Problem(422, f"{name} is {values[-1][:80]!r}, and takes true or false")
    return bool(values[-1] == "true")


def _fault_location(error: BaseException) -> str:
    """An error's file and line; its message only if it is ours, without values of a payload."""
    if isinstance(error, MlopsError):
        return error.message
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _open_store(settings: Settings) -> OnlineStore | None:
    """The online store; None if no version needs look-ups."""
    from mlops_cli.online.store import open_store

    models = [settings.model, settings.shadow, settings.canary[0] if settings.canary else None]
    programs = [read_json(m.folder / "program.json")["rules"] for m in models if m is not None]
    if not any(rules.get("joins") or rules.get("windows") for rules in programs):
        return None
    return open_store(settings.secrets.online_url, settings.layout.online)


def _event_log(settings: Settings) -> EventLog | None:
    from mlops_cli.events import open_log

    if not settings.log_events:
        return None
    events = settings.serve.events
    return open_log(
        settings.secrets.events_url,
        settings.layout,
        events.policy,
        events.spill_megabytes,
        events.keep,
    )
