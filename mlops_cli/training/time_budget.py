"""How a search spends its time: on how many folds and rows, and what is left for the end."""

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

__all__ = ["MOST_ROWS", "Budget", "SearchPlan", "SearchShape", "plan"]

MOST_ROWS = 20_000
"""Up to so many known rows are cross-validated: beyond, one split decides as well and at less."""
_FOLDS, _LEAST_FOLDS = 5, 3
_FEW_ROWS = 2_000
"""Up to so many known rows are cross-validated however short the time: among the few hundred of
one validation split, trials win by chance."""
_TRIALS_AT_LEAST = 8
"""So many trials a time budget shall have room for."""
_LEAST_ROWS = 2_000
_ROUNDS = 300
_CELLS_A_SECOND, _ROUND_SECONDS = 1e8, 1e-3
"""What boosting does on one core, about: enough to choose between plans, not to promise times."""
_ENDING = 2.0
"""Seconds that go to anything but fits: starting two processes with their libraries, reading,
judging and writing."""
_MOST_RESERVED = 0.5
_MEMBERS = 3
_LAST_FITS = 2
"""So many models of all rows are fitted for a member after a cross-validation, at most."""
_SAFETY = 1.15
_LATE = 0.03
"""What else takes up to this share of the budget is fitted even where the time is over."""
_LEAST_SHARE = 0.25


@dataclass(frozen=True)
class SearchShape:
    """How large a task is: rows of train and validation, columns, outputs of a model."""

    train: int
    validation: int
    columns: int
    outputs: int = 1

    @property
    def known(self) -> int:
        """Rows of both splits."""
        return self.train + self.validation


@dataclass(frozen=True)
class SearchPlan:
    """How trials are judged: ``folds`` (1: the validation split), teaching ``rows`` at most."""

    folds: int
    rows: int

    @property
    def crossed(self) -> bool:
        """Whether rows of both splits are cross-validated."""
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
    """Choose folds and rows by the size of the data and the time that there is.

    Parameters
    ----------
    shape
        Of the task.
    ordered
        The splits follow each other in time: validation decides, as it lies after train.
    folds
        As asked for; None: by size.
    rows
        The most teaching rows of a trial.
    seconds
        The time budget; None: there is none, and the plan depends on the size alone.
    cores
        Folds that are fitted side by side.
    """
    if folds is None:
        small = shape.known <= min(MOST_ROWS, rows or MOST_ROWS)
        folds = _FOLDS if small and not ordered else 1
        if seconds is not None:
            fits = seconds * cores / (_TRIALS_AT_LEAST * _fit_seconds(shape, shape.known))
            least = min(folds, _LEAST_FOLDS) if shape.known <= _FEW_ROWS else 1
            folds = max([k for k in (_FOLDS, _LEAST_FOLDS) if k <= min(folds, fits)], default=least)
    if folds > 1:
        return SearchPlan(folds, shape.known - shape.known // folds)
    most = shape.train if rows is None else min(rows, shape.train)
    if seconds is not None:
        a_round = seconds * cores / (1.2 * _TRIALS_AT_LEAST) / (_ROUNDS * shape.outputs)
        affordable_rows = (a_round - _ROUND_SECONDS) * _CELLS_A_SECOND / max(1, shape.columns)
        most = min(most, max(_LEAST_ROWS, int(affordable_rows)))
    return SearchPlan(1, most)


def _fit_seconds(shape: SearchShape, rows: int) -> float:
    return _ROUNDS * shape.outputs * _round_seconds(shape, rows)


def _round_seconds(shape: SearchShape, rows: int) -> float:
    """A round takes longer with more rows, but few rows take it some time too."""
    return rows * shape.columns / _CELLS_A_SECOND + _ROUND_SECONDS


@dataclass(frozen=True)
class Budget:
    """The time of search and last fits together.

    Parameters
    ----------
    seconds
        In all; infinite: no limit.
    shape, plan
        What is learnt, and how trials are judged.
    kept
        Families whose models of the folds are kept, and not fitted again.
    starting
        Library -> seconds until it is ready to fit in another process.
    started
        On the monotonic clock.
    """

    seconds: float
    shape: SearchShape
    plan: SearchPlan
    kept: frozenset[str] = frozenset()
    starting: Mapping[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until its end."""
        return self.started + self.seconds - time.monotonic()

    @property
    def room(self) -> float:
        """Seconds until its end that fits may take."""
        return self.left - _ENDING

    @property
    def finals(self) -> bool:
        """Whether trials had fewer rows than train has, so that the best are fitted on all."""
        return not self.plan.crossed and self.plan.rows < self.shape.train

    @property
    def grows(self) -> float:
        """How many trials' time a fit on all rows of train takes."""
        return self._times(self.shape.train) if self.finals else 1.0

    def refit(self, family: str) -> float:
        """How many trials' time the last fit of a model takes."""
        times = self._times(self.shape.known)
        if not self.plan.crossed:
            return times
        return 0.0 if family in self.kept else times * _LAST_FITS / self.plan.folds

    def last_fits(self, trials: Sequence[tuple[str, float]]) -> list[float]:
        """Seconds that each last fit takes, with the start of a library that wasn't there yet.

        Parameters
        ----------
        trials
            Of each model the family, and the seconds that its trial took.
        """
        fits, there = [], set()
        for family, seconds in trials:
            library = FAMILIES[family].library
            # What is kept is only read.
            new = family not in self.kept and library not in there
            start = self.starting.get(library, 0.0) if new else 0.0
            there |= {library} if new else set()
            fits.append(seconds * self.refit(family) + start)
        return fits

    def final(self, seconds: float, planned: Sequence[float]) -> float | None:
        """Seconds that a fit on all rows of train may take; None: there is no time for it.

        Parameters
        ----------
        seconds
            That its trial took.
        planned
            Seconds of last fits that are to be made besides. Where there is none, fewer rounds
            than it would take are better than no such fit.
        """
        room = self.room - sum(planned)
        last = self._times(self.shape.known)
        needed = seconds * (self.grows + last)
        if room < needed * (_SAFETY if planned else _LEAST_SHARE):
            return None
        return room * self.grows / (self.grows + last)

    def _times(self, rows: int) -> float:
        return _round_seconds(self.shape, rows) / _round_seconds(self.shape, self.plan.rows)

    def reserve(self, ranked: Sequence[Trial]) -> float:
        """Seconds to keep for the last fits, going by the best trials so far."""
        if math.isinf(self.seconds):
            return 0.0
        finalists = self.grows if self.finals else 0.0
        members = 1 if self.finals else _MEMBERS
        # Members are seldom all of one family: the best of another is the second.
        other = next((t for t in ranked if t.family != ranked[0].family), None)
        first = sorted(ranked, key=lambda t: t is not ranked[0] and t is not other)[:members]
        work = finalists * sum(t.seconds for t in first)
        work += sum(self.last_fits([(t.family, t.seconds) for t in first]))
        return min(_ENDING + _SAFETY * work, _MOST_RESERVED * self.seconds)

    def affordable(self, trials: Sequence[tuple[str, float]]) -> int:
        """How many models there is time to fit for the last time: the first in any case.

        Parameters
        ----------
        trials
            Of each model the family, and the seconds that its trial took.
        """
        first, *others = (_SAFETY * each for each in self.last_fits(trials))
        left = max(self.room - first, _LATE * self.seconds)
        return 1 + sum(end <= left for end in accumulate(others))
