"""Section ``tune``: families, search space and budget."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_cli.params.base import Section

__all__ = ["Dimension", "EarlyStopRule", "FamilyName", "Tune"]

FamilyName = Literal[
    "linear",
    "mlp",
    "forest",
    "extra_trees",
    "lightgbm",
    "xgboost",
    "catboost",
]


class Dimension(Section):
    """Search range of one setting: low and high, or a list of choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: Annotated[tuple[bool | int | float | str, ...], Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _check_consistency(self) -> Dimension:
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


class EarlyStopRule(Section):
    """Early stopping of the search; by default there is none."""

    score: float | None = None
    """Stop when the best trial reaches this value of the metric."""
    trials: Annotated[int, Field(ge=1)] | None = None
    """Stop after this many trials in a row that bettered the best one by no more than `gain`."""
    gain: Annotated[float, Field(ge=0)] = 0.0


class Tune(Section):
    """The search over model families and their settings."""

    metric: str | None = None
    """The metric that the search optimises; by default the task's first metric."""
    families: Annotated[tuple[FamilyName, ...], Field(strict=False, min_length=1)] | None = None
    """Model families to try; by default all that are installed."""
    trials: Annotated[int, Field(ge=1)] | None = 20
    seconds: Annotated[float, Field(gt=0)] | None = None
    """A time budget; with one, the result isn't reproducible to the byte."""
    rows: Annotated[int, Field(ge=100)] | None = 50_000
    """Largest number of training rows in the search (a seeded sample); null: all."""
    folds: Annotated[int, Field(ge=1, le=20)] | None = None
    """Folds of the cross-validation over train and validation; 1: use the validation split; null:
    by the number of rows, and 1 where the splits follow each other in time."""
    finalists: Annotated[int, Field(ge=1, le=20)] = 3
    """If the search sampled rows: how many of the best trials are refitted on all train rows."""
    choose: Literal["best", "simplest"] = "best"
    """Which trial leads: the best one, or the simplest model within one standard error of it, which
    responds faster."""
    pruning: bool = True
    good_enough: EarlyStopRule = EarlyStopRule()
    spaces: dict[FamilyName, dict[str, Dimension]] = {}
    """Search ranges that replace the families' own."""

    @model_validator(mode="after")
    def _check_end(self) -> Tune:
        if self.trials is None and self.seconds is None:
            msg = "the search needs an end: give trials, seconds or both"
            raise ValueError(msg)
        return self
