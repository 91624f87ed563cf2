"""A service that changes to what enters a stage, without a restart or a failed request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_cli.live.service.logs import log
from mlops_cli.live.service.versions import Follower
from mlops_cli.live.serving import now_in
from mlops_cli.reporting import Silent

if TYPE_CHECKING:
    from mlops_cli.layout import Layout
    from mlops_cli.live.service.app import Service
    from mlops_cli.live.service.served import Served
    from mlops_cli.live.service.settings import Model, Settings
    from mlops_cli.params import Params

__all__ = ["followed"]


class _NotesOnce(Silent):
    """Logs each sentence once: tags that don't count are met at each look."""

    _MOST = 1_000

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def note(self, text: str) -> None:
        if text not in self._logged and len(self._logged) < self._MOST:
            self._logged.add(text)
            log("follow", problem=text)


@contextmanager
def followed(
    params: Params, layout: Layout, settings: Settings
) -> Iterator[Callable[[Service], None]]:
    """Watch ``settings.follow`` while the block runs; it gives what a service is attached with."""
    watching: list[Follower] = []
    stage = settings.follow
    assert stage is not None  # noqa: S101 - the caller looked

    notes = _NotesOnce()

    def current(label: str | None) -> Model | None:
        return now_in(params, layout, stage, label, notes)

    def attach(service: Service) -> None:
        loops: list[asyncio.AbstractEventLoop] = []

        def switch(served: Served) -> None:
            # In the loop's thread, between two batches.
            loops[0].call_soon_threadsafe(service.switch, served)

        follower = Follower(
            current, service.versions.load, switch, lambda said: log("follow", problem=said)
        )
        watching.append(follower)
        service.problem = lambda: follower.problem

        def started(loop: asyncio.AbstractEventLoop) -> None:
            loops.append(loop)
            follower.start(settings.model.label)

        service.on_start.append(started)

    try:
        yield attach
    finally:
        for follower in watching:
            follower.stop()
