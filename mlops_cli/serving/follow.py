"""Follow a registry stage: the service switches to each new version without a restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlops_cli.project.git import Git
from mlops_cli.registry.approvals.stage_rules import read_trusted
from mlops_cli.registry.registry_state import registry_state
from mlops_cli.registry.sync.fetch import fetcher
from mlops_cli.reporting import Silent
from mlops_cli.serving.prepare import model_in_stage
from mlops_cli.serving.service.logs import log
from mlops_cli.serving.service.versions import Follower

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.registry.sync.fetch import Fetcher
    from mlops_cli.registry.versions import Registry
    from mlops_cli.serving.service.app import Service
    from mlops_cli.serving.service.loaded_model import LoadedModel
    from mlops_cli.serving.service.settings import Model, Settings

__all__ = ["TrustedRegistry", "follow"]

_REVERIFY_SECONDS = 60.0
"""Seconds after which signatures are verified again: a key expires without any file changing."""


class TrustedRegistry:
    """The registry with trusted assignments only, verified again only when something changed."""

    def __init__(
        self, root: Path, name: str, on_note: Callable[[str], None] = lambda _: None
    ) -> None:
        self._git = Git(root)
        self._name = name
        self._note = on_note
        self._state: str | None = None
        self._registry: Registry | None = None
        self._verified = 0.0

    def current(self) -> Registry:
        """The registry as it is now; see ``read_trusted`` for what it raises."""
        # Taken before the tags are read: a change in between shows up at the next check.
        state, now = registry_state(self._git), time.monotonic()
        if (
            self._registry is None
            or state != self._state
            or now - self._verified > _REVERIFY_SECONDS
        ):
            self._registry = None
            self._registry = read_trusted(self._git.root, self._name, self._note)
            self._state, self._verified = state, now
        return self._registry


class _NotesOnce(Silent):
    """Logs each note once: every check of the registry repeats the notes on untrusted tags."""

    _MAX_NOTES = 1_000

    def __init__(self) -> None:
        self._logged: set[str] = set()

    def note(self, text: str) -> None:
        if text not in self._logged and len(self._logged) < self._MAX_NOTES:
            self._logged.add(text)
            log("follow", problem=text)


@contextmanager
def follow(
    params: Params, layout: Layout, settings: Settings, fetch: str | None = None
) -> Iterator[Callable[[Service], None]]:
    """Watch the stage ``settings.follow`` inside the block; yields a function to attach a service.

    Parameters
    ----------
    fetch
        How often to fetch from the Git remote, see ``fetcher``; by default ``serve.fetch``.
    """
    followers: list[Follower] = []
    fetching = fetcher(
        layout.root, fetch, params.serve.fetch, lambda reason: log("fetch", problem=reason)
    )
    stage = settings.follow
    assert stage is not None  # noqa: S101 - the caller checked

    notes = _NotesOnce()
    registry = TrustedRegistry(layout.root, params.register_.name, notes.note)

    def current(label: str | None) -> Model | None:
        return model_in_stage(params, layout, registry.current(), stage, label, notes)

    def attach(service: Service) -> None:
        loops: list[asyncio.AbstractEventLoop] = []

        def switch(served: LoadedModel) -> None:
            # The event loop's thread makes the switch, between two batches.
            loops[0].call_soon_threadsafe(service.switch, served)

        follower = Follower(
            current, service.versions.load, switch, lambda problem: log("follow", problem=problem)
        )
        followers.append(follower)
        service.follow_status = lambda: {
            "stage": stage,
            "problem": follower.problem,
            "fetch": fetching.state() if fetching else None,
        }
        if fetching:
            service.metrics.gauges |= _gauges(fetching)

        def start_following(loop: asyncio.AbstractEventLoop) -> None:
            loops.append(loop)
            follower.start(settings.model.label)
            if fetching:
                fetching.start()

        service.on_start.append(start_following)

    try:
        yield attach
    finally:
        for follower in followers:
            follower.stop()
        if fetching:
            fetching.stop()


def _gauges(fetching: Fetcher) -> dict[str, tuple[str, Callable[[], float]]]:
    """Gauges of the fetches from the Git remote, for the service's metrics."""
    return {
        "mlops_fetch_age_seconds": (
            "Since the Git remote was last reached.",
            lambda: fetching.age,
        ),
        "mlops_fetch_failures": (
            "Fetches from the Git remote that failed.",
            lambda: fetching.failures,
        ),
    }
