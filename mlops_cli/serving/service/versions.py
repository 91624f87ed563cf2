"""Which versions are loaded, who answers what, and the change from one to the next."""

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

_PARTS = 10_000
_LOOK = 1.0
"""Seconds between two looks at the registry."""


class Versions:
    """The version that answers, and beside it a canary and a shadow.

    They are replaced as a whole by one assignment, so a batch sees either the old or the new one.
    """

    def __init__(self, settings: Settings, store: OnlineStore | None) -> None:
        self._settings = settings
        self._lookups = None if store is None else Lookups(store)
        self.main = self.load(settings.model)
        # Only here: a rollback must not fail because the version before had other columns.
        known_columns(settings.serve.columns, self.main.scorer.inputs)
        self.shadow = None if settings.shadow is None else self.load(settings.shadow)
        self.canary: LoadedModel | None = None
        self._share = 0
        if settings.canary is not None:
            model, share = settings.canary
            self.canary, self._share = self.load(model), round(share * _PARTS)

    def load(self, model: Model) -> LoadedModel:
        """Load a version beside those that answer."""
        settings = self._settings
        return LoadedModel.open(model, settings.root, self._lookups, settings.serve)

    @property
    def all(self) -> list[LoadedModel]:
        """Every loaded version, the answering one first."""
        return [s for s in (self.main, self.canary, self.shadow) if s is not None]

    def role(self, served: LoadedModel) -> str:
        """As what a version answers: answered or canary."""
        return "canary" if served is self.canary else "answered"

    def answering(self, rows: Rows | pl.DataFrame) -> list[tuple[LoadedModel, list[int] | None]]:
        """Each version that answers some of the rows, and which; None for all of them."""
        main, canary = self.main, self.canary
        if canary is None:
            return [(main, None)]
        # By a stable hash of the entity: the same one always gets the same version.
        its = [zlib.crc32(name.encode()) % _PARTS < self._share for name in main.names(rows)]
        parts = [(main, [i for i, one in enumerate(its) if not one]),
                 (canary, [i for i, one in enumerate(its) if one])]  # fmt: skip
        return [(served, places) for served, places in parts if places]


class Follower:
    """Watches a stage in the Git repository from a thread, and hands over what enters it.

    Parameters
    ----------
    current
        Gives the model in the stage now; it fetches the bundle and fills the online store.
    switch
        Called with the loaded version, in this thread.
    told
        Called with a sentence where something went wrong; what answers stays.
    """

    def __init__(
        self,
        current: Callable[[str | None], Model | None],
        load: Callable[[Model], LoadedModel],
        switch: Callable[[LoadedModel], None],
        told: Callable[[str], None],
    ) -> None:
        self._current = current
        self._load = load
        self._switch = switch
        self._told = told
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="follow", daemon=True)
        self.problem: str | None = None

    def start(self, label: str) -> None:
        """Begin to watch, from the version that is served now."""
        self._label = label
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._ended.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK):
            try:
                model = self._current(self._label)
                if model is not None and model.label != self._label:
                    self._switch(self._load(model))
                    self._label = model.label
                self.problem = None
            except MlopsError as error:
                self._say(error.message)
            except Exception as error:  # noqa: BLE001 - the watch goes on, whatever happens
                self._say(f"{type(error).__name__}: {error}")

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self._told(problem)
