"""What every model family offers: settings to search as data, fit, predict, files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlops_cli.params.modelling import Dimension

__all__ = ["Family", "Fitted", "Floats", "Pruned", "Rounds", "Setting", "TaskInfo", "Watch"]

Floats = npt.NDArray[np.float64]
Settings = Mapping[str, Any]

STEPS = 10
"""A fit says at most so many times how good it is: at each tenth of its budget."""


_SMALL = 200_000
"""Below so many cells threads wait for each other longer than they work."""


class Pruned(Exception):  # not an error: a decision to stop
    """Raised by ``Watch.report`` to end a fit that is not worth finishing."""


@dataclass(frozen=True)
class TaskInfo:
    """What is learnt: ``type``, number of classes (0: regression), positions of category codes."""

    type: str
    classes: int
    categorical: tuple[int, ...] = ()


@dataclass(frozen=True)
class Setting:
    """One setting of a family: where to search, and what the first trial takes."""

    dimension: Dimension
    default: bool | int | float | str


@dataclass(frozen=True)
class Watch:
    """Data outside the fit, by which it may say how good it is and stop early.

    Parameters
    ----------
    X
        The matrix (rows, features) to predict.
    score
        Prediction -> score, larger is better.
    report
        Called with the step (1 to 10) and the score so far; may raise ``Pruned``.
    patience
        Rounds without a better score after which to stop; None: never.
    """

    X: Floats
    score: Callable[[Floats], float]
    report: Callable[[int, float], None] | None = None
    patience: int | None = None


class Fitted(Protocol):
    """A fitted model."""

    @property
    def iterations(self) -> int | None:
        """The best number of rounds (trees), or None where the family has none."""

    @property
    def importances(self) -> Floats:
        """Per feature (features,), none negative, summing to 1 or all 0."""

    def predict(self, X: Floats) -> Floats:
        """Probabilities (rows, classes), or values (rows,) for regression."""

    def to_files(self) -> dict[str, bytes]:
        """File name -> content; the same model gives the same bytes."""


class Fit(Protocol):
    """The signature of every family's fit."""

    def __call__(
        self,
        X: Floats,
        y: npt.NDArray[Any],
        task: TaskInfo,
        settings: Settings,
        *,
        seed: int,
        threads: int | None = None,
        watch: Watch | None = None,
        iterations: int | None = None,
    ) -> Fitted:
        """Fit on X (rows, features) and y, class codes or values (rows,).

        ``iterations`` is the exact number of rounds without a watch, and the most with one.
        ``threads`` (default: all cores) changes the speed, never the result.
        """


@dataclass(frozen=True)
class Family:
    """A row of the table of families."""

    name: str
    space: Mapping[str, Setting]
    fit: Fit
    from_files: Callable[[Mapping[str, bytes]], Fitted]
    """Builds the model back; raises DataRefused before it makes an object not on our list."""
    rounds: int | None = None
    """The most rounds in a search; None where the family has none."""
    tasks: frozenset[str] = field(
        default_factory=lambda: frozenset({"binary", "multiclass", "regression"})
    )


class Rounds:
    """Follows the score of a model that grows round by round.

    Parameters
    ----------
    watch
        Whom to tell.
    total
        The most rounds.
    """

    def __init__(self, watch: Watch, total: int) -> None:
        self.watch = watch
        self.total = total
        self.best = 0
        self.best_score = -np.inf
        self._step = 0

    def see(self, done: int, prediction: Floats) -> bool:
        """Take the prediction after ``done`` rounds; say whether to stop."""
        score = self.watch.score(prediction)
        if score > self.best_score or self.best == 0:
            self.best, self.best_score = done, score
        step = done * STEPS // self.total
        if self.watch.report and step > self._step:
            self._step = step
            self.watch.report(step, self.best_score)
        return self.watch.patience is not None and done - self.best >= self.watch.patience


def cores(threads: int | None, X: Floats) -> int:
    """Threads to use: as given, or all that this process may run on; one where X is small."""
    if threads:
        return threads
    if X.size < _SMALL:
        return 1
    # Not everywhere can a process be asked where it may run.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(probabilities: Floats, present: npt.NDArray[Any], classes: int) -> Floats:
    """Probabilities (n, present) as (n, classes): 0 for a class that the fit never saw."""
    if probabilities.shape[1] == classes:
        return probabilities
    wide = np.zeros((len(probabilities), classes))
    wide[:, np.asarray(present, dtype=np.int64)] = probabilities
    return wide


def shares(weights: Floats) -> Floats:
    """Weights (features,) divided by their sum; zeros stay zeros."""
    total = float(weights.sum())
    return weights / total if total > 0 else np.zeros(len(weights))
