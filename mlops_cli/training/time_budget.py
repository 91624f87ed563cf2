"""Time budget of tune: number of folds and rows, and the time reserved for the final fits."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from mlops_cli.models.families import FAMILIES

if TYPE_CHECKING:
    from mlops_cli.training.search.trials import Trial

__all__ = ["MAX_CROSS_VALIDATED_ROWS", "Budget", "SearchPlan", "SearchShape", "plan"]

MAX_CROSS_VALIDATED_ROWS = 20_000
"""Up to this number of train and validation rows, the search cross-validates. With more rows, one
validation split is as good and cheaper."""
_FOLDS, _MIN_FOLDS = 5, 3
_FEW_ROWS = 2_000
"""Up to this number of train and validation rows, the search cross-validates whatever the time. On
the few hundred rows of one validation split, trials would win by chance."""
_MIN_TRIALS = 8
"""Number of trials for which the time budget must suffice."""
_MIN_ROWS = 2_000
_ROUNDS = 300
_CELLS_PER_SECOND, _ROUND_SECONDS = 1e8, 1e-3
"""Approximate speed of boosting on one core, for choosing a plan, not for predicting times."""
_OVERHEAD_SECONDS = 2.0
"""Time for everything but fits: starting two processes with their libraries, reading, scoring and
writing."""
_MAX_RESERVED_SHARE = 0.5
_MEMBERS = 3
_MAX_COPIES = 2
"""Maximum number of models on all rows per member, after a cross-validation (``Family.copies``)."""
_SAFETY = 1.15
_OVERTIME_SHARE = 0.03
"""Further members are fitted in up to this share of the budget, even if the time is over."""
_MIN_FINAL_SHARE = 0.25


@dataclass(frozen=True)
class SearchShape:
    """Size of a task: rows of train and validation, columns, outputs of a model."""

    train_rows: int
    validation_rows: int
    columns: int
    outputs: int = 1

    @property
    def total_rows(self) -> int:
        """Number of rows of both splits."""
        return self.train_rows + self.validation_rows


@dataclass(frozen=True)
class SearchPlan:
    """Validation of trials: ``folds`` (1: the validation split) and at most ``rows`` to fit on."""

    folds: int
    rows: int

    @property
    def cross_validated(self) -> bool:
        """Whether trials are cross-validated on the rows of both splits."""
        return self.folds > 1


def plan(
    shape: SearchShape,
    *,
    ordered: bool,
    folds: int | None,
    rows: int | None,
    seconds: float | None,
    cores: int,
) -> SearchPlan:
    """Choose the number of folds and rows by the size of the data and the time budget.

    Parameters
    ----------
    shape
        Size of the task.
    ordered
        The splits follow each other in time, so trials are scored on the later validation split.
    folds
        ``tune.folds``; None: chosen by size and time.
    rows
        Maximum number of training rows of a trial; None: no limit.
    seconds
        The time budget; None: no limit, and the plan depends on the size alone.
    cores
        Number of folds that are fitted in parallel.
    """
    if folds is None:
        small = shape.total_rows <= min(MAX_CROSS_VALIDATED_ROWS, rows or MAX_CROSS_VALIDATED_ROWS)
        folds = _FOLDS if small and not ordered else 1
        if seconds is not None:
            fits = seconds * cores / (_MIN_TRIALS * _fit_seconds(shape, shape.total_rows))
            least = min(folds, _MIN_FOLDS) if shape.total_rows <= _FEW_ROWS else 1
            folds = max([k for k in (_FOLDS, _MIN_FOLDS) if k <= min(folds, fits)], default=least)
    if folds > 1:
        return SearchPlan(folds, shape.total_rows - shape.total_rows // folds)
    max_rows = shape.train_rows if rows is None else min(rows, shape.train_rows)
    if seconds is not None:
        round_seconds = seconds * cores / (1.2 * _MIN_TRIALS) / (_ROUNDS * shape.outputs)
        affordable_rows = (
            (round_seconds - _ROUND_SECONDS) * _CELLS_PER_SECOND / max(1, shape.columns)
        )
        max_rows = min(max_rows, max(_MIN_ROWS, int(affordable_rows)))
    return SearchPlan(1, max_rows)


def _fit_seconds(shape: SearchShape, rows: int) -> float:
    return _ROUNDS * shape.outputs * _round_seconds(shape, rows)


def _round_seconds(shape: SearchShape, rows: int) -> float:
    """Estimated seconds of a boosting round: a fixed part, and a part per cell."""
    return rows * shape.columns / _CELLS_PER_SECOND + _ROUND_SECONDS


@dataclass(frozen=True)
class Budget:
    """Time budget of the search and the final fits together.

    Parameters
    ----------
    seconds
        Total time; infinite: no limit.
    shape, plan
        Size of the task, and validation of the trials.
    bagged_families
        Families whose fold models are reused instead of a final fit.
    library_start_seconds
        Library -> seconds that it takes to start in another process.
    start_time
        Start of the budget on the monotonic clock.
    """

    seconds: float
    shape: SearchShape
    plan: SearchPlan
    bagged_families: frozenset[str] = frozenset()
    library_start_seconds: Mapping[str, float] = field(default_factory=dict)
    start_time: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """Seconds until the end of the budget."""
        return self.start_time + self.seconds - time.monotonic()

    @property
    def seconds_for_fits(self) -> float:
        """Seconds until the end of the budget that are left for fits."""
        return self.seconds_left - _OVERHEAD_SECONDS

    @property
    def refits_finalists(self) -> bool:
        """Whether the best trials are fitted again on all rows of train, as trials had fewer."""
        return not self.plan.cross_validated and self.plan.rows < self.shape.train_rows

    @property
    def finalist_factor(self) -> float:
        """Time of a fit on all rows of train, as a multiple of its trial's time."""
        return self._relative_time(self.shape.train_rows) if self.refits_finalists else 1.0

    def final_fit_factor(self, family: str) -> float:
        """Time of a model's final fit, as a multiple of its trial's time."""
        times = self._relative_time(self.shape.total_rows)
        if not self.plan.cross_validated:
            return times
        return 0.0 if family in self.bagged_families else times * _MAX_COPIES / self.plan.folds

    def final_fit_seconds(self, trials: Sequence[tuple[str, float]]) -> list[float]:
        """Seconds of each final fit, including the start of a library at its first use.

        Parameters
        ----------
        trials
            Family of each model, and the seconds of its trial.
        """
        fits, loaded = [], set()
        for family, seconds in trials:
            library = FAMILIES[family].library
            # Fold models that are reused are only read from files.
            must_start = family not in self.bagged_families and library not in loaded
            start = self.library_start_seconds.get(library, 0.0) if must_start else 0.0
            loaded |= {library} if must_start else set()
            fits.append(seconds * self.final_fit_factor(family) + start)
        return fits

    def finalist_time_limit(self, seconds: float, planned: Sequence[float]) -> float | None:
        """Seconds that a fit on all rows of train may take; None if there is no time for it.

        Parameters
        ----------
        seconds
            Time of its trial.
        planned
            Seconds of the other planned final fits. If there are none, a fit with fewer rounds is
            better than no fit.
        """
        room = self.seconds_for_fits - sum(planned)
        final_fit = self._relative_time(self.shape.total_rows)
        needed = seconds * (self.finalist_factor + final_fit)
        if room < needed * (_SAFETY if planned else _MIN_FINAL_SHARE):
            return None
        return room * self.finalist_factor / (self.finalist_factor + final_fit)

    def _relative_time(self, rows: int) -> float:
        return _round_seconds(self.shape, rows) / _round_seconds(self.shape, self.plan.rows)

    def reserve(self, ranked: Sequence[Trial]) -> float:
        """Seconds to reserve for the final fits, estimated from the best trials so far."""
        if math.isinf(self.seconds):
            return 0.0
        finalists = self.finalist_factor if self.refits_finalists else 0.0
        members = 1 if self.refits_finalists else _MEMBERS
        # Members are seldom all of one family, so the best trial of another family is included.
        other = next((t for t in ranked if t.family != ranked[0].family), None)
        likely = sorted(ranked, key=lambda t: t is not ranked[0] and t is not other)[:members]
        fit_seconds = finalists * sum(t.seconds for t in likely)
        fit_seconds += sum(self.final_fit_seconds([(t.family, t.seconds) for t in likely]))
        return min(_OVERHEAD_SECONDS + _SAFETY * fit_seconds, _MAX_RESERVED_SHARE * self.seconds)

    def affordable_fits(self, trials: Sequence[tuple[str, float]]) -> int:
        """Number of models that there is time to fit finally; at least one.

        Parameters
        ----------
        trials
            Family of each model, and the seconds of its trial.
        """
        first, *others = (_SAFETY * each for each in self.final_fit_seconds(trials))
        left = max(self.seconds_for_fits - first, _OVERTIME_SHARE * self.seconds)
        return 1 + sum(end <= left for end in accumulate(others))
