"""The model where there is nothing to tell rows apart: one answer for all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mlops_cli.errors import DataRefused
from mlops_cli.metrics.weighted import Floats
from mlops_cli.models.families.task_info import TaskInfo

__all__ = ["CONSTANT", "Constant", "only_constant"]

CONSTANT = "constant.json"


@dataclass(frozen=True)
class Constant:
    """Class shares, or a value, whatever the row."""

    answer: tuple[float, ...]
    features: int
    classes: int

    iterations: int | None = None

    @property
    def importances(self) -> Floats:
        """None has any."""
        return np.zeros(self.features)

    def predict(self, X: Floats) -> Floats:
        """Probabilities (rows, classes), or values (rows,)."""
        if not self.classes:
            return np.full(len(X), self.answer[0])
        return np.tile(np.asarray(self.answer), (len(X), 1))

    def to_files(self) -> dict[str, bytes]:
        """One file of JSON."""
        tree = {"answer": self.answer, "features": self.features, "classes": self.classes}
        return {CONSTANT: json.dumps(tree).encode()}

    @classmethod
    def from_bytes(cls, content: bytes) -> Constant:
        """From what ``to_files`` gave.

        Raises
        ------
        DataRefused
            If it is something else.
        """
        try:
            tree = json.loads(content)
            answer = tuple(float(value) for value in tree["answer"])
            return cls(answer, int(tree["features"]), int(tree["classes"]))
        except (ValueError, TypeError, KeyError):
            raise DataRefused(
                f"{CONSTANT} is not a model file that can be read",
                "Fetch the model again, or train it anew.",
            ) from None


def only_constant(
    X: Floats, y: npt.NDArray[np.generic], task: TaskInfo, weight: Floats | None
) -> Constant | None:
    """The constant model if all rows are alike, or all truths are; None where they aren't.

    Boosters answer such data with errors, each with another one.
    """
    if not (len(y) < 2 or (y[0] == y).all() or not _varies(X)):  # noqa: PLR2004 - one row is alike
        return None
    weight = np.ones(len(y)) if weight is None else weight
    if task.classes:
        # One more row, shared by the classes: what the sample lacks is not impossible.
        counts = np.bincount(y.astype(np.intp), weights=weight, minlength=task.classes)
        answer = (counts + 1 / task.classes) / (counts.sum() + 1)
        return Constant(tuple(answer.tolist()), X.shape[1], task.classes)
    values = y.astype(np.float64)
    if task.loss in ("absolute", "quantile"):
        order = np.argsort(values, kind="stable")
        below = np.cumsum(weight[order])
        place = int(np.searchsorted(below, task.quantile * below[-1]))
        centre = float(values[order][min(place, len(values) - 1)])
    else:
        centre = float((values * weight).sum() / weight.sum())
    return Constant((centre,), X.shape[1], 0)


def _varies(X: Floats) -> bool:
    """Whether any column has two values, missing being one."""
    return any(
        not (np.isnan(column).all() if np.isnan(column[0]) else (column == column[0]).all())
        for column in X.T
    )
