"""What every model family offers: settings to search as data, fit, predict, files."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from mlops_cli.errors import DataRefused, MlopsError, install_hint
from mlops_cli.models.families.constant import CONSTANT, Constant, only_constant
from mlops_cli.models.families.fit_request import FitRequest, Floats, Settings
from mlops_cli.models.families.task_info import TaskInfo
from mlops_cli.params.modelling import Dimension

__all__ = ["Family", "FittedModel", "Setting", "steps_of_joint_trees", "steps_of_trees"]


_SHOWN = 200
"""Characters of a library's message."""


@dataclass(frozen=True)
class Setting:
    """One setting of a family: where to search, and what the first trial takes."""

    dimension: Dimension
    default: bool | int | float | str


class FittedModel(Protocol):
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
        Its own fit, of a request with all settings; ``fit`` calls it.
    reader
        Builds its own model back, of no object that is not on our list. Whatever it raises of
        damaged bytes, ``from_files`` turns into DataRefused.
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
    fitter: Callable[[FitRequest], FittedModel]
    reader: Callable[[Mapping[str, bytes]], FittedModel]
    portfolio: tuple[Mapping[str, Any], ...] = ()
    rounds: int | None = None
    needs: str | None = None
    library: str = "scikit-learn"
    losses: frozenset[str] = frozenset({"log", "squared"})
    monotone: frozenset[str] = frozenset()
    milliseconds: float = 1.0
    steps: Callable[[Settings, int | None, int], float] = steps_of_trees
    copies: int | None = 2
    shortener: Callable[[Any, int], FittedModel] | None = None
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

    def fit(self, request: FitRequest) -> FittedModel:
        """Fit a model; a constant where all rows or all truths are alike.

        Settings that the request doesn't give are the family's defaults.
        """
        constant = only_constant(request.X, request.y, request.task, request.weight)
        settings = self.defaults | dict(request.settings)
        return constant or self.fitter(replace(request, settings=settings))

    def from_files(self, files: Mapping[str, bytes]) -> FittedModel:
        """The model that ``to_files`` wrote.

        Raises
        ------
        DataRefused
            If it isn't one, or holds what no model of ours holds.
        """
        if set(files) == {CONSTANT}:
            return Constant.from_bytes(files[CONSTANT])
        if not self.installed:
            raise DataRefused(
                f"the model is one of {self.name}, which is not installed",
                install_hint(str(self.needs)),
            )
        try:
            return self.reader(files)
        except (MlopsError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - libraries raise what they like of damaged bytes
            reason = (str(error).splitlines() or [""])[0][:_SHOWN]
            raise DataRefused(
                f"{', '.join(files) or 'nothing'} is not a model of the family {self.name} that "
                f"can be read ({type(error).__name__}: {reason})",
                "Fetch the model again, or train it anew.",
            ) from None

    def shortened(self, fitted: FittedModel, part: float) -> FittedModel:
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
