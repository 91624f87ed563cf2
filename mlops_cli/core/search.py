"""The search over model families and their settings: deterministic, prunes, survives a kill.

A finished trial is one line of a journal; a trial that was under way leaves no trace in it. The
sampler is seeded anew for each trial from the search's seed and the number of trials before it,
so a search that goes on after a kill makes the same trials as one that was never disturbed.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from mlops_cli.core.learners.contract import Pruned
from mlops_cli.core.spaces import Candidate, Space, as_params, settled, suggest
from mlops_cli.errors import MlopsError
from mlops_cli.reporting import Board, Table

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import optuna

    from mlops_cli.reporting import Progress

__all__ = [
    "Clock", "GoodEnough", "Limits", "Objective", "Result", "Trial", "any_complete", "best",
    "expected", "over", "plain", "pruner", "ranked", "refuse_failures", "said", "sampler", "search",
    "standing", "tell", "work",
]  # fmt: skip

_RANDOM_TRIALS = 8
"""So many trials, the first choices among them, before the sampler has enough to go by."""
_TRIALS_TO_COMPARE = 5
_STEPS_BEFORE_PRUNING = 2
_LEADERS = 5
_TRIES = 5
"""So many proposals may be too dear for the time that is left before the search ends."""


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
    """

    score: float
    iterations: int | None = None
    prediction: npt.NDArray[np.float32] | None = None


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


@dataclass(frozen=True)
class GoodEnough:
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
    good_enough: GoodEnough = GoodEnough()


class History(Protocol):
    """Where finished trials are kept."""

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Those of an earlier, unfinished search, in order."""

    def add(self, trial: optuna.trial.FrozenTrial) -> None:
        """Keep one more, for good."""

    def keep(self, number: int, prediction: npt.NDArray[np.float32]) -> None:
        """Keep what a trial predicts; it is there before the trial is."""


Report = Callable[[int, float], None]
"""Called back with (step from 1, score so far); may raise Pruned."""
Objective = Callable[[Candidate, Report, float], Result]
"""Evaluate a candidate in about so many seconds."""


@dataclass(frozen=True)
class Clock:
    """How much time is left for trials."""

    limits: Limits
    ends: float

    def left(self, trials: Sequence[Trial]) -> float:
        """Seconds for further trials, after these."""
        return self.ends - time.monotonic() - self.limits.reserve(trials)


def search(
    spaces: Mapping[str, Space],
    firsts: Sequence[Candidate],
    objective: Objective,
    history: History,
    limits: Limits,
    *,
    maximise: bool,
    seed: int,
    pruning: bool,
    progress: Progress,
) -> list[Trial]:
    """Try the first candidates, then what a tree-structured Parzen estimator proposes.

    Parameters
    ----------
    spaces
        Family -> its settings.
    firsts
        What is tried first, in this order.
    objective
        What is optimised.
    history
        Where finished trials are kept; if it holds some, the search goes on after them.
    limits
        When it ends.
    maximise
        Whether a larger score is better.
    seed
        Of the sampler.
    pruning
        Whether a trial ends early that is worse than the median of the others at its step.
    progress
        Told which trial runs.

    Returns
    -------
    list of Trial
        In order, failed ones too.

    Raises
    ------
    MlopsError
        If every trial failed, with the first one's reason.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "maximize" if maximise else "minimize"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction=direction, pruner=pruner(pruning=pruning))
        for finished in history.trials():
            study.add_trial(finished)
        trials = [plain(t) for t in study.trials]
        spent = sum(t.seconds for t in trials)
        seconds = math.inf if limits.seconds is None else limits.seconds
        clock = Clock(limits, time.monotonic() + seconds - spent)
        tried = [t.params for t in study.trials]
        pending = [c for c in firsts if as_params(c) not in tried]
        while not over(trials, limits, clock, maximise=maximise):
            asked = _ask(study, spaces, pending, trials, seed, left=clock.left(trials))
            if asked is None:
                break
            trial, candidate = asked
            progress.update(said(candidate, trials, maximise=maximise), len(trials), limits.trials)
            progress.board(standing(trials, clock, maximise=maximise))
            # The first shall leave time for others, and for the last fits.
            left = clock.left(trials) if any_complete(trials) else clock.left(trials) / 3
            result = work(trial, candidate, objective, left, late=any_complete(trials))
            if result is not None and result.prediction is not None:
                history.keep(len(trials), result.prediction)
            told = tell(study, trial, result)
            history.add(told)
            # The study also counts proposals that were too dear.
            trials.append(replace(plain(told), number=len(trials)))
    refuse_failures(trials)
    return trials


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


def standing(trials: Sequence[Trial], clock: Clock, *, maximise: bool) -> Board:
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
    return Board(table, tuple(course), None if math.isinf(left) else left)


def _brief(settings: Mapping[str, Any]) -> str:
    shown = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in settings.items())
    return ", ".join(shown)


def work(
    trial: optuna.Trial, candidate: Candidate, objective: Objective, seconds: float, *, late: bool
) -> Result | None:
    """Evaluate what a trial tries, and note on it why there is no score; None: it was pruned.

    ``late`` says whether a trial that takes longer is given up.
    """
    ends = time.monotonic() + seconds

    def report(step: int, score: float) -> None:
        trial.report(score, step)
        if (late and time.monotonic() >= ends) or trial.should_prune():
            raise Pruned

    try:
        result = objective(candidate, report, seconds)
    except Pruned:
        return None
    except MlopsError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a learner can't do, others may
        reason = " ".join([f"{type(error).__name__}:", *str(error).strip().splitlines()[:1]])
    else:
        if math.isfinite(result.score):
            trial.set_user_attr("iterations", result.iterations)
            return result
        reason = f"the score is {result.score}: the metric isn't defined on the validation split"
    trial.set_user_attr("reason", reason)
    return Result(math.nan)


def pruner(*, pruning: bool) -> optuna.pruners.BasePruner:
    """What ends poor trials early."""
    import optuna

    if not pruning:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=_TRIALS_TO_COMPARE,
        n_warmup_steps=_STEPS_BEFORE_PRUNING,
        n_min_trials=3,
    )


def sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    """What proposes the trial of a number: the same one, whatever was asked of others before."""
    import numpy as np
    import optuna

    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(
        n_startup_trials=_RANDOM_TRIALS, multivariate=True, group=True, seed=own
    )


def plain(trial: optuna.trial.FrozenTrial) -> Trial:
    """A finished trial without Optuna."""
    states = {"COMPLETE": "complete", "PRUNED": "pruned"}
    state = states.get(trial.state.name, "failed")
    return Trial(
        number=trial.number,
        family=trial.params["family"],
        settings={
            name.partition(".")[2]: settled(value)
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


def over(trials: list[Trial], limits: Limits, clock: Clock, *, maximise: bool) -> bool:
    """Whether no further trial is wanted after these."""
    if limits.trials is not None and len(trials) >= limits.trials:
        return True
    if limits.good_enough.reached(trials, maximise=maximise):
        return True
    # However short the time, there is one result; unless nothing works at all.
    enough = any_complete(trials) or len(trials) >= _RANDOM_TRIALS
    return enough and clock.left(trials) <= 0


def any_complete(trials: Sequence[Trial]) -> bool:
    """Whether one of them has a score."""
    return any(t.state == "complete" for t in trials)


def _ask(
    study: optuna.Study,
    spaces: Mapping[str, Space],
    pending: list[Candidate],
    trials: Sequence[Trial],
    seed: int,
    *,
    left: float,
) -> tuple[optuna.Trial, Candidate] | None:
    """The next trial; None if whatever is proposed takes longer than the time that is left."""
    from optuna.trial import TrialState

    study.sampler = sampler(seed, len(study.trials))
    while pending:
        candidate = pending.pop(0)
        if not any_complete(trials) or expected(candidate.family, trials) <= left:
            study.enqueue_trial(as_params(candidate))
            trial = study.ask()
            return trial, suggest(trial, spaces)
    for _ in range(_TRIES):
        trial = study.ask()
        candidate = suggest(trial, spaces)
        if expected(candidate.family, trials) <= left:
            return trial, candidate
        study.tell(trial, state=TrialState.FAIL)
    return None


def expected(family: str, trials: Sequence[Trial]) -> float:
    """Seconds that a trial of the family takes, going by those that there were; 0: unknown."""
    own = [t.seconds for t in trials if t.family == family and t.state == "complete"]
    return sum(own) / len(own) if own else 0.0


def tell(
    study: optuna.Study, trial: optuna.Trial, result: Result | None
) -> optuna.trial.FrozenTrial:
    """End a trial with what ``work`` gave."""
    from optuna.trial import TrialState

    if result is None:
        return study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    if math.isfinite(result.score):
        return study.tell(trial, result.score, skip_if_finished=True)
    return study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def said(candidate: Candidate, trials: Sequence[Trial], *, maximise: bool) -> str:
    """Which trial this is, of which family, and the best score up to now."""
    scores = [t.score for t in trials if t.score is not None]
    leading = f"  best {max(scores) if maximise else min(scores):.4f}" if scores else ""
    return f"trial {len(trials) + 1}: {candidate.family}{leading}"
