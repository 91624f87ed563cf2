"""Drift gauges: PSI of recent requests against each version's reference profile.

A scored batch is only queued, with its features and predictions as they are; a thread counts the
queued batches periodically. So a request pays for no more than the queueing. A busy service queues
only some of its rows between two counts, which is a sample.
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

_COUNT_SECONDS = 15.0
"""Seconds between two counts."""
_MAX_QUEUED = 1_000
"""Rows that may be queued for counting; further batches are skipped."""
_PANE_ROWS = 5_000
"""Rows of a pane: when the new pane is full, the old one is dropped."""
_YIELD_SECONDS = 0.005
"""Seconds of sleep between two columns, which frees the GIL for other threads: a thread that counts
without a break would delay every response."""
_MIN_ROWS = 200
"""Minimum rows for an index: of fewer rows it is mostly noise."""
_MAX_FEATURES = 100
"""Features with a gauge, in the model's order: a wide model must not flood Prometheus."""


@dataclass
class _Recent:
    """Recent rows of one version: profiles of a full pane (if any) and of the filling one."""

    reference: Reference
    inputs: tuple[Profile | None, Profile]
    outputs: tuple[Profile | None, Profile]


class DriftGauges:
    """The population stability index of recent rows, by version and column."""

    def __init__(self) -> None:
        self._batches: deque[tuple[LoadedModel, ScoredRows]] = deque()
        self._queued_rows = 0
        self._recent: dict[str, _Recent | None] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self.indices: Mapping[tuple[str, str, str], float] = {}
        """(version, part, column) -> index; the part is inputs or outputs. Replaced as a whole."""
        self.rows: Mapping[tuple[str], float] = {}
        """(version,) -> number of rows behind the indices."""

    def add_batch(self, served: LoadedModel, scored: ScoredRows) -> None:
        """Queue a batch for counting, unless enough rows are queued."""
        if self._queued_rows < _MAX_QUEUED:
            self._queued_rows += len(scored.output)
            self._batches.append((served, scored))

    def start(self) -> None:
        """Start the thread that counts."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def count(self) -> None:
        """Count the queued batches, and update the indices."""
        queued: dict[str, tuple[LoadedModel, list[ScoredRows]]] = {}
        while self._batches:
            served, scored = self._batches.popleft()
            queued.setdefault(served.model.number, (served, []))[1].append(scored)
        self._queued_rows = 0
        for number, (served, batches) in queued.items():
            if number not in self._recent:
                self._recent[number] = _open_recent(served)
            recent = self._recent[number]
            if recent is not None:
                _add(recent, served, batches)
        if queued:
            self._update_indices()

    def _run(self) -> None:
        while not self._ended.wait(_COUNT_SECONDS):
            try:
                self.count()
            except Exception as error:  # noqa: BLE001 - a fault in gauges must not end the thread
                log("watch", kind=type(error).__name__)

    def _update_indices(self) -> None:
        indices: dict[tuple[str, str, str], float] = {}
        rows: dict[tuple[str], float] = {}
        for number, recent in self._recent.items():
            if recent is None:
                continue
            for part in ("inputs", "outputs"):
                window = _merge_panes(*getattr(recent, part))
                rows[number,] = window.rows
                if window.rows >= _MIN_ROWS:
                    psis = _indices(getattr(recent.reference, part), window)
                    indices |= {(number, part, name): value for name, value in psis.items()}
        self.indices, self.rows = indices, rows


def _open_recent(served: LoadedModel) -> _Recent | None:
    """Empty profiles for a version; None if its bundle has no reference profile."""
    import polars as pl

    from mlops_cli.drift.reference_file import read_reference

    try:
        reference = read_reference(served.model.folder)
    except MlopsError:
        return None
    empty = [
        part.profile_frame(
            pl.DataFrame({name: pl.Series([], dtype=pl.Null) for name in part.columns}),
            0,
            _map_with_pauses,
        )
        for part in (reference.inputs, reference.outputs)
    ]
    return _Recent(reference, (None, empty[0]), (None, empty[1]))


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
    recent.inputs = _add_to_panes(recent.reference.inputs, recent.inputs, features)
    recent.outputs = _add_to_panes(recent.reference.outputs, recent.outputs, predictions)


def _add_to_panes(
    reference: Profile, panes: tuple[Profile | None, Profile], frame: pl.DataFrame
) -> tuple[Profile | None, Profile]:
    """The panes with the rows of a frame; a full pane becomes the old one."""
    old, filling = panes
    filling = filling.merge(reference.profile_frame(frame, filling.rows, _map_with_pauses))
    if filling.rows < _PANE_ROWS:
        return old, filling
    return filling, reference.profile_frame(frame.clear(), 0, _map_with_pauses)


def _map_with_pauses(function: Callable[[str], T], columns: Iterable[str]) -> Iterator[T]:
    """``map`` over columns, with a pause after each of them."""
    for column in columns:
        yield function(column)
        time.sleep(_YIELD_SECONDS)


def _merge_panes(old: Profile | None, filling: Profile) -> Profile:
    return filling if old is None else old.merge(filling)


def _indices(reference: Profile, window: Profile) -> dict[str, float]:
    import numpy as np

    from mlops_cli.drift.distances import cells, psi

    indices = {}
    for name in list(reference.columns)[:_MAX_FEATURES]:
        counts = cells(reference.columns[name], window.columns[name])
        if counts and window.columns[name].present:
            ours, theirs = (np.array([cell[side] for cell in counts]) for side in (1, 2))
            indices[name] = psi(ours, theirs)
    return indices
