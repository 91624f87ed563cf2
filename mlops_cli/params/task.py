"""Section ``task``: what is predicted, and what errors cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_cli.params.base import Section

__all__ = ["Cost", "Task", "TaskType"]

TaskType = Literal["binary", "multiclass", "regression"]


class Cost(Section):
    """Costs of wrong binary decisions, in any unit; they determine the threshold."""

    false_positive: Annotated[float, Field(ge=0)] = 1.0
    false_negative: Annotated[float, Field(ge=0)] = 1.0


class Task(Section):
    """What is predicted."""

    type: TaskType
    positive: bool | int | str | None = None
    """Binary: the class whose probability is predicted; by default the last in sorted order."""
    cost: Cost = Cost()
    costs: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = {}
    """Multiclass: actual class -> decided class -> cost; an error that isn't listed costs 1."""

    @model_validator(mode="after")
    def _check_consistency(self) -> Task:
        if self.positive is not None and self.type != "binary":
            msg = f"positive is only for binary tasks, and this one is {self.type}"
            raise ValueError(msg)
        if self.costs and self.type != "multiclass":
            msg = f"costs is only for multiclass tasks, and this one is {self.type}"
            raise ValueError(msg)
        return self
