"""What every model family offers: settings to search as data, fit, predict, files."""

from __future__ import annotations

import importlib.util
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlops_cli.core.learners.constant import CONSTANT, Constant, only_constant
from mlops_cli.core.learners.task_info import TaskInfo
from mlops_cli.errors import DataRefused, MlopsError
from mlops_cli.params.modelling import Dimension

__all__ = [
    "Family",
    "Fitted",
    "Floats",
    "Pruned",
    "Rounds",
    "Setting",
    "Settings",
    "TaskInfo",
    "Watch",
    "available_cores",
    "cores",
    "deadline",
    "finished",
    "shares",
    "sigmoid",
    "softmax",
    "spread",
    "steps_of_joint_trees",
    "steps_of_trees",
    "two_columns",
]

Floats = npt.NDArray[np.float64]
Settings = Mapping[str, Any]

STEPS = 10
"""A fit says at most so many times how good it is: at each tenth of its budget."""


_SMALL = 200_000
"""Below so many cells threads wait for each other longer than they work."""


class Pruned(Exception):  # not an error: a decision to stop
    """Raised by ``Watch.report`` to end a fit that is not worth finishing."""


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
    seen
        Gets the prediction of the model that the fit gives back, where the fit knows it already.
    """

    X: Floats
    score: Callable[[Floats], float]
    report: Callable[[int, float], None] | None = None
    patience: int | None = None
    seen: list[Floats] = field(default_factory=list)


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
        weight: Floats | None = None,
        seconds: float | None = None,
    ) -> Fitted:
        """Fit on X (rows, features) and y, class codes or values (rows,).

        ``iterations`` is the exact number of rounds without a watch, and the most with one.
        ``threads`` (default: all cores) changes the speed, never the result. ``weight`` says how
        much each row counts, (rows,). After ``seconds`` no further rounds are begun.
        """


def steps_of_trees(settings: Settings, rounds: int | None, classes: int) -> float:
    """``Family.steps`` of boosting with a tree a class; 0 where there are no rounds."""
    return steps_of_joint_trees(settings, rounds, classes) * (classes if classes > 2 else 1)  # noqa: PLR2004


def steps_of_joint_trees(settings: Settings, rounds: int | None, classes: int) -> float:  # noqa: ARG001
    """``Family.steps`` where one tree answers for all classes."""
    if not rounds:
        return 0.0
    depths = [float(settings[name]) for name in ("depth", "max_depth") if name in settings]
    return rounds * (depths[0] if depths else math.log2(settings["max_leaves"]))


@dataclass(frozen=True)
class Family:
    """A row of the table of families.

    Attributes
    ----------
    space
        What there is to search.
    fitter
        Its own fit; ``fit`` goes by it.
    reader
        Builds its own model back; raises DataRefused before it makes an object not on our list.
    portfolio
        Settings to try after the defaults, the most promising first; each names what differs.
    rounds
        The most rounds in a search; None where the family has none.
    needs
        The package that fits and scores; None where every install has it.
    library
        What its fit has to import, which takes time once in a process.
    losses
        What its fit can make small.
    monotone
        Losses with which it takes monotone constraints.
    milliseconds
        About what one row costs, measured once with its defaults; the same on all machines, so
        that what is chosen by it is, too.
    steps
        Settings, rounds and classes -> how many nodes of trees (or their like) a row passes: how
        simple a model is, and how soon it answers among many rows.
    copies
        After a cross-validation a member of an ensemble is the mean of so many models of all rows,
        each with a seed of its own; None: of the models of the folds, where a single fit is so
        unsteady that fewer rows and more models are better.
    opaque
        Whether its library reads a file that we can't check before: a bundle of others with such a
        model is tried in a child process first.
    shortener
        Own model, rounds -> the model as it was after so many; None where it can't say.
    """

    name: str
    space: Mapping[str, Setting]
    fitter: Fit
    reader: Callable[[Mapping[str, bytes]], Fitted]
    portfolio: tuple[Mapping[str, Any], ...] = ()
    rounds: int | None = None
    needs: str | None = None
    library: str = "scikit-learn"
    losses: frozenset[str] = frozenset({"log", "squared"})
    monotone: frozenset[str] = frozenset()
    milliseconds: float = 1.0
    steps: Callable[[Settings, int | None, int], float] = steps_of_trees
    copies: int | None = 2
    shortener: Callable[[Any, int], Fitted] | None = None
    opaque: bool = False
    tasks: frozenset[str] = field(
        default_factory=lambda: frozenset({"binary", "multiclass", "regression"})
    )

    @property
    def installed(self) -> bool:
        """Whether its package is there; it is not imported."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None

    @property
    def defaults(self) -> dict[str, Any]:
        """Setting -> what the first trial takes."""
        return {name: setting.default for name, setting in self.space.items()}

    def fit(
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
        weight: Floats | None = None,
        seconds: float | None = None,
    ) -> Fitted:
        """See ``Fit``; where all rows or all truths are alike, the model is a constant."""
        return only_constant(X, y, task, weight) or self.fitter(
            X,
            y,
            task,
            self.defaults | dict(settings),
            seed=seed,
            threads=threads,
            watch=watch,
            iterations=iterations,
            weight=weight,
            seconds=seconds,
        )

    def from_files(self, files: Mapping[str, bytes]) -> Fitted:
        """The model that ``to_files`` wrote.

        Raises
        ------
        DataRefused
            If it isn't one, or holds what no model of ours holds.
        """
        if set(files) == {CONSTANT}:
            return Constant.from_bytes(files[CONSTANT])
        try:
            return self.reader(files)
        except (MlopsError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - libraries raise what they like of damaged bytes
            raise DataRefused(
                f"{', '.join(files) or 'nothing'} is not a model of the family {self.name} that "
                f"can be read ({type(error).__name__})",
                "Fetch the model again, or train it anew.",
            ) from None

    def shortened(self, fitted: Fitted, part: float) -> Fitted:
        """The model with about such a part of its rounds, the first ones; else as it is."""
        rounds = fitted.iterations
        if self.shortener is None or not rounds:
            return fitted
        return self.shortener(fitted, max(1, int(rounds * part)))

    def candidates(self) -> list[dict[str, Any]]:
        """Whole settings to try first: the defaults, then the portfolio."""
        return [self.defaults, *(self.defaults | dict(given) for given in self.portfolio)]

    def unfit(self, task: TaskInfo) -> str | None:
        """Why it cannot learn this, in a few words; None where it can."""
        if task.type not in self.tasks:
            return f"is not for {task.type} tasks"
        if task.loss not in self.losses:
            return f"has no objective {task.objective}"
        if any(task.monotone) and task.loss not in self.monotone:
            also = f" with the objective {task.objective}" if self.monotone else ""
            return f"takes no monotone constraints{also}"
        return None


class Rounds:
    """Follows the score of a model that grows round by round.

    Parameters
    ----------
    watch
        Whom to tell.
    total
        The most rounds.
    cuts
        Whether the model will end with the best round, and so predict what it predicted there.
    """

    def __init__(self, watch: Watch, total: int, *, cuts: bool = True) -> None:
        self.watch = watch
        self.total = total
        self.cuts = cuts
        self.best = 0
        self.best_score = -np.inf
        self._step = 0

    def see(self, done: int, prediction: Floats) -> bool:
        """Take the prediction after ``done`` rounds; say whether to stop."""
        score = self.watch.score(prediction)
        if score > self.best_score or self.best == 0:
            self.best, self.best_score = done, score
            if self.cuts:
                self.watch.seen[:] = [prediction]
        step = done * STEPS // self.total
        if self.watch.report and step > self._step:
            self._step = step
            self.watch.report(step, self.best_score)
        return self.watch.patience is not None and done - self.best >= self.watch.patience


def deadline(seconds: float | None) -> Callable[[], bool]:
    """A function that says whether so many seconds have passed since now."""
    ends = math.inf if seconds is None else time.monotonic() + seconds
    return lambda: time.monotonic() >= ends


def cores(threads: int | None, X: Floats) -> int:
    """Threads to use: as given, or all that this process may run on; one where X is small."""
    if threads:
        return threads
    return 1 if X.size < _SMALL else available_cores()


def available_cores() -> int:
    """How many cores this process may run on."""
    # Not everywhere can a process be asked.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(probabilities: Floats, present: npt.NDArray[Any], classes: int) -> Floats:
    """Probabilities (n, present) as (n, classes): 0 for a class that the fit never saw."""
    if probabilities.shape[1] == classes:
        return probabilities
    wide = np.zeros((len(probabilities), classes))
    wide[:, np.asarray(present, dtype=np.int64)] = probabilities
    return wide


def finished(scores: Floats, loss: str, present: npt.NDArray[Any], classes: int) -> Floats:
    """Raw scores (rows, outputs) of a model that made ``loss`` small, as ``Fitted.predict``."""
    if loss == "log":
        known = two_columns(sigmoid(scores[:, 0])) if scores.shape[1] == 1 else softmax(scores)
        return spread(known, present, classes)
    return np.exp(np.clip(scores[:, 0], None, 700.0)) if loss == "poisson" else scores[:, 0]


def two_columns(positive: Floats) -> Floats:
    """Probabilities of the positive class (n,) as (n, 2)."""
    return np.column_stack([1.0 - positive, positive])


def sigmoid(score: Floats) -> Floats:
    """Log-odds (n,) as probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -700.0, 700.0))))


def softmax(scores: Floats) -> Floats:
    """Raw scores (n, classes) as probabilities."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def shares(weights: Floats) -> Floats:
    """Weights (features,) divided by their sum; zeros stay zeros."""
    total = float(weights.sum())
    return weights / total if total > 0 else np.zeros(len(weights))
