"""Retraining policies, and their simulation: which model is in use in each period, and why."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mlops_cli.data.durations import subtract
from mlops_cli.errors import Usage

__all__ = [
    "ChampionContest",
    "Period",
    "PeriodOutcome",
    "PeriodScore",
    "Policy",
    "PolicyRun",
    "TaskResults",
    "TrainedModel",
    "policy_of",
    "simulate",
]

_SCHEDULES = {"daily": "1d", "weekly": "1w", "monthly": "1mo", "quarterly": "1q", "yearly": "1y"}
_TRIGGERS = {"drift": "drift", "performance": "degraded"}
_SPAN = re.compile(r"([0-9]+(h|d|w|mo|q|y))+")


@dataclass(frozen=True)
class Policy:
    """When to retrain.

    Attributes
    ----------
    every
        Time after the last training at which to retrain; None: not by the calendar.
    triggers
        Findings of monitoring that also trigger a retraining: drift, degraded.
    """

    name: str
    every: str | None = None
    triggers: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Period:
    """A period between two decisions about retraining, ``[start, end)``."""

    start: dt.datetime
    end: dt.datetime


@dataclass(frozen=True)
class TrainedModel:
    """Result of a training.

    Attributes
    ----------
    outcome
        approved, rejected (by a gate), or failed (the pipeline refused the data of that time).
    rows
        Number of labelled rows at that time.
    """

    outcome: str
    reason: str = ""
    rows: int = 0


@dataclass(frozen=True)
class PeriodScore:
    """Score of a model in a period.

    Attributes
    ----------
    rows, labelled, arrived
        Number of predictions; of those that got a label at any time; and by the period's end.
    metric
        Value, low and high on all labelled rows; empty if it isn't defined.
    error, by_day
        Sum of errors, in units of ``backtest.error_cost``, in total and by day.
    found
        Findings of monitoring at the period's end: drift, degraded.
    degraded
        Whether the model was degraded, by all labels, also those that arrived later.
    findings
        The findings as sentences.
    """

    rows: int
    labelled: int
    arrived: int
    metric: dict[str, float]
    error: float
    by_day: dict[str, float]
    found: tuple[str, ...]
    degraded: bool
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChampionContest:
    """Whether a candidate may replace the champion."""

    passed: bool
    reason: str = ""


class TaskResults(Protocol):
    """Results of backtest tasks; None if a task isn't done, which is then noted as missing.

    Models and periods are identified by the number of their step. A model is trained at the start
    of its step.
    """

    def model(self, step: int) -> TrainedModel | None:
        """Give the result of the training at the start of a step."""

    def score(self, model: int, step: int) -> PeriodScore | None:
        """Give the score of a model in the period of a step."""

    def contest(self, candidate: int, champion: int) -> ChampionContest | None:
        """Give the result of the comparison of a candidate with the champion."""


@dataclass(frozen=True)
class PeriodOutcome:
    """One period under a policy.

    Attributes
    ----------
    model
        Step at whose start the model in use was trained.
    training_reason
        Reason for a training at the start of the period; empty without a training.
    outcome
        Outcome of that training: deployed, refused, rejected, failed, too few rows.
    error_saved
        Error units that the new model has saved in this period; None without a new model.
    """

    step: int
    model: int
    score: PeriodScore
    training_reason: str = ""
    outcome: str = ""
    detail: str = ""
    error_saved: float | None = None


@dataclass
class PolicyRun:
    """Simulation of a policy: the outcomes of all periods."""

    policy: Policy
    outcomes: list[PeriodOutcome] = field(default_factory=list)

    @property
    def trainings(self) -> int:
        """Number of trainings, whatever their outcome."""
        return sum(bool(r.outcome) and r.outcome != "too few rows" for r in self.outcomes)

    @property
    def deployments(self) -> int:
        """Number of new models in use."""
        return sum(r.outcome == "deployed" for r in self.outcomes)

    @property
    def total_error(self) -> float:
        """Sum of error units over all periods."""
        return sum(r.score.error for r in self.outcomes)

    def count_alarms(self) -> dict[str, int]:
        """Count true and false alarms, and missed ones: degraded periods without an alarm."""
        periods = [
            (bool(self.policy.triggers & {*r.score.found}), r.score.degraded) for r in self.outcomes
        ]
        return {
            "true": sum(alarm and degraded for alarm, degraded in periods),
            "false": sum(alarm and not degraded for alarm, degraded in periods),
            "missed": sum(not alarm and degraded for alarm, degraded in periods),
        }


def policy_of(text: str) -> Policy:
    """Parse the name of a policy: never, monthly, 14d, drift, performance, monthly+drift, ...

    Raises
    ------
    Usage
        If there is no such policy.
    """
    every, triggers = None, set()
    for part in text.split("+"):
        if part in _TRIGGERS:
            triggers.add(_TRIGGERS[part])
        elif part in _SCHEDULES or _SPAN.fullmatch(part):
            every = _SCHEDULES.get(part, part)
        elif part != "never" or text != "never":
            raise Usage(
                f"--policy {text!r} is no policy",
                f"Known: never, {', '.join(_SCHEDULES)}, a span such as 14d, drift, performance; "
                "several by a plus sign, such as monthly+performance.",
            )
    return Policy(text, every, frozenset(triggers))


def simulate(
    policy: Policy, steps: Sequence[Period], results: TaskResults, min_rows: int = 1
) -> PolicyRun | None:
    """Simulate a policy; None if some results are still missing.

    Results that are certainly needed are requested at once, so that tasks can run in parallel.

    Parameters
    ----------
    min_rows
        Minimum new labelled rows; with fewer, a training is stopped (``retrain.min_rows``).
    """
    if not policy.triggers:
        for step in _scheduled_steps(policy, steps):
            results.model(step)
    run, is_complete = PolicyRun(policy), True
    serving = tried = 0
    if results.model(0) is None:
        return None
    for number in range(len(steps)):
        reason = "" if number == 0 else _reason(policy, steps, number, tried, run)
        outcome, detail, former = "", "", serving
        if reason:
            result = _training_outcome(results, number, serving, tried, min_rows)
            if result is None:
                return None
            outcome, detail = result
            tried = number
            serving = number if outcome == "deployed" else serving
        score = results.score(serving, number)
        saved = None
        if serving != former:
            former_score = results.score(former, number)
            saved = (
                None if former_score is None or score is None else former_score.error - score.error
            )
            is_complete = is_complete and former_score is not None
        if score is None:
            is_complete = False
            if policy.triggers:
                return None
            continue
        run.outcomes.append(PeriodOutcome(number, serving, score, reason, outcome, detail, saved))
    return run if is_complete else None


def _scheduled_steps(policy: Policy, steps: Sequence[Period]) -> list[int]:
    """List the steps at whose start a model is trained by the calendar."""
    scheduled = [0]
    for number in range(1, len(steps)):
        if _is_due(policy, steps, number, scheduled[-1]):
            scheduled.append(number)
    return scheduled


def _is_due(policy: Policy, steps: Sequence[Period], number: int, last: int) -> bool:
    if policy.every is None:
        return False
    return steps[last].start <= subtract(steps[number].start, policy.every)


def _reason(policy: Policy, steps: Sequence[Period], number: int, last: int, run: PolicyRun) -> str:
    reasons = []
    if _is_due(policy, steps, number, last):
        reasons.append(f"{policy.every} have passed")
    if policy.triggers:
        reasons += [f for f in run.outcomes[-1].score.found if f in policy.triggers]
    return ", ".join(reasons)


def _training_outcome(
    results: TaskResults, number: int, serving: int, tried: int, min_rows: int
) -> tuple[str, str] | None:
    """Get outcome and reason of the training at a step; None if results are missing."""
    model, last = results.model(number), results.model(tried)
    if model is None or last is None:
        return None
    if model.outcome != "approved":
        return model.outcome, model.reason
    if model.rows - last.rows < min_rows:
        return "too few rows", f"{model.rows - last.rows} new labelled rows"
    contest = results.contest(number, serving)
    if contest is None:
        return None
    return ("deployed", "") if contest.passed else ("refused", contest.reason)
