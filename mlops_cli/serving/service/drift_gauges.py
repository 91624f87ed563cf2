"""Drift gauges: how far recent requests are from each version's reference profile.

A batch that was scored is laid aside, features and predictions as they are, and a thread counts
what lies there now and then. Of a busy service only some rows are taken between two counts, which
is a sample. So the path of a request bears no more than the laying aside.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mlops_cli.errors import MlopsError
from mlops_cli.serving.service.logs import log

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.drift.profile import Profile
    from mlops_cli.drift.reference import Reference
    from mlops_cli.serving.scorer import ScoredRows
    from mlops_cli.serving.service.loaded_model import LoadedModel

__all__ = ["DriftGauges"]

T = TypeVar("T")

_EVERY = 15.0
"""Seconds between two counts."""
_TAKEN = 1_000
"""Rows that wait to be counted; more are passed over."""
_PANE = 5_000
"""Rows after which the older half of what is compared is let go."""
_BREATH = 0.005
"""Seconds between two columns, in which others have Python's lock: a thread that reckons on and on
would hold up each answer on its way to the network."""
_LEAST = 200
"""Of fewer rows the index is mostly chance."""
_MOST = 100
"""Features with a gauge, in the model's order: a wide model must not flood Prometheus."""


@dataclass
class _Recent:
    """The last rows of one version: a full pane, and one that fills."""

    reference: Reference
    inputs: tuple[Profile | None, Profile]
    outputs: tuple[Profile | None, Profile]


class DriftGauges:
    """The population stability index of recent rows, by version and column."""

    def __init__(self) -> None:
        self._batches: deque[tuple[LoadedModel, ScoredRows]] = deque()
        self._waiting = 0
        self._recent: dict[str, _Recent | None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.indices: Mapping[tuple[str, str, str], float] = {}
        """(version, part, column) -> index; part is inputs or outputs. Replaced as a whole."""
        self.rows: Mapping[tuple[str], float] = {}
        """(version,) -> rows that the indices are of."""

    def take(self, served: LoadedModel, scored: ScoredRows) -> None:
        """Lay a batch aside, unless enough rows are there."""
        if self._waiting < _TAKEN:
            self._waiting += len(scored.output)
            self._batches.append((served, scored))

    def start(self) -> None:
        """Begin to count in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def count(self) -> None:
        """Count what was laid aside, and renew the indices."""
        waiting: dict[str, tuple[LoadedModel, list[ScoredRows]]] = {}
        while self._batches:
            served, scored = self._batches.popleft()
            waiting.setdefault(served.model.number, (served, []))[1].append(scored)
        self._waiting = 0
        for number, (served, batches) in waiting.items():
            if number not in self._recent:
                self._recent[number] = _opened(served)
            recent = self._recent[number]
            if recent is not None:
                _add(recent, served, batches)
        if waiting:
            self._renew()

    def _run(self) -> None:
        while not self._ended.wait(_EVERY):
            try:
                self.count()
            except Exception as error:  # noqa: BLE001 - gauges must not end anything else
                log("watch", kind=type(error).__name__)

    def _renew(self) -> None:
        indices: dict[tuple[str, str, str], float] = {}
        rows: dict[tuple[str], float] = {}
        for number, recent in self._recent.items():
            if recent is None:
                continue
            for part in ("inputs", "outputs"):
                window = _whole(*getattr(recent, part))
                rows[number,] = window.rows
                if window.rows >= _LEAST:
                    found = _indices(getattr(recent.reference, part), window)
                    indices |= {(number, part, name): value for name, value in found.items()}
        self.indices, self.rows = indices, rows


def _opened(served: LoadedModel) -> _Recent | None:
    """An empty count for a version; None if its bundle has no profile."""
    import polars as pl

    from mlops_cli.drift.reference_file import read_reference

    try:
        reference = read_reference(served.model.folder)
    except MlopsError:
        return None
    nothing = [
        part.of(
            pl.DataFrame({name: pl.Series([], dtype=pl.Null) for name in part.columns}),
            0,
            _one_by_one,
        )
        for part in (reference.inputs, reference.outputs)
    ]
    return _Recent(reference, (None, nothing[0]), (None, nothing[1]))


def _add(recent: _Recent, served: LoadedModel, batches: list[ScoredRows]) -> None:
    import numpy as np
    import polars as pl

    from mlops_cli.drift.reference import output_frame

    names = list(recent.reference.inputs.columns)
    features = pl.DataFrame(
        {name: [v for b in batches for v in b.features[name]] for name in names}, strict=False
    )
    output = np.concatenate([b.output for b in batches])
    predictions = output_frame(output, served.scorer.bundle.labels.classes)
    recent.inputs = _moved(recent.reference.inputs, recent.inputs, features)
    recent.outputs = _moved(recent.reference.outputs, recent.outputs, predictions)


def _moved(
    reference: Profile, panes: tuple[Profile | None, Profile], frame: pl.DataFrame
) -> tuple[Profile | None, Profile]:
    old, filling = panes
    filling = filling.merge(reference.of(frame, filling.rows, _one_by_one))
    if filling.rows < _PANE:
        return old, filling
    return filling, reference.of(frame.clear(), 0, _one_by_one)


def _one_by_one(function: Callable[[str], T], columns: Iterable[str]) -> Iterator[T]:
    for column in columns:
        yield function(column)
        time.sleep(_BREATH)


def _whole(old: Profile | None, filling: Profile) -> Profile:
    return filling if old is None else old.merge(filling)


def _indices(reference: Profile, window: Profile) -> dict[str, float]:
    import numpy as np

    from mlops_cli.drift.distances import cells, psi

    found = {}
    for name in list(reference.columns)[:_MOST]:
        both = cells(reference.columns[name], window.columns[name])
        if both and window.columns[name].present:
            ours, theirs = (np.array([cell[side] for cell in both]) for side in (1, 2))
            found[name] = psi(ours, theirs)
    return found
