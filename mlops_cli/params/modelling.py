"""Parameters of the model stages: task, tune, train, evaluate, register."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_cli.params.base import Names, Section

__all__ = [
    "Cost",
    "Dimension",
    "Evaluate",
    "FamilyName",
    "Gates",
    "Register",
    "SliceGate",
    "Task",
    "Train",
    "Tune",
]

TaskType = Literal["binary", "multiclass", "regression"]
FamilyName = Literal["linear", "forest", "hist_gradient_boosting", "lightgbm"]


class Cost(Section):
    """What each kind of error costs, in any unit; decides the threshold."""

    false_positive: Annotated[float, Field(ge=0)] = 1.0
    false_negative: Annotated[float, Field(ge=0)] = 1.0


class Task(Section):
    """What is predicted."""

    type: TaskType
    positive: bool | int | str | None = None
    """Binary: the class whose probability is given; by default the last in sorted order."""
    cost: Cost = Cost()

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.positive is not None and self.type != "binary":
            msg = f"positive is only for binary tasks, and this one is {self.type}"
            raise ValueError(msg)
        return self


class Dimension(Section):
    """One setting to search: a range, or a list of choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: Annotated[tuple[bool | int | float | str, ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Dimension:
        ranged = self.low is not None and self.high is not None
        if ranged == (self.choices is not None):
            msg = "give either low and high, or choices"
            raise ValueError(msg)
        if self.low is not None and self.high is not None and self.low > self.high:
            msg = f"low {self.low} is above high {self.high}"
            raise ValueError(msg)
        if self.log and self.low is not None and self.low <= 0:
            msg = f"a log range starts above 0, not at {self.low}"
            raise ValueError(msg)
        return self


class Tune(Section):
    """The search over model families and their settings."""

    metric: str | None = None
    """What the validation split decides by; by default the task's first metric."""
    families: Annotated[tuple[FamilyName, ...], Field(strict=False, min_length=1)] = (
        "linear",
        "forest",
        "hist_gradient_boosting",
        "lightgbm",
    )
    trials: Annotated[int, Field(ge=1)] | None = 20
    seconds: Annotated[float, Field(gt=0)] | None = None
    """A time budget; with it the result is not reproducible to the byte."""
    rows: Annotated[int, Field(ge=100)] | None = 50_000
    """Train at most on so many rows while searching (a seeded sample); null: all."""
    pruning: bool = True
    spaces: dict[FamilyName, dict[str, Dimension]] = {}
    """Ranges that replace the families' own."""

    @model_validator(mode="after")
    def _bounded(self) -> Tune:
        if self.trials is None and self.seconds is None:
            msg = "the search needs an end: give trials, seconds or both"
            raise ValueError(msg)
        return self


class Train(Section):
    """The final fit."""

    early_stopping: Annotated[int, Field(ge=1)] = 50
    """Rounds without a better validation score after which a boosting family stops."""


class Evaluate(Section):
    """How the test split judges."""

    metrics: Names = ()
    """By name; by default the task's usual ones."""
    resamples: Annotated[int, Field(ge=20, le=10_000)] = 400
    """Bootstrap resamples for the intervals."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    slices: Names = ()
    """Columns (features or kept) by whose values the metric is broken down."""
    slice_rows: Annotated[int, Field(ge=2)] = 200
    """Smaller slices are not judged."""


class SliceGate(Section):
    """The worst slice must reach this."""

    metric: str
    limit: float


class Gates(Section):
    """What a model must fulfil to be approved. A gate that isn't given isn't applied."""

    limits: dict[str, float] = {}
    """Metric -> least acceptable value (for a metric that is better when small: the largest)."""
    beats_baselines: str | None = None
    """Metric in which the model must be better than both baselines: the interval of the paired
    difference must exclude zero."""
    worst_slice: SliceGate | None = None
    megabytes: Annotated[float, Field(gt=0)] | None = None
    milliseconds: Annotated[float, Field(gt=0)] | None = None
    """Median time to score one row."""


class Register(Section):
    """The model's name, and its gates."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-/]*[a-z0-9]$")]
    gates: Gates = Gates()
