"""Section ``register``: gates and rules of promotion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from mlops_cli.params.base import LONGEST_NAME, Duration, Names, Section

__all__ = ["ChampionGate", "Gates", "Register", "ReplayGate", "SliceGate", "StageRule"]

_STAGE_NAME = r"^[a-zA-Z0-9]([a-zA-Z0-9-/_]*[a-zA-Z0-9])?$"


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
