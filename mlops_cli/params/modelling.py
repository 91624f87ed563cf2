"""Parameters of the model stages: task, tune, train, evaluate, register."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mlops_cli.params.base import LONGEST_NAME, Duration, Names, Section

__all__ = [
    "ChampionGate",
    "Cost",
    "Dimension",
    "Ensemble",
    "Evaluate",
    "FamilyName",
    "Gates",
    "GoodEnough",
    "Register",
    "ReplayGate",
    "SliceGate",
    "StageRule",
    "Task",
    "Train",
    "Tune",
]

TaskType = Literal["binary", "multiclass", "regression"]
FamilyName = Literal[
    "linear",
    "mlp",
    "forest",
    "extra_trees",
    "lightgbm",
    "xgboost",
    "catboost",
]


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


class GoodEnough(Section):
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
    good_enough: GoodEnough = GoodEnough()
    spaces: dict[FamilyName, dict[str, Dimension]] = {}
    """Search ranges that replace the families' own."""

    @model_validator(mode="after")
    def _check_end(self) -> Tune:
        if self.trials is None and self.seconds is None:
            msg = "the search needs an end: give trials, seconds or both"
            raise ValueError(msg)
        return self


_OBJECTIVE = r"^(squared|absolute|poisson|quantile:0\.(0[1-9]|[1-9][0-9]?))$"


class Ensemble(Section):
    """Limits of a model with several members."""

    members: Annotated[int, Field(ge=1, le=50)] = 6
    """The most trials in the ensemble; after a cross-validation one trial may be several models."""
    milliseconds: Annotated[float, Field(gt=0)] = 0.6
    """The longest time to score one row, by what the families usually need."""
    megabytes: Annotated[float, Field(gt=0)] = 15.0
    """The largest size of the members' files together."""


class Train(Section):
    """The final fit."""

    early_stopping: Annotated[int, Field(ge=1)] = 50
    """Rounds without a better validation score after which boosting stops."""
    weight: str | None = None
    """Column (feature or kept) with the weight of each row, in the fits and the search."""
    objective: Annotated[str, Field(pattern=_OBJECTIVE)] = "squared"
    """Regression: squared, absolute, poisson, or a quantile such as quantile:0.9."""
    monotone: dict[str, Literal[1, -1]] = {}
    """Feature -> 1 where the output may only rise with it, -1 where it may only fall."""
    ensemble: Ensemble | Literal[False] = Ensemble()
    """A weighted mean of the best trials' models; false: the best trial's model alone."""
    calibrate: bool = True
    """Calibrate predictions where that lowers the held-out loss."""


class Evaluate(Section):
    """Evaluation on the test split."""

    metrics: Names = ()
    """Names of metrics; by default the task's default metrics."""
    weight: str | None = None
    """Column (feature or kept) with the weight of each test row."""
    resamples: Annotated[int, Field(ge=20, le=10_000)] = 400
    """Bootstrap resamples for the intervals."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    slices: Names = ()
    """Columns (features or kept) by whose values the metrics are broken down."""
    slice_rows: Annotated[int, Field(ge=2)] = 200
    """Minimum number of rows of a slice."""
    segments: Annotated[int, Field(ge=0, le=50)] = 5
    """Number of worst segments to search for, of up to two features; 0: none."""
    shap_rows: Annotated[int, Field(ge=0)] = 1000
    """Number of test rows, drawn at random, over which SHAP values are averaged; 0: none."""
    protected: Names = ()
    """Columns (features or kept) with groups between which fairness is measured."""


class SliceGate(Section):
    """Limit for the worst slice."""

    metric: str
    limit: float


class ChampionGate(Section):
    """Comparison with the champion: the candidate must not be shown to be worse.

    Both are scored on the same test rows. The lower bound of the gain (one-sided, at
    ``confidence``) must not be below ``-margin``.
    """

    metric: str
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse the candidate may be, in the metric's own unit."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    slices: Names = ()
    """Columns of `evaluate.slices`; the candidate is compared on each of their evaluated values."""
    slice_margin: Annotated[float, Field(ge=0)] | None = None
    """The margin on slices, which are smaller and noisier; by default ``margin``."""
    stage: str = "production"
    """The champion's stage."""


class Gates(Section):
    """Conditions that a model must meet to be approved; those that aren't set don't apply."""

    limits: dict[str, float] = {}
    """Metric -> minimum; for a metric that is better when small, the maximum."""
    beats_baselines: str | None = None
    """Metric in which the model must be better than both baselines: the interval of the paired
    difference must exclude zero."""
    worst_slice: SliceGate | None = None
    fairness: dict[str, float] = {}
    """Measure -> limit for each of `evaluate.protected`: the maximum of a difference, or the
    minimum of a ratio."""
    megabytes: Annotated[float, Field(gt=0)] | None = None
    milliseconds: Annotated[float, Field(gt=0)] | None = None
    """Median time to score one row."""


_STAGE_NAME = r"^[a-zA-Z0-9]([a-zA-Z0-9-/_]*[a-zA-Z0-9])?$"


class ReplayGate(Section):
    """Comparison on labelled, logged requests: the version must not be shown to be worse.

    As in ``register.champion``, the lower bound of the gain over the logged responses must not be
    below ``-margin``.
    """

    metric: str
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse the version may be, in the metric's own unit."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    rows: Annotated[int, Field(ge=2)] = 500
    """Minimum number of labelled requests; with fewer the version is refused."""
    since: Duration | None = None
    """Use only requests of this span before the log's end; null: all."""


class StageRule(Section):
    """Requirements for a version to enter a registry stage."""

    after: str | None = None
    """The stage that the version must have been in before."""
    approvals: Annotated[int, Field(ge=0)] = 0
    """Number of people who must approve the version for this stage."""
    approvers: Names = ()
    """E-mail addresses of the people whose approvals count; empty: everybody."""
    signed: bool = False
    """Count only approvals whose tag has a signature that Git can verify."""
    replay: ReplayGate | None = None
    """Gate on logged requests, which the version scores before it may enter (`mlops replay`)."""

    @model_validator(mode="after")
    def _check_approvals(self) -> StageRule:
        if self.approvers and self.approvals > len(set(self.approvers)):
            msg = f"{self.approvals} approvals by {len(set(self.approvers))} approvers cannot be"
            raise ValueError(msg)
        return self


class Register(Section):
    """The model's name, its gates, and its registry stages."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-/]*[a-z0-9]$", max_length=LONGEST_NAME)]
    card: str | None = None
    """Template of the model card, as a path in the project; by default the package's own."""
    gates: Gates = Gates()
    champion: ChampionGate | None = None
    """Applied by `mlops register`, not by the DVC stage, because Git tags name the champion."""
    stages: dict[Annotated[str, Field(pattern=_STAGE_NAME, max_length=LONGEST_NAME)], StageRule] = {
        "staging": StageRule(),
        "production": StageRule(),
    }

    @model_validator(mode="after")
    def _check_stages(self) -> Register:
        for name, rule in self.stages.items():
            if rule.after is not None and (rule.after not in self.stages or rule.after == name):
                msg = f"stages.{name}.after is {rule.after!r}, which is no other stage"
                raise ValueError(msg)
        if self.champion is not None and self.champion.stage not in self.stages:
            msg = f"champion.stage is {self.champion.stage!r}, which is not among stages"
            raise ValueError(msg)
        return self
