"""The application: its routes, its start and its end.

Without a framework: one request's routing would otherwise cost as much as its model. It is an
ASGI application for any server; its own one, which asks for less, gives it whole requests.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson

from mlops_cli.errors import MlopsError
from mlops_cli.live.service import page
from mlops_cli.live.service.batching import Batcher, Outcome
from mlops_cli.live.service.bodies import rows_of
from mlops_cli.live.service.feedback import taken
from mlops_cli.live.service.http import (
    Answer,
    AsgiRequest,
    Problem,
    json_answer,
    problem,
)
from mlops_cli.live.service.ids import Ids
from mlops_cli.live.service.logs import log
from mlops_cli.live.service.metrics import Metrics
from mlops_cli.live.service.openapi import document
from mlops_cli.live.service.security import OPEN, Guard
from mlops_cli.live.service.settings import Settings
from mlops_cli.live.service.versions import Versions
from mlops_cli.store.files import read_json

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.live.service.bodies import Rows
    from mlops_cli.live.service.http import Receive, Request, Scope, Send
    from mlops_cli.live.service.served import Served
    from mlops_cli.live.service.server import Whole
    from mlops_cli.store.events.writer import EventLog
    from mlops_cli.store.online import OnlineStore

__all__ = ["Service", "create_app"]

_SMALL = 16_384
"""Bytes of a request's body up to which it is likely to have few rows."""
_TICK = 0.25
"""Seconds between two looks for requests that have waited too long."""
Handler = Callable[["Request"], Awaitable[Answer]]


def create_app(settings: Settings | None = None) -> Service:
    """The application for some settings; by default those of the environment."""
    return Service(settings or Settings.of())


class Service:
    """One application over the loaded versions, the online store and the event log."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.guard = Guard(settings)
        self.metrics = Metrics()
        self.store = _store(settings)
        self.versions = Versions(settings, self.store)
        self.log = _event_log(settings)
        limits = settings.serve.limits
        self.batcher = Batcher(self.versions, self.log, self.metrics, Ids(), limits.seconds)
        self._most_bytes = int(limits.megabytes * 1e6)
        self._document: tuple[Served, bytes] | None = None
        self._ending = False
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._tick: asyncio.Task[None] | None = None
        self.problem: Callable[[], str | None] = lambda: None
        self.on_start: list[Callable[[asyncio.AbstractEventLoop], None]] = []
        self.routes: dict[str, dict[str, Handler]] = {
            "/predict": {"POST": self._predict},
            "/feedback": {"POST": self._feedback},
            "/model": {"GET": self._model},
            "/livez": {"GET": self._alive},
            "/readyz": {"GET": self._ready},
            "/healthz": {"GET": self._ready},
            "/metrics": {"GET": self._metrics},
            "/docs.json": {"GET": self._documented},
            "/": {"GET": self._page},
        }
        self._gauges()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request of an ASGI server, or start and end the service."""
        if scope["type"] == "http":
            answer = await self.answer(AsgiRequest(scope, receive))
            headers = [
                (b"content-type", answer.kind.encode()),
                (b"content-length", b"%d" % len(answer.body)),
                *((name.encode(), value.encode()) for name, value in answer.headers),
            ]
            start = {"type": "http.response.start", "status": answer.status, "headers": headers}
            await send(start)
            await send({"type": "http.response.body", "body": answer.body})
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)

    def take(self, request: Whole, reply: Callable[[Answer], None]) -> None:
        """Answer a request of the own server by a call of ``reply``, now or later.

        A few rows go into a batch at once: a task for each would cost as much as their features.
        """
        is_prediction = request.path == "/predict" and request.method == "POST"
        if is_prediction and not request.query and len(request.content) <= _SMALL:
            self._quick(request, reply)
        else:
            self._by_task(request, reply)

    def switch(self, served: Served) -> None:
        """Answer from another version from now on."""
        log("version", version=served.model.number, before=self.versions.main.model.number)
        self.versions.main = served

    # -- requests --------------------------------------------------------------------------

    async def answer(self, request: Request) -> Answer:
        """The answer to a request, whatever happens."""
        started, path = time.perf_counter(), request.path
        try:
            answer = await self._answer(request)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the last resort: no traceback to a client
            answer = _failed(path, error)
        self._count(path, answer, started)
        return answer

    def _count(self, path: str, answer: Answer, started: float) -> None:
        known = path if path in self.routes else "other"
        version = self.versions.main.model.number
        self.metrics.answered(known, answer.status, version, time.perf_counter() - started)
        if answer.status >= 500:  # noqa: PLR2004 - a fault of the service
            log("answer", path=known, status=answer.status)

    def _by_task(self, request: Whole, reply: Callable[[Answer], None]) -> None:
        task = asyncio.get_running_loop().create_task(self.answer(request))
        self._tasks.add(task)  # the loop itself would let go of it
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: None if done.cancelled() else reply(done.result()))

    def _quick(self, request: Whole, reply: Callable[[Answer], None]) -> None:
        """Have a few rows predicted, without a task."""
        started = time.perf_counter()

        def told(outcome: Outcome | Exception) -> None:
            if isinstance(outcome, Outcome):
                answer = _predictions(outcome)
            else:
                answer = _failed(request.path, outcome)
            self._count(request.path, answer, started)
            reply(answer)

        try:
            self.guard.check(request)
            rows = self._rows(request, request.content)
            if self.batcher.takes(rows):
                self.batcher.put(rows, told)  # type: ignore[arg-type]
                return
        except Exception as error:  # noqa: BLE001 - see `answer`
            told(error)
            return
        self._by_task(request, reply)

    async def _answer(self, request: Request) -> Answer:
        path, method = request.path, request.method
        methods = self.routes.get(path)
        if methods is None:
            raise Problem(404, f"there is nothing at {path[:200]!r}; / has a page to try it out")
        if path not in OPEN:
            self.guard.check(request)
        handler = methods.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join(methods)
            raise Problem(405, f"{path} doesn't take {method[:20]}", {"allow": allowed})
        return await handler(request)

    async def _predict(self, request: Request) -> Answer:
        rows = self._rows(request, await request.body(self._most_bytes))
        explain = "explain" in request.query and _asked(request.query, "explain")
        return _predictions(await self.batcher.ask(rows, explain=explain))

    def _rows(self, request: Request, body: bytes) -> Rows | pl.DataFrame:
        kind = request.header("content-type") or "application/json"
        if kind != "application/json":
            kind = kind.partition(";")[0].strip().lower()
        return rows_of(body, kind, self.settings.serve.limits.rows)

    async def _feedback(self, request: Request) -> Answer:
        body = await request.body(self._most_bytes)
        results = await taken(body, self.log, self.versions.main, self.settings.serve.limits)
        for result in results:
            self.metrics.labels[result] += 1
        return json_answer({"results": results})

    async def _model(self, _request: Request) -> Answer:
        served = self.versions.main
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
            for r, s in (("canary", self.versions.canary), ("shadow", self.versions.shadow))
            if s is not None
        ]
        return json_answer(content)

    async def _alive(self, _request: Request) -> Answer:
        return json_answer({"alive": True})

    async def _ready(self, _request: Request) -> Answer:
        content = {
            "ready": not self._ending,
            "version": self.versions.main.model.number,
            "versions": [s.model.number for s in self.versions.all],
            "waiting": self.batcher.queued,
            "log": None
            if self.log is None
            else {"waiting": self.log.waiting, **self.log.counters()},
            "following": self.problem(),
            "problem": None if self.log is None else self.log.problem,
        }
        return json_answer(content, 503 if self._ending else 200)

    async def _metrics(self, _request: Request) -> Answer:
        return Answer(200, self.metrics.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    async def _documented(self, _request: Request) -> Answer:
        served = self.versions.main
        if self._document is None or self._document[0] is not served:
            limits = self.settings.serve.limits
            content = document(served, limits, closed=self.guard.closed)
            self._document = served, orjson.dumps(content, default=str)
        return Answer(200, self._document[1])

    async def _page(self, _request: Request) -> Answer:
        return Answer(200, page.html(self.versions.main), "text/html; charset=utf-8", page.HEADERS)

    # -- start and end ---------------------------------------------------------------------

    def start(self) -> None:
        """Begin in the running event loop."""
        # What is loaded stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        # The threads that log and that speak HTTP wait for Python's lock while rows are scored.
        # With the usual 5 ms they would wait too long; with much less, the lock's way there and
        # back would take most of the time.
        sys.setswitchinterval(0.001)
        loop = asyncio.get_running_loop()
        self._tick = loop.create_task(self._ticking())
        self.metrics.watch.start()
        for call in self.on_start:
            call(loop)

    async def end(self) -> None:
        """Answer what was asked, and leave nothing in the log's queue."""
        self._ending = True
        if self._tick is not None:
            self._tick.cancel()
        await self.batcher.drain()
        await asyncio.to_thread(self.metrics.watch.stop)
        if self.log is not None:
            await asyncio.to_thread(self.log.close)
        if self.store is not None:
            self.store.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.start()
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.end()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _ticking(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self.batcher.give_up()

    def _gauges(self) -> None:
        gauges = self.metrics.gauges
        gauges["mlops_waiting_rows"] = ("Rows that wait to be scored.", lambda: self.batcher.queued)
        events = self.log
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
                    f"Events {name} since the start.", partial(_count, events, name),
                )  # fmt: skip


def _count(log: EventLog, name: str) -> float:
    return log.counters()[name]


def _failed(path: str, error: Exception) -> Answer:
    """The answer where a request couldn't be served."""
    if isinstance(error, Problem):
        return problem(error)
    log("fault", path=path, kind=type(error).__name__, said=_where(error))
    return problem(Problem(500, "an unexpected fault; the service's log says where"))


def _predictions(outcome: Outcome) -> Answer:
    answers = ",".join(outcome.answers)
    return Answer(200, f'{outcome.served.head},"predictions":[{answers}]}}'.encode())


def _asked(query: str, name: str) -> bool:
    """A switch of the query string.

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


def _where(error: Exception) -> str:
    """The place of a fault; its text may hold a payload's values, so only ours is shown."""
    if isinstance(error, MlopsError):
        return error.message
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _store(settings: Settings) -> OnlineStore | None:
    """The online store, where a version looks anything up."""
    from mlops_cli.store.online import open_store

    models = [settings.model, settings.shadow, settings.canary[0] if settings.canary else None]
    programs = [read_json(m.folder / "program.json")["rules"] for m in models if m is not None]
    if not any(rules["joins"] or rules["windows"] for rules in programs):
        return None
    return open_store(settings.secrets.online_url, settings.layout.online)


def _event_log(settings: Settings) -> EventLog | None:
    from mlops_cli.store.events import open_log

    if not settings.log:
        return None
    events = settings.serve.events
    return open_log(
        settings.secrets.events_url, settings.layout, events.policy, events.spill_megabytes
    )
