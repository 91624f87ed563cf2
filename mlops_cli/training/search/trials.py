"""Trials of a search as plain data: results, ranking, leaderboard, limits and early stopping."""

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
    "rank_trials",
    "refuse_failures",
    "round_score",
    "time_share",
    "trial_message",
]

RANDOM_TRIALS = 8
"""Number of trials, including the first choices, before the sampler learns from their scores."""
_LEADERS = 5
_WEAK_FAMILY_DIVISOR = 3


@dataclass(frozen=True)
class Result:
    """Result of a trial.

    Attributes
    ----------
    score
        The metric's value.
    iterations
        The best number of rounds; None if the family has no rounds.
    prediction
        Predictions for the validation rows, on which the models weren't fitted; float32.
    fits
        The fold models, if there are several folds.
    """

    score: float
    iterations: int | None = None
    prediction: npt.NDArray[np.float32] | None = None
    fits: tuple[FittedModel, ...] = ()


@dataclass(frozen=True)
class Trial:
    """A finished trial, with the state complete, pruned or failed.

    ``steps`` are the scores that were reported while it ran.
    """

    number: int
    family: str
    settings: dict[str, Any]
    state: str
    score: float | None = None
    iterations: int | None = None
    steps: dict[int, float] = field(default_factory=dict)
    reason: str | None = None
    seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The trial as plain values, for reports."""
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
    """Round a score for reports; None if it isn't finite, as for a fold without a class."""
    return None if score is None or not math.isfinite(score) else round(score, 6)


@dataclass(frozen=True)
class EarlyStop:
    """Early stopping of a search: at a score, or after trials that improved it too little."""

    score: float | None = None
    trials: int | None = None
    gain: float = 0.0

    def is_reached(self, trials: Sequence[Trial], *, maximise: bool) -> bool:
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
    """Limits of a search, which ends at the first limit that it reaches.

    Parameters
    ----------
    trials
        Maximum number of trials.
    seconds
        Maximum time of all trials together, including those before a kill.
    reserve
        Trials -> seconds of this time that are needed after the search.
    early_stop
        Condition for ending earlier.
    """

    trials: int | None = None
    seconds: float | None = None
    reserve: Callable[[Sequence[Trial]], float] = lambda _: 0.0
    early_stop: EarlyStop = EarlyStop()


@dataclass(frozen=True)
class Clock:
    """Clock that measures the time left for trials."""

    limits: Limits
    end_time: float

    def seconds_left(self, trials: Sequence[Trial]) -> float:
        """Seconds that are left for more trials after these."""
        return self.end_time - time.monotonic() - self.limits.reserve(trials)


def refuse_failures(trials: Sequence[Trial]) -> None:
    """Raise an error with the first trial's reason if all trials failed."""
    if all(t.state == "failed" for t in trials):
        raise MlopsError(
            f"all {len(trials)} trials of the search failed; the first ({trials[0].family}): "
            f"{trials[0].reason}",
            "Look at the features that it names, or leave that family out of tune.families.",
        )


def best(trials: Sequence[Trial], *, maximise: bool) -> Trial:
    """The complete trial with the best score; the first one if several are equal."""
    return rank_trials(trials, maximise=maximise)[0]


def rank_trials(trials: Sequence[Trial], *, maximise: bool) -> list[Trial]:
    """The complete trials, the best first."""
    complete = [t for t in trials if t.state == "complete" and t.score is not None]
    sign = -1.0 if maximise else 1.0
    return sorted(complete, key=lambda t: (sign * (t.score or 0.0), t.number))


def leaderboard(trials: Sequence[Trial], clock: Clock, *, maximise: bool) -> Leaderboard:
    """Leaderboard of the search."""
    best_scores: list[float] = []
    choose = max if maximise else min
    for trial in trials:
        if trial.state == "complete" and trial.score is not None:
            best_scores.append(choose([trial.score, *best_scores[-1:]]))
    rows = tuple(
        (
            t.number + 1,
            t.family,
            round(t.score or 0.0, 4),
            t.iterations or "",
            _format_settings(t.settings),
        )
        for t in rank_trials(trials, maximise=maximise)[:_LEADERS]
    )
    columns = ("trial", "family", "score", "iterations", "settings")
    seconds_left = clock.seconds_left(trials)
    table = Table("Leaders", columns, rows)
    return Leaderboard(
        table, tuple(best_scores), None if math.isinf(seconds_left) else seconds_left
    )


def _format_settings(settings: Mapping[str, Any]) -> str:
    parts = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in settings.items())
    return ", ".join(parts)


def plain_trial(trial: optuna.trial.FrozenTrial) -> Trial:
    """Convert a finished Optuna trial."""
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
    """Whether the search is over after these trials."""
    if limits.trials is not None and len(trials) >= limits.trials:
        return True
    if limits.early_stop.is_reached(trials, maximise=maximise):
        return True
    # However short the time, the search ends only with a score, or after many failures.
    enough = any_complete(trials) or len(trials) >= RANDOM_TRIALS
    return enough and clock.seconds_left(trials) <= 0


def any_complete(trials: Sequence[Trial]) -> bool:
    """Whether one of them has a score."""
    return any(t.state == "complete" for t in trials)


def expected_seconds(family: str, trials: Sequence[Trial]) -> float:
    """Mean seconds of the family's complete trials; 0 if there are none."""
    own = [t.seconds for t in trials if t.family == family and t.state == "complete"]
    return sum(own) / len(own) if own else 0.0


def time_share(
    family: str, trials: Sequence[Trial], seconds_left: float, *, maximise: bool
) -> float:
    """Time limit in seconds of a family's next trial.

    It is all of the time left for a family in the better half of the ranking. For other families,
    including those without a score, it is a part, so that there is time for others.
    """
    order = list(dict.fromkeys(t.family for t in rank_trials(trials, maximise=maximise)))
    return (
        seconds_left
        if family in order[: (len(order) + 1) // 2]
        else seconds_left / _WEAK_FAMILY_DIVISOR
    )


def trial_message(candidate: Candidate, trials: Sequence[Trial], *, maximise: bool) -> str:
    """Progress message: number and family of the trial, and the best score so far."""
    scores = [t.score for t in trials if t.score is not None]
    leading = f"  best {max(scores) if maximise else min(scores):.4f}" if scores else ""
    return f"trial {len(trials) + 1}: {candidate.family}{leading}"
