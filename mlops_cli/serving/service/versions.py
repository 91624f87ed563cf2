"""Loaded versions: which one responds to which rows, and the switch to a new version."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import MlopsError
from mlops_cli.online.store.cache import Lookups
from mlops_cli.online.value_policies import known_columns
from mlops_cli.serving.service.loaded_model import LoadedModel

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.online.store import OnlineStore
    from mlops_cli.serving.service.settings import Model, Settings

    Rows = Sequence[Mapping[str, Any]]

__all__ = ["Follower", "Versions"]

_BUCKETS = 10_000
"""Hash buckets of entities: the canary's share is rounded to a multiple of 1/10,000."""
_POLL_SECONDS = 1.0
"""Seconds between two checks of the registry."""


class Versions:
    """The version that responds, with a canary and a shadow if there are any.

    A version is replaced by one assignment, so a batch sees either the old or the new one.
    """

    def __init__(self, settings: Settings, store: OnlineStore | None) -> None:
        self._settings = settings
        self._lookups = None if store is None else Lookups(store)
        self.main = self.load(settings.model)
        # Only at startup: a rollback must not fail because an older version had other columns.
        known_columns(settings.serve.columns, self.main.scorer.inputs)
        self.shadow = None if settings.shadow is None else self.load(settings.shadow)
        self.canary: LoadedModel | None = None
        self._canary_buckets = 0
        if settings.canary is not None:
            model, share = settings.canary
            self.canary, self._canary_buckets = self.load(model), round(share * _BUCKETS)

    def load(self, model: Model) -> LoadedModel:
        """Load a version in addition to those in use."""
        settings = self._settings
        return LoadedModel.open(model, settings.root, self._lookups, settings.serve)

    @property
    def all(self) -> list[LoadedModel]:
        """Every loaded version, the main one first."""
        return [s for s in (self.main, self.canary, self.shadow) if s is not None]

    def role(self, served: LoadedModel) -> str:
        """A version's role in the event log: answered or canary."""
        return "canary" if served is self.canary else "answered"

    def assign_rows(self, rows: Rows | pl.DataFrame) -> list[tuple[LoadedModel, list[int] | None]]:
        """Each version that responds to some rows, and their positions (None: all rows)."""
        main, canary = self.main, self.canary
        if canary is None:
            return [(main, None)]
        # By a stable hash of the entity, so that an entity always gets the same version.
        in_canary = [
            zlib.crc32(name.encode()) % _BUCKETS < self._canary_buckets
            for name in main.routing_keys(rows)
        ]
        parts = [(main, [i for i, is_canary in enumerate(in_canary) if not is_canary]),
                 (canary, [i for i, is_canary in enumerate(in_canary) if is_canary])]  # fmt: skip
        return [(served, places) for served, places in parts if places]


class Follower:
    """Watches a registry stage from a thread, and loads each version that enters it.

    Parameters
    ----------
    current_model
        Returns the model now in the stage, if it isn't the one with this label; fetches its bundle
        and fills the online store.
    switch
        Called with the loaded version, in this thread, to respond with it from then on.
    on_problem
        Called with a message when an update fails; the version in use stays.
    """

    def __init__(
        self,
        current_model: Callable[[str | None], Model | None],
        load: Callable[[Model], LoadedModel],
        switch: Callable[[LoadedModel], None],
        on_problem: Callable[[str], None],
    ) -> None:
        self._current = current_model
        self._load = load
        self._switch = switch
        self._notify = on_problem
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="follow", daemon=True)
        self.problem: str | None = None

    def start(self, label: str) -> None:
        """Start watching; ``label`` is the version that is served now."""
        self._label = label
        self._thread.start()

    def stop(self) -> None:
        """Stop watching."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_SECONDS):
            try:
                model = self._current(self._label)
                if model is not None and model.label != self._label:
                    self._switch(self._load(model))
                    self._label = model.label
                self.problem = None
            except MlopsError as error:
                self._report(error.message)
            except Exception as error:  # noqa: BLE001 - one failure must not end the watch
                self._report(f"{type(error).__name__}: {error}")

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._notify(problem)
