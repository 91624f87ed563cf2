"""Constant model, for data in which all rows or all labels are equal."""

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
    """Predicts the same class shares, or the same value, for every row."""

    prediction: tuple[float, ...]
    features: int
    classes: int

    iterations: int | None = None

    @property
    def importances(self) -> Floats:
        """Importances (features,): all 0."""
        return np.zeros(self.features)

    def predict(self, X: Floats) -> Floats:
        """Probabilities (rows, classes), or values (rows,)."""
        if not self.classes:
            return np.full(len(X), self.prediction[0])
        return np.tile(np.asarray(self.prediction), (len(X), 1))

    def to_files(self) -> dict[str, bytes]:
        """One JSON file: file name -> content."""
        tree = {"answer": self.prediction, "features": self.features, "classes": self.classes}
        return {CONSTANT: json.dumps(tree).encode()}

    @classmethod
    def from_bytes(cls, content: bytes) -> Constant:
        """Load the model from the file of ``to_files``.

        Raises
        ------
        DataRefused
            If the file is malformed.
        """
        try:
            tree = json.loads(content)
            prediction = tuple(float(value) for value in tree["answer"])
            return cls(prediction, int(tree["features"]), int(tree["classes"]))
        except (ValueError, TypeError, KeyError):
            raise DataRefused(
                f"{CONSTANT} is not a model file that can be read",
                "Fetch the model again, or train it again.",
            ) from None


def only_constant(
    X: Floats, y: npt.NDArray[np.generic], task: TaskInfo, weight: Floats | None
) -> Constant | None:
    """The constant model if all rows or all labels are equal, else None.

    Each booster library raises its own error for such data.
    """
    if not (len(y) < 2 or (y[0] == y).all() or not _varies(X)):  # noqa: PLR2004 - a single row
        return None
    weight = np.ones(len(y)) if weight is None else weight
    if task.classes:
        # Smoothing by one more row, shared by the classes: a class without rows is possible, too.
        counts = np.bincount(y.astype(np.intp), weights=weight, minlength=task.classes)
        prediction = (counts + 1 / task.classes) / (counts.sum() + 1)
        return Constant(tuple(prediction.tolist()), X.shape[1], task.classes)
    values = y.astype(np.float64)
    if task.loss in ("absolute", "quantile"):
        order = np.argsort(values, kind="stable")
        cumulative = np.cumsum(weight[order])
        position = int(np.searchsorted(cumulative, task.quantile * cumulative[-1]))
        centre = float(values[order][min(position, len(values) - 1)])
    else:
        centre = float((values * weight).sum() / weight.sum())
    return Constant((centre,), X.shape[1], 0)


def _varies(X: Floats) -> bool:
    """Whether any column has two different values; missing counts as a value."""
    return any(
        not (np.isnan(column).all() if np.isnan(column[0]) else (column == column[0]).all())
        for column in X.T
    )
