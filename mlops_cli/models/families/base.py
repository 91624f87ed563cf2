"""Interface of a model family: search space, fit, predict, and model files."""

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
from mlops_cli.params.tune import Dimension

__all__ = ["Family", "FittedModel", "Setting", "steps_of_joint_trees", "steps_of_trees"]


_MESSAGE_LENGTH = 200
"""Characters of a library's error message that are shown."""


@dataclass(frozen=True)
class Setting:
    """One setting of a family: its search range, and its value in the first trial."""

    dimension: Dimension
    default: bool | int | float | str


class FittedModel(Protocol):
    """A fitted model."""

    @property
    def iterations(self) -> int | None:
        """The best number of rounds (trees); None if the family has no rounds."""

    @property
    def importances(self) -> Floats:
        """Feature importances (features,): non-negative, with sum 1 or all 0."""

    def predict(self, X: Floats) -> Floats:
        """Probabilities (rows, classes), or values (rows,) for regression."""

    def to_files(self) -> dict[str, bytes]:
        """File name -> content; the same model gives the same bytes."""


def steps_of_trees(settings: Settings, rounds: int | None, classes: int) -> float:
    """``Family.steps`` of boosting with one tree per class; 0 without rounds."""
    return steps_of_joint_trees(settings, rounds, classes) * (classes if classes > 2 else 1)  # noqa: PLR2004


def steps_of_joint_trees(settings: Settings, rounds: int | None, classes: int) -> float:  # noqa: ARG001
    """``Family.steps`` of models whose trees each predict all classes; 0 without rounds."""
    if not rounds:
        return 0.0
    depths = [float(settings[name]) for name in ("depth", "max_depth") if name in settings]
    return rounds * (depths[0] if depths else math.log2(settings["max_leaves"]))


@dataclass(frozen=True)
class Family:
    """A model family, such as ``lightgbm``.

    Attributes
    ----------
    space
        The search space: setting -> range and default.
    fitter
        The family's own fit of a request with all settings; ``fit`` calls it.
    reader
        Loads the family's own model, and builds only objects of an allowed type. ``from_files``
        turns its exceptions for damaged bytes into DataRefused.
    portfolio
        Settings to try after the defaults, the most promising first; each has only the settings
        that differ from the defaults.
    rounds
        The maximum number of rounds in a search; None if the family has no rounds.
    package
        The package that fits and scores; None if it is always installed.
    library
        The library that a fit imports, which takes time once in a process.
    losses
        Losses that a fit can minimise.
    monotone_losses
        Losses with which monotone constraints are supported.
    milliseconds
        Approximate time to predict one row, measured once with the defaults. It is the same on all
        machines, so that choices based on it are, too.
    steps
        Settings, rounds and classes -> number of tree nodes (or similar steps) that a row passes.
        It measures how simple a model is, and how fast it predicts many rows.
    copies
        After a cross-validation a member of an ensemble is the mean of this number of models of all
        rows, each with its own seed. None: it is the mean of the fold models, for families whose
        single fits vary so much that more models of fewer rows are better.
    unsafe_format
        Whether its library reads a file that we can't check before. A bundle with such a model,
        which may come from others, is loaded in a child process first.
    shortener
        Model and rounds -> the model after this number of rounds; None if not supported.
    """

    name: str
    space: Mapping[str, Setting]
    fitter: Callable[[FitRequest], FittedModel]
    reader: Callable[[Mapping[str, bytes]], FittedModel]
    portfolio: tuple[Mapping[str, Any], ...] = ()
    rounds: int | None = None
    package: str | None = None
    library: str = "scikit-learn"
    losses: frozenset[str] = frozenset({"log", "squared"})
    monotone_losses: frozenset[str] = frozenset()
    milliseconds: float = 1.0
    steps: Callable[[Settings, int | None, int], float] = steps_of_trees
    copies: int | None = 2
    shortener: Callable[[Any, int], FittedModel] | None = None
    unsafe_format: bool = False
    tasks: frozenset[str] = field(
        default_factory=lambda: frozenset({"binary", "multiclass", "regression"})
    )

    @property
    def installed(self) -> bool:
        """Whether its package is installed; the package isn't imported."""
        return self.package is None or importlib.util.find_spec(self.package) is not None

    @property
    def defaults(self) -> dict[str, Any]:
        """Setting -> its value in the first trial."""
        return {name: setting.default for name, setting in self.space.items()}

    def fit(self, request: FitRequest) -> FittedModel:
        """Fit a model, or a constant if all rows or all labels are equal.

        Settings that are missing in the request take the family's defaults.
        """
        constant = only_constant(request.X, request.y, request.task, request.weight)
        settings = self.defaults | dict(request.settings)
        return constant or self.fitter(replace(request, settings=settings))

    def from_files(self, files: Mapping[str, bytes]) -> FittedModel:
        """Load the model that ``to_files`` wrote.

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
                install_hint(str(self.package)),
            )
        try:
            return self.reader(files)
        except (MlopsError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - libraries raise what they like of damaged bytes
            reason = (str(error).splitlines() or [""])[0][:_MESSAGE_LENGTH]
            raise DataRefused(
                f"{', '.join(files) or 'nothing'} is not a model of the family {self.name} that "
                f"can be read ({type(error).__name__}: {reason})",
                "Fetch the model again, or train it again.",
            ) from None

    def shorten(self, fitted: FittedModel, share: float) -> FittedModel:
        """The model with about the first ``share`` of its rounds, or unchanged if not supported."""
        rounds = fitted.iterations
        if self.shortener is None or not rounds:
            return fitted
        return self.shortener(fitted, max(1, int(rounds * share)))

    def candidates(self) -> list[dict[str, Any]]:
        """Complete settings to try first: the defaults, then the portfolio."""
        return [self.defaults, *(self.defaults | dict(settings) for settings in self.portfolio)]

    def unsupported_reason(self, task: TaskInfo) -> str | None:
        """Why the family doesn't support the task, in a few words; None if it does."""
        if task.type not in self.tasks:
            return f"is not for {task.type} tasks"
        if task.loss not in self.losses:
            return f"has no objective {task.objective}"
        if any(task.monotone) and task.loss not in self.monotone_losses:
            condition = f" with the objective {task.objective}" if self.monotone_losses else ""
            return f"takes no monotone constraints{condition}"
        return None
