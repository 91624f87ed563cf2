"""What a model family is told of the task."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TaskInfo"]


@dataclass(frozen=True)
class TaskInfo:
    """What is learnt.

    Attributes
    ----------
    type
        binary, multiclass or regression.
    classes
        How many there are; 0 for regression.
    categorical
        Columns of the matrix that hold category codes.
    objective
        Of regression: squared, absolute, poisson, or a quantile such as ``quantile:0.9``.
    monotone
        Per column of the matrix: 1 where the output may only rise with it, -1 where it may only
        fall, else 0. Empty: no column is bound.
    """

    type: str
    classes: int
    categorical: tuple[int, ...] = ()
    objective: str = "squared"
    monotone: tuple[int, ...] = ()

    @property
    def loss(self) -> str:
        """What a fit makes small: log, squared, absolute, poisson or quantile."""
        return "log" if self.classes else self.objective.partition(":")[0]

    @property
    def quantile(self) -> float:
        """The quantile that is predicted: a half where the objective is none."""
        return float(self.objective.partition(":")[2] or 0.5)
