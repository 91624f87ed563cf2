"""Policies of retraining, and how each would have gone: which model served when, and why."""

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
_WATCHED = {"drift": "drift", "performance": "degraded"}
_SPAN = re.compile(r"([0-9]+(h|d|w|mo|q|y))+")


@dataclass(frozen=True)
class Policy:
    """When to retrain.

    Attributes
    ----------
    every
        By the calendar, so long after the last time; None: not by the calendar.
    watches
        Also when monitoring finds one of these: drift, degraded.
    """

    name: str
    every: str | None = None
    watches: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Period:
    """A period between two looks at the model, ``[start, end)``."""

    start: dt.datetime
    end: dt.datetime


@dataclass(frozen=True)
class TrainedModel:
    """What training came to.

    Attributes
    ----------
    outcome
        approved, rejected (by a gate), or failed (the data of that time were refused).
    rows
        Labelled rows that there were.
    """

    outcome: str
    reason: str = ""
    rows: int = 0


@dataclass(frozen=True)
class PeriodScore:
    """How a model did in a period.

    Attributes
    ----------
    rows, labelled, arrived
        Predictions; those with a label, ever, and by the period's end.
    metric
        Value, low and high on all that got a label; empty where it isn't defined.
    error
        Sum of errors, in units of ``backtest.error_cost``; and by day.
    found
        What monitoring finds at the period's end: drift, degraded.
    degraded
        Whether it was, as all labels show that came later too.
    findings
        A sentence each.
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
    """Whether a new model may replace the one that serves."""

    passed: bool
    reason: str = ""


class TaskResults(Protocol):
    """What has been worked out so far; None: not yet, and from now on it is wanted.

    Models and periods go by the number of their step: a model is trained when the step begins.
    """

    def model(self, step: int) -> TrainedModel | None:
        """What came of training at the beginning of a step."""

    def score(self, model: int, step: int) -> PeriodScore | None:
        """How a model did in a step's period."""

    def contest(self, candidate: int, champion: int) -> ChampionContest | None:
        """Whether a model may replace another one."""


@dataclass(frozen=True)
class PeriodOutcome:
    """One period under a policy.

    Attributes
    ----------
    model
        The step at whose beginning the serving model was trained.
    why
        Why a model was trained at the beginning; empty: none was.
    outcome
        Of that: deployed, refused, rejected, failed, too few rows.
    saved
        Error units that the new model has saved in this period; None: none came into use.
    """

    step: int
    model: int
    score: PeriodScore
    why: str = ""
    outcome: str = ""
    detail: str = ""
    saved: float | None = None


@dataclass
class PolicyRun:
    """All periods under a policy."""

    policy: Policy
    rounds: list[PeriodOutcome] = field(default_factory=list)

    @property
    def trained(self) -> int:
        """How often a model was trained, whatever came of it."""
        return sum(bool(r.outcome) and r.outcome != "too few rows" for r in self.rounds)

    @property
    def deployed(self) -> int:
        """How often a new model came into use."""
        return sum(r.outcome == "deployed" for r in self.rounds)

    @property
    def error(self) -> float:
        """Error units in all."""
        return sum(r.score.error for r in self.rounds)

    def alarms(self) -> dict[str, int]:
        """Alarms that were right or false, and degraded periods without one."""
        told = [
            (bool(self.policy.watches & {*r.score.found}), r.score.degraded) for r in self.rounds
        ]
        return {
            "true": sum(alarm and degraded for alarm, degraded in told),
            "false": sum(alarm and not degraded for alarm, degraded in told),
            "missed": sum(not alarm and degraded for alarm, degraded in told),
        }


def policy_of(text: str) -> Policy:
    """The policy of a name: never, monthly, 14d, drift, performance, drift+performance, ...

    Raises
    ------
    Usage
        If it is none.
    """
    every, watches = None, set()
    for part in text.split("+"):
        if part in _WATCHED:
            watches.add(_WATCHED[part])
        elif part in _SCHEDULES or _SPAN.fullmatch(part):
            every = _SCHEDULES.get(part, part)
        elif part != "never" or text != "never":
            raise Usage(
                f"--policy {text!r} is no policy",
                f"Known: never, {', '.join(_SCHEDULES)}, a span such as 14d, drift, performance; "
                "several by a plus sign, such as monthly+performance.",
            )
    return Policy(text, every, frozenset(watches))


def simulate(
    policy: Policy, steps: Sequence[Period], known: TaskResults, least_rows: int = 1
) -> PolicyRun | None:
    """How it would have gone; None: not all of that is known yet.

    What is certain to be wanted is asked for at once, so that it can be worked out side by side.

    Parameters
    ----------
    least_rows
        With fewer new labelled rows the pipeline isn't run to its end (``retrain.min_rows``).
    """
    if not policy.watches:
        for step in _scheduled(policy, steps):
            known.model(step)
    course, whole = PolicyRun(policy), True
    serving = tried = 0
    if known.model(0) is None:
        return None
    for number in range(len(steps)):
        why = "" if number == 0 else _why(policy, steps, number, tried, course)
        outcome, detail, former = "", "", serving
        if why:
            told = _trained(known, number, serving, tried, least_rows)
            if told is None:
                return None
            outcome, detail = told
            tried = number
            serving = number if outcome == "deployed" else serving
        score = known.score(serving, number)
        saved = None
        if serving != former:
            before = known.score(former, number)
            saved = None if before is None or score is None else before.error - score.error
            whole = whole and before is not None
        if score is None:
            whole = False
            if policy.watches:
                return None
            continue
        course.rounds.append(PeriodOutcome(number, serving, score, why, outcome, detail, saved))
    return course if whole else None


def _scheduled(policy: Policy, steps: Sequence[Period]) -> list[int]:
    """Steps at whose beginning a model is trained, whatever monitoring finds."""
    found = [0]
    for number in range(1, len(steps)):
        if _due(policy, steps, number, found[-1]):
            found.append(number)
    return found


def _due(policy: Policy, steps: Sequence[Period], number: int, last: int) -> bool:
    if policy.every is None:
        return False
    return steps[last].start <= subtract(steps[number].start, policy.every)


def _why(policy: Policy, steps: Sequence[Period], number: int, last: int, course: PolicyRun) -> str:
    reasons = []
    if _due(policy, steps, number, last):
        reasons.append(f"{policy.every} have passed")
    if policy.watches:
        reasons += [f for f in course.rounds[-1].score.found if f in policy.watches]
    return ", ".join(reasons)


def _trained(
    known: TaskResults, number: int, serving: int, tried: int, least_rows: int
) -> tuple[str, str] | None:
    """What came of training at a step: the outcome and its reason."""
    model, last = known.model(number), known.model(tried)
    if model is None or last is None:
        return None
    if model.outcome != "approved":
        return model.outcome, model.reason
    if model.rows - last.rows < least_rows:
        return "too few rows", f"{model.rows - last.rows} new labelled rows"
    contest = known.contest(number, serving)
    if contest is None:
        return None
    return ("deployed", "") if contest.passed else ("refused", contest.reason)
