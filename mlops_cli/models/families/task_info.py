"""Description of the task for the model families."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TaskInfo"]


@dataclass(frozen=True)
class TaskInfo:
    """Type, classes and objective of a task, and the matrix columns with special handling.

    Attributes
    ----------
    type
        binary, multiclass or regression.
    classes
        Number of classes; 0 for regression.
    categorical
        Matrix columns with category codes.
    objective
        For regression: squared, absolute, poisson, or a quantile such as ``quantile:0.9``.
    monotone
        Per matrix column: 1 if the output may only rise with it, -1 if it may only fall, else 0.
        Empty: no constraints.
    """

    type: str
    classes: int
    categorical: tuple[int, ...] = ()
    objective: str = "squared"
    monotone: tuple[int, ...] = ()

    @property
    def loss(self) -> str:
        """The loss that a fit minimises: log, squared, absolute, poisson or quantile."""
        return "log" if self.classes else self.objective.partition(":")[0]

    @property
    def quantile(self) -> float:
        """The predicted quantile; 0.5 if the objective is no quantile."""
        return float(self.objective.partition(":")[2] or 0.5)
