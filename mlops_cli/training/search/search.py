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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from mlops_cli.errors import MlopsError
from mlops_cli.models.families.fit_request import Pruned
from mlops_cli.training.search.search_space import Candidate, Space, as_params, suggest
from mlops_cli.training.search.trials import (
    RANDOM_TRIALS,
    Clock,
    Limits,
    Result,
    Trial,
    any_complete,
    expected_seconds,
    is_over,
    leaderboard,
    plain_trial,
    ranked,
    refuse_failures,
    time_share,
    trial_message,
)

if TYPE_CHECKING:
    import optuna

    from mlops_cli.reporting import Progress

__all__ = [
    "History",
    "Objective",
    "Report",
    "Search",
    "pruner",
    "sampler",
    "search",
    "tell_study",
]

_TRIALS_TO_COMPARE = 5
_STEPS_BEFORE_PRUNING = 2
_GRACE = 1.2


class History(Protocol):
    """Where finished trials are kept."""

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Those of an earlier, unfinished search, in order."""

    def add(self, trial: optuna.trial.FrozenTrial) -> None:
        """Keep one more, for good."""

    def keep(self, number: int, family: str, result: Result) -> None:
        """Keep what a trial made; it is there before the trial is."""


Report = Callable[[int, float], None]
"""Called back with (step from 1, score so far); may raise Pruned."""
Objective = Callable[[Candidate, Report, float], Result]
"""Evaluate a candidate in about so many seconds."""


@dataclass(frozen=True)
class Search:
    """What is searched, how it is judged, and when it ends.

    Parameters
    ----------
    spaces
        Family -> its settings.
    objective
        What is optimised.
    limits
        When it ends.
    maximise
        Whether a larger score is better.
    seed
        Of the sampler.
    pruning
        Whether a trial ends early that is worse than the median of the others at its step.
    progress
        Told which trial runs, and how the search stands.
    """

    spaces: Mapping[str, Space]
    objective: Objective
    limits: Limits
    maximise: bool
    seed: int
    pruning: bool
    progress: Progress

    def over(self, trials: list[Trial], clock: Clock) -> bool:
        """Whether no further trial is wanted after these."""
        return is_over(trials, self.limits, clock, maximise=self.maximise)

    def tell_of(self, candidate: Candidate, trials: Sequence[Trial], clock: Clock) -> None:
        """Say which trial begins, and how the search stands."""
        words = trial_message(candidate, trials, maximise=self.maximise)
        self.progress.update(words, len(trials), self.limits.trials)
        self.progress.board(leaderboard(trials, clock, maximise=self.maximise))

    def work(
        self, trial: optuna.Trial, candidate: Candidate, trials: Sequence[Trial], clock: Clock
    ) -> Result | None:
        """Evaluate what a trial tries; None: it was pruned."""
        late, time_for_it = any_complete(trials), self.time_for(candidate.family, trials, clock)
        return _work(trial, candidate, self.objective, time_for_it, late=late)

    def time_for(self, family: str, trials: Sequence[Trial], clock: Clock) -> float:
        """Seconds that a trial may take."""
        return time_share(family, trials, clock.left(trials), maximise=self.maximise)

    def too_dear(self, family: str, trials: Sequence[Trial], clock: Clock) -> bool:
        """Whether a trial is expected to take longer than it may; the first never is."""
        needed = expected_seconds(family, trials)
        return any_complete(trials) and needed > self.time_for(family, trials, clock)

    def affordable(self, trials: Sequence[Trial], clock: Clock) -> str | None:
        """The family with the best trial of those that aren't too dear; None: all are."""
        order = dict.fromkeys(t.family for t in ranked(trials, maximise=self.maximise))
        return next((f for f in order if not self.too_dear(f, trials, clock)), None)


def search(what: Search, firsts: Sequence[Candidate], history: History) -> list[Trial]:
    """Try the first candidates, then what a tree-structured Parzen estimator proposes.

    Parameters
    ----------
    what
        The search.
    firsts
        What is tried first, in this order.
    history
        Where finished trials are kept; if it holds some, the search goes on after them.

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
    direction, limits = "maximize" if what.maximise else "minimize", what.limits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction=direction, pruner=pruner(pruning=what.pruning))
        for finished in history.trials():
            study.add_trial(finished)
        trials = [plain_trial(t) for t in study.trials]
        spent = sum(t.seconds for t in trials)
        seconds = math.inf if limits.seconds is None else limits.seconds
        clock = Clock(limits, time.monotonic() + seconds - spent)
        tried = [t.params for t in study.trials]
        pending = [c for c in firsts if as_params(c) not in tried]
        while not what.over(trials, clock):
            asked = _ask(study, what, pending, trials, clock)
            if asked is None:
                break
            trial, candidate = asked
            what.tell_of(candidate, trials, clock)
            result = what.work(trial, candidate, trials, clock)
            if result is not None:
                history.keep(len(trials), candidate.family, result)
            told = tell_study(study, trial, result)
            history.add(told)
            # The study also counts proposals that were too dear.
            trials.append(replace(plain_trial(told), number=len(trials)))
    refuse_failures(trials)
    return trials


def _work(
    trial: optuna.Trial, candidate: Candidate, objective: Objective, seconds: float, *, late: bool
) -> Result | None:
    """Evaluate what a trial tries, and note on it why there is no score; None: it was pruned.

    ``late`` says whether a trial that takes longer is given up.
    """
    # Boosting ends in time by itself, and what it has got by then counts.
    ends = time.monotonic() + _GRACE * seconds

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


def sampler(seed: int, number: int, family: str | None = None) -> optuna.samplers.BaseSampler:
    """What proposes the trial of a number: the same one, whatever was asked of others before.

    Parameters
    ----------
    family
        Whose settings; None: the sampler chooses the family too.
    """
    import numpy as np
    import optuna

    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    free = optuna.samplers.TPESampler(
        n_startup_trials=RANDOM_TRIALS, multivariate=True, group=True, seed=own
    )
    return free if family is None else optuna.samplers.PartialFixedSampler({"family": family}, free)


def _ask(
    study: optuna.Study,
    what: Search,
    pending: list[Candidate],
    trials: Sequence[Trial],
    clock: Clock,
) -> tuple[optuna.Trial, Candidate] | None:
    """The next trial; None if whatever is proposed takes longer than the time that is left."""
    from optuna.trial import TrialState

    while pending:
        candidate = pending.pop(0)
        if not what.too_dear(candidate.family, trials, clock):
            study.enqueue_trial(as_params(candidate))
            return _proposed(study, what, None)
    trial, candidate = _proposed(study, what, None)
    if what.too_dear(candidate.family, trials, clock):
        study.tell(trial, state=TrialState.FAIL)
        family = what.affordable(trials, clock)
        return None if family is None else _proposed(study, what, family)
    return trial, candidate


def _proposed(
    study: optuna.Study, what: Search, family: str | None
) -> tuple[optuna.Trial, Candidate]:
    study.sampler = sampler(what.seed, len(study.trials), family)
    trial = study.ask()
    return trial, suggest(trial, what.spaces)


def tell_study(
    study: optuna.Study, trial: optuna.Trial, result: Result | None
) -> optuna.trial.FrozenTrial:
    """End a trial with what came of it; None: it was pruned."""
    from optuna.trial import TrialState

    if result is None:
        return study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    if math.isfinite(result.score):
        return study.tell(trial, result.score, skip_if_finished=True)
    return study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
