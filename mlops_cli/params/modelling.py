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
    """What each kind of error costs, in any unit; decides the threshold."""

    false_positive: Annotated[float, Field(ge=0)] = 1.0
    false_negative: Annotated[float, Field(ge=0)] = 1.0


class Task(Section):
    """What is predicted."""

    type: TaskType
    positive: bool | int | str | None = None
    """Binary: the class whose probability is given; by default the last in sorted order."""
    cost: Cost = Cost()
    costs: dict[str, dict[str, Annotated[float, Field(ge=0)]]] = {}
    """Multiclass: actual class -> decided class -> cost; an error that isn't named costs 1."""

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        if self.positive is not None and self.type != "binary":
            msg = f"positive is only for binary tasks, and this one is {self.type}"
            raise ValueError(msg)
        if self.costs and self.type != "multiclass":
            msg = f"costs is only for multiclass tasks, and this one is {self.type}"
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


class GoodEnough(Section):
    """When the search ends before its time; nothing given: never."""

    score: float | None = None
    """The best trial has this value of the metric."""
    trials: Annotated[int, Field(ge=1)] | None = None
    """So many trials in a row bettered the best one by no more than `gain`."""
    gain: Annotated[float, Field(ge=0)] = 0.0


class Tune(Section):
    """The search over model families and their settings."""

    metric: str | None = None
    """What the validation split decides by; by default the task's first metric."""
    families: Annotated[tuple[FamilyName, ...], Field(strict=False, min_length=1)] | None = None
    """Which to try; by default all that are installed."""
    trials: Annotated[int, Field(ge=1)] | None = 20
    seconds: Annotated[float, Field(gt=0)] | None = None
    """A time budget; with it the result is not reproducible to the byte."""
    rows: Annotated[int, Field(ge=100)] | None = 50_000
    """Train at most on so many rows while searching (a seeded sample); null: all."""
    folds: Annotated[int, Field(ge=1, le=20)] | None = None
    """Trials are cross-validated on train and validation; 1: the validation split decides; null:
    by the number of rows, and 1 where the splits follow each other in time."""
    finalists: Annotated[int, Field(ge=1, le=20)] = 3
    """Where trials learnt from fewer rows: so many of the best are fitted on all of train."""
    choose: Literal["best", "simplest"] = "best"
    """The trial that leads: the best one, or the simplest model of those that score at most one
    standard error worse, which answers sooner."""
    pruning: bool = True
    good_enough: GoodEnough = GoodEnough()
    spaces: dict[FamilyName, dict[str, Dimension]] = {}
    """Ranges that replace the families' own."""

    @model_validator(mode="after")
    def _bounded(self) -> Tune:
        if self.trials is None and self.seconds is None:
            msg = "the search needs an end: give trials, seconds or both"
            raise ValueError(msg)
        return self


_OBJECTIVE = r"^(squared|absolute|poisson|quantile:0\.(0[1-9]|[1-9][0-9]?))$"


class Ensemble(Section):
    """How large a model of several members may become."""

    members: Annotated[int, Field(ge=1, le=50)] = 6
    """The most different settings; after a cross-validation each may be several models."""
    milliseconds: Annotated[float, Field(gt=0)] = 0.6
    """The most time that one row may take, by what the families usually need."""
    megabytes: Annotated[float, Field(gt=0)] = 15.0
    """The most that the members' files may take together."""


class Train(Section):
    """The final fit."""

    early_stopping: Annotated[int, Field(ge=1)] = 50
    """Rounds without a better validation score after which a boosting family stops."""
    weight: str | None = None
    """Column (feature or kept) that says how much each row counts in the fits and the search."""
    objective: Annotated[str, Field(pattern=_OBJECTIVE)] = "squared"
    """Regression: squared, absolute, poisson, or a quantile such as quantile:0.9."""
    monotone: dict[str, Literal[1, -1]] = {}
    """Feature -> 1 where the output may only rise with it, -1 where it may only fall."""
    ensemble: Ensemble | Literal[False] = Ensemble()
    """A weighted mean of the best trials' models, or false: the best trial's alone."""
    calibrate: bool = True
    """Bend predictions where that lowers the loss on rows that didn't teach."""


class Evaluate(Section):
    """How the test split judges."""

    metrics: Names = ()
    """By name; by default the task's usual ones."""
    weight: str | None = None
    """Column (feature or kept) that says how much each test row counts."""
    resamples: Annotated[int, Field(ge=20, le=10_000)] = 400
    """Bootstrap resamples for the intervals."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    slices: Names = ()
    """Columns (features or kept) by whose values the metric is broken down."""
    slice_rows: Annotated[int, Field(ge=2)] = 200
    """Smaller slices are not judged."""
    segments: Annotated[int, Field(ge=0, le=50)] = 5
    """How many of the worst segments, of up to two features, are searched for; 0: none."""
    shap_rows: Annotated[int, Field(ge=0)] = 1000
    """Contributions of features are averaged over so many test rows, drawn; 0: none."""
    protected: Names = ()
    """Columns (features or kept) whose groups have to be treated alike: fairness is measured."""


class SliceGate(Section):
    """The worst slice must reach this."""

    metric: str
    limit: float


class ChampionGate(Section):
    """The model in production is the champion; the candidate must not be shown to be worse.

    Both are scored on the same test rows. The low end of the interval of the gain (one-sided, at
    ``confidence``) must not be below ``-margin``.
    """

    metric: str
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse it may be, in the metric's own unit."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    slices: Names = ()
    """Columns of `evaluate.slices`; the candidate is compared on each of their judged values."""
    slice_margin: Annotated[float, Field(ge=0)] | None = None
    """The margin on slices, which are smaller and noisier; by default ``margin``."""
    stage: str = "production"
    """Where the champion is."""


class Gates(Section):
    """What a model must fulfil to be approved. A gate that isn't given isn't applied."""

    limits: dict[str, float] = {}
    """Metric -> least acceptable value (for a metric that is better when small: the largest)."""
    beats_baselines: str | None = None
    """Metric in which the model must be better than both baselines: the interval of the paired
    difference must exclude zero."""
    worst_slice: SliceGate | None = None
    fairness: dict[str, float] = {}
    """Measure -> limit, for each of `evaluate.protected`: a difference at most, a ratio at
    least."""
    megabytes: Annotated[float, Field(gt=0)] | None = None
    milliseconds: Annotated[float, Field(gt=0)] | None = None
    """Median time to score one row."""


_STAGE = r"^[a-zA-Z0-9]([a-zA-Z0-9-/_]*[a-zA-Z0-9])?$"


class ReplayGate(Section):
    """On logged requests with labels, the version must not be shown to be worse than the answers.

    Judged as ``register.champion`` is: the low end of the interval of the gain over what was
    answered must not be below ``-margin``.
    """

    metric: str
    margin: Annotated[float, Field(ge=0)] = 0.0
    """How much worse it may be, in the metric's own unit."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    rows: Annotated[int, Field(ge=2)] = 500
    """With fewer labelled requests there is no judgement, and it refuses."""
    since: Duration | None = None
    """Only the requests of so long before the log's end; null: all."""


class StageRule(Section):
    """What a version needs to enter a stage."""

    after: str | None = None
    """The stage that it must have been in before."""
    approvals: Annotated[int, Field(ge=0)] = 0
    """How many people must have approved it for this stage."""
    approvers: Names = ()
    """Who may approve, by e-mail address; empty: anybody."""
    signed: bool = False
    """Only approvals whose tag carries a signature that Git can verify are counted."""
    replay: ReplayGate | None = None
    """Logged requests are scored by the version before it may enter (`mlops replay`)."""

    @model_validator(mode="after")
    def _possible(self) -> StageRule:
        if self.approvers and self.approvals > len(set(self.approvers)):
            msg = f"{self.approvals} approvals by {len(set(self.approvers))} approvers cannot be"
            raise ValueError(msg)
        return self


class Register(Section):
    """The model's name, its gates, and the stages that its versions go through."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-/]*[a-z0-9]$", max_length=LONGEST_NAME)]
    gates: Gates = Gates()
    champion: ChampionGate | None = None
    """Judged by `mlops register`, not by the stage: who is champion stands in Git's tags."""
    stages: dict[Annotated[str, Field(pattern=_STAGE, max_length=LONGEST_NAME)], StageRule] = {
        "staging": StageRule(),
        "production": StageRule(),
    }

    @model_validator(mode="after")
    def _stages_known(self) -> Register:
        for name, rule in self.stages.items():
            if rule.after is not None and (rule.after not in self.stages or rule.after == name):
                msg = f"stages.{name}.after is {rule.after!r}, which is no other stage"
                raise ValueError(msg)
        if self.champion is not None and self.champion.stage not in self.stages:
            msg = f"champion.stage is {self.champion.stage!r}, which is not among stages"
            raise ValueError(msg)
        return self
