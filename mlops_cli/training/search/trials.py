"""Trials of a search as plain data: what they found, how they stand, when there are enough."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import MlopsError
from mlops_cli.reporting import Leaderboard, Table
from mlops_cli.training.search.search_space import Candidate, round_setting

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import optuna

    from mlops_cli.models.families import FittedModel

__all__ = [
    "RANDOM_TRIALS",
    "Clock",
    "EarlyStop",
    "Limits",
    "Result",
    "Trial",
    "any_complete",
    "best",
    "expected_seconds",
    "is_over",
    "leaderboard",
    "plain_trial",
    "ranked",
    "refuse_failures",
    "round_score",
    "time_share",
    "trial_message",
]

RANDOM_TRIALS = 8
"""So many trials, the first choices among them, before the sampler has enough to go by."""
_LEADERS = 5
_OTHERS = 3


@dataclass(frozen=True)
class Result:
    """What a trial found.

    Attributes
    ----------
    score
        The metric's value.
    iterations
        The best number of rounds where there are any.
    prediction
        Of the rows that decide, none of which taught it; float32.
    fits
        The models of the folds, where there are several.
    """

    score: float
    iterations: int | None = None
    prediction: npt.NDArray[np.float32] | None = None
    fits: tuple[FittedModel, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A finished trial. ``state`` is complete, pruned or failed; ``steps`` are scores under way."""

    number: int
    family: str
    settings: dict[str, Any]
    state: str
    score: float | None = None
    iterations: int | None = None
    steps: dict[int, float] = field(default_factory=dict)
    reason: str | None = None
    seconds: float = field(default=0.0, compare=False)

    def entry(self) -> dict[str, Any]:
        """As plain values, for a report."""
        entry = {
            "number": self.number,
            "family": self.family,
            "settings": self.settings,
            "state": self.state,
            "score": round_score(self.score),
            "iterations": self.iterations,
            "steps": {str(step): round_score(score) for step, score in self.steps.items()},
        }
        return entry | ({"reason": self.reason} if self.reason else {})


def round_score(score: float | None) -> float | None:
    """A score as reports have it; None where there is none, as of a fold without a class."""
    return None if score is None or not math.isfinite(score) else round(score, 6)


@dataclass(frozen=True)
class EarlyStop:
    """What is enough: a score, or so many trials that bettered the best by too little."""

    score: float | None = None
    trials: int | None = None
    gain: float = 0.0

    def reached(self, trials: Sequence[Trial], *, maximise: bool) -> bool:
        """Whether the search may end after these trials."""
        sign = 1.0 if maximise else -1.0
        gains = [-math.inf if t.score is None else sign * t.score for t in trials]
        if not gains or max(gains) == -math.inf:
            return False
        if self.score is not None and max(gains) >= sign * self.score:
            return True
        if self.trials is None or len(gains) <= self.trials:
            return False
        before = max(gains[: -self.trials])
        return max(gains) - before <= self.gain and before > -math.inf


@dataclass(frozen=True)
class Limits:
    """When the search ends: after so many trials, so many seconds, or whichever comes first.

    Parameters
    ----------
    trials
        At most so many.
    seconds
        Of all trials together, those before a kill included.
    reserve
        Given the trials: how many of the seconds are needed after the search.
    good_enough
        What ends it before.
    """

    trials: int | None = None
    seconds: float | None = None
    reserve: Callable[[Sequence[Trial]], float] = lambda _: 0.0
    good_enough: EarlyStop = EarlyStop()


@dataclass(frozen=True)
class Clock:
    """How much time is left for trials."""

    limits: Limits
    ends: float

    def left(self, trials: Sequence[Trial]) -> float:
        """Seconds for further trials, after these."""
        return self.ends - time.monotonic() - self.limits.reserve(trials)


def refuse_failures(trials: Sequence[Trial]) -> None:
    """Raise the first trial's reason if no trial came to an end."""
    if all(t.state == "failed" for t in trials):
        raise MlopsError(
            f"all {len(trials)} trials of the search failed; the first ({trials[0].family}): "
            f"{trials[0].reason}",
            "Look at the features that it names, or leave that family out of tune.families.",
        )


def best(trials: Sequence[Trial], *, maximise: bool) -> Trial:
    """The complete trial with the best score, the first of equals."""
    return ranked(trials, maximise=maximise)[0]


def ranked(trials: Sequence[Trial], *, maximise: bool) -> list[Trial]:
    """The complete trials, the best first."""
    done = [t for t in trials if t.state == "complete" and t.score is not None]
    sign = -1.0 if maximise else 1.0
    return sorted(done, key=lambda t: (sign * (t.score or 0.0), t.number))


def leaderboard(trials: Sequence[Trial], clock: Clock, *, maximise: bool) -> Leaderboard:
    """How a search stands, for who watches it."""
    course: list[float] = []
    choose = max if maximise else min
    for trial in trials:
        if trial.state == "complete" and trial.score is not None:
            course.append(choose([trial.score, *course[-1:]]))
    rows = tuple(
        (t.number + 1, t.family, round(t.score or 0.0, 4), t.iterations or "", _brief(t.settings))
        for t in ranked(trials, maximise=maximise)[:_LEADERS]
    )
    columns = ("trial", "family", "score", "iterations", "settings")
    left = clock.left(trials)
    table = Table("Leaders", columns, rows)
    return Leaderboard(table, tuple(course), None if math.isinf(left) else left)


def _brief(settings: Mapping[str, Any]) -> str:
    shown = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in settings.items())
    return ", ".join(shown)


def plain_trial(trial: optuna.trial.FrozenTrial) -> Trial:
    """A finished trial without Optuna."""
    states = {"COMPLETE": "complete", "PRUNED": "pruned"}
    state = states.get(trial.state.name, "failed")
    return Trial(
        number=trial.number,
        family=trial.params["family"],
        settings={
            name.partition(".")[2]: round_setting(value)
            for name, value in trial.params.items()
            if name != "family"
        },
        state=state,
        score=trial.value if state == "complete" else None,
        iterations=trial.user_attrs.get("iterations"),
        steps=dict(sorted(trial.intermediate_values.items())),
        reason=trial.user_attrs.get("reason"),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
    )


def is_over(trials: list[Trial], limits: Limits, clock: Clock, *, maximise: bool) -> bool:
    """Whether no further trial is wanted after these."""
    if limits.trials is not None and len(trials) >= limits.trials:
        return True
    if limits.good_enough.reached(trials, maximise=maximise):
        return True
    # However short the time, there is one result; unless nothing works at all.
    enough = any_complete(trials) or len(trials) >= RANDOM_TRIALS
    return enough and clock.left(trials) <= 0


def any_complete(trials: Sequence[Trial]) -> bool:
    """Whether one of them has a score."""
    return any(t.state == "complete" for t in trials)


def expected_seconds(family: str, trials: Sequence[Trial]) -> float:
    """Seconds that a trial of the family takes, going by those that there were; 0: unknown."""
    own = [t.seconds for t in trials if t.family == family and t.state == "complete"]
    return sum(own) / len(own) if own else 0.0


def time_share(family: str, trials: Sequence[Trial], left: float, *, maximise: bool) -> float:
    """Seconds of those that are left that a trial of a family may take.

    All for a family of the better half; for any other so many that there is time for others, and
    so if how good it is isn't known yet.
    """
    order = list(dict.fromkeys(t.family for t in ranked(trials, maximise=maximise)))
    return left if family in order[: (len(order) + 1) // 2] else left / _OTHERS


def trial_message(candidate: Candidate, trials: Sequence[Trial], *, maximise: bool) -> str:
    """Which trial this is, of which family, and the best score up to now."""
    scores = [t.score for t in trials if t.score is not None]
    leading = f"  best {max(scores) if maximise else min(scores):.4f}" if scores else ""
    return f"trial {len(trials) + 1}: {candidate.family}{leading}"
