"""Search over model families and settings: deterministic, with pruning, resumable after a kill.

Only finished trials are in the journal. The sampler of each trial is seeded from the search's seed
and the number of earlier trials, so a resumed search tries the same settings as one that wasn't
interrupted.
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
    rank_trials,
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

_MIN_TRIALS_TO_PRUNE = 5
_STEPS_BEFORE_PRUNING = 2
_OVERTIME_FACTOR = 1.2


class History(Protocol):
    """Storage of finished trials."""

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Trials of an earlier, unfinished search, in order."""

    def add(self, trial: optuna.trial.FrozenTrial) -> None:
        """Store one more trial durably."""

    def save_artifacts(self, number: int, family: str, result: Result) -> None:
        """Store a trial's artifacts; it is called before ``add``."""


Report = Callable[[int, float], None]
"""Callback with (step, counted from 1; score so far); may raise Pruned."""
Objective = Callable[[Candidate, Report, float], Result]
"""Evaluates a candidate, with a report callback and a time limit in seconds."""


@dataclass(frozen=True)
class Search:
    """Search space, objective and limits of a search.

    Parameters
    ----------
    spaces
        Family -> its search space.
    objective
        The function that is optimised.
    limits
        Limits at which the search ends.
    maximise
        Whether a larger score is better.
    seed
        Seed of the sampler.
    pruning
        Whether a trial is pruned that is worse than the other trials' median at the same step.
    progress
        Receives the running trial and the leaderboard.
    """

    spaces: Mapping[str, Space]
    objective: Objective
    limits: Limits
    maximise: bool
    seed: int
    pruning: bool
    progress: Progress

    def is_over(self, trials: list[Trial], clock: Clock) -> bool:
        """Whether the search is over after these trials."""
        return is_over(trials, self.limits, clock, maximise=self.maximise)

    def report_start(self, candidate: Candidate, trials: Sequence[Trial], clock: Clock) -> None:
        """Report the trial that starts, and the leaderboard."""
        message = trial_message(candidate, trials, maximise=self.maximise)
        self.progress.update(message, len(trials), self.limits.trials)
        self.progress.show_leaderboard(leaderboard(trials, clock, maximise=self.maximise))

    def evaluate(
        self, trial: optuna.Trial, candidate: Candidate, trials: Sequence[Trial], clock: Clock
    ) -> Result | None:
        """Evaluate a trial's candidate; None if it was pruned."""
        late, seconds = any_complete(trials), self.time_limit(candidate.family, trials, clock)
        return _evaluate(trial, candidate, self.objective, seconds, late=late)

    def time_limit(self, family: str, trials: Sequence[Trial], clock: Clock) -> float:
        """Seconds that a trial may take."""
        return time_share(family, trials, clock.seconds_left(trials), maximise=self.maximise)

    def too_expensive(self, family: str, trials: Sequence[Trial], clock: Clock) -> bool:
        """Whether a trial would probably exceed its time limit; False until one is complete."""
        needed = expected_seconds(family, trials)
        return any_complete(trials) and needed > self.time_limit(family, trials, clock)

    def affordable_family(self, trials: Sequence[Trial], clock: Clock) -> str | None:
        """The family with the best trial among those with enough time; None if there is none."""
        order = dict.fromkeys(t.family for t in rank_trials(trials, maximise=self.maximise))
        return next((f for f in order if not self.too_expensive(f, trials, clock)), None)


def search(spec: Search, first_candidates: Sequence[Candidate], history: History) -> list[Trial]:
    """Try the first candidates, then proposals of a tree-structured Parzen estimator (TPE).

    Parameters
    ----------
    spec
        The search.
    first_candidates
        Candidates to try first, in this order.
    history
        Storage of finished trials; the search resumes after those that it contains.

    Returns
    -------
    list of Trial
        All trials in order, including failed ones.

    Raises
    ------
    MlopsError
        If every trial failed, with the first trial's reason.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction, limits = "maximize" if spec.maximise else "minimize", spec.limits
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(direction=direction, pruner=pruner(pruning=spec.pruning))
        for finished in history.trials():
            study.add_trial(finished)
        trials = [plain_trial(t) for t in study.trials]
        spent = sum(t.seconds for t in trials)
        seconds = math.inf if limits.seconds is None else limits.seconds
        clock = Clock(limits, time.monotonic() + seconds - spent)
        tried = [t.params for t in study.trials]
        pending = [c for c in first_candidates if as_params(c) not in tried]
        while not spec.is_over(trials, clock):
            proposal = _next_trial(study, spec, pending, trials, clock)
            if proposal is None:
                break
            trial, candidate = proposal
            spec.report_start(candidate, trials, clock)
            result = spec.evaluate(trial, candidate, trials, clock)
            if result is not None:
                history.save_artifacts(len(trials), candidate.family, result)
            ended = tell_study(study, trial, result)
            history.add(ended)
            # The study also counts proposals that were too expensive.
            trials.append(replace(plain_trial(ended), number=len(trials)))
    refuse_failures(trials)
    return trials


def _evaluate(
    trial: optuna.Trial, candidate: Candidate, objective: Objective, seconds: float, *, late: bool
) -> Result | None:
    """Evaluate a trial's candidate; None if it was pruned.

    If there is no score, the reason is stored as an attribute of the trial. ``late`` says whether
    a trial that takes too long is pruned.
    """
    # Boosting ends at its time limit by itself, with a score; this later end is for other fits.
    ends = time.monotonic() + _OVERTIME_FACTOR * seconds

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
    except Exception as error:  # noqa: BLE001  # other candidates may work
        reason = " ".join([f"{type(error).__name__}:", *str(error).strip().splitlines()[:1]])
    else:
        if math.isfinite(result.score):
            trial.set_user_attr("iterations", result.iterations)
            return result
        reason = f"the score is {result.score}: the metric isn't defined on the validation split"
    trial.set_user_attr("reason", reason)
    return Result(math.nan)


def pruner(*, pruning: bool) -> optuna.pruners.BasePruner:
    """The pruner, which ends poor trials early."""
    import optuna

    if not pruning:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=_MIN_TRIALS_TO_PRUNE,
        n_warmup_steps=_STEPS_BEFORE_PRUNING,
        n_min_trials=3,
    )


def sampler(seed: int, number: int, family: str | None = None) -> optuna.samplers.BaseSampler:
    """The sampler of one trial, seeded by the trial's number.

    Parameters
    ----------
    seed
        Seed of the search.
    number
        Number of the trial.
    family
        Family whose settings are sampled; None: the sampler chooses the family, too.
    """
    import numpy as np
    import optuna

    trial_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    tpe = optuna.samplers.TPESampler(
        n_startup_trials=RANDOM_TRIALS, multivariate=True, group=True, seed=trial_seed
    )
    return tpe if family is None else optuna.samplers.PartialFixedSampler({"family": family}, tpe)


def _next_trial(
    study: optuna.Study,
    spec: Search,
    pending: list[Candidate],
    trials: Sequence[Trial],
    clock: Clock,
) -> tuple[optuna.Trial, Candidate] | None:
    """The next trial; None if no proposal can be evaluated in the remaining time."""
    from optuna.trial import TrialState

    while pending:
        candidate = pending.pop(0)
        if not spec.too_expensive(candidate.family, trials, clock):
            study.enqueue_trial(as_params(candidate))
            return _propose(study, spec, None)
    trial, candidate = _propose(study, spec, None)
    if spec.too_expensive(candidate.family, trials, clock):
        study.tell(trial, state=TrialState.FAIL)
        family = spec.affordable_family(trials, clock)
        return None if family is None else _propose(study, spec, family)
    return trial, candidate


def _propose(
    study: optuna.Study, spec: Search, family: str | None
) -> tuple[optuna.Trial, Candidate]:
    study.sampler = sampler(spec.seed, len(study.trials), family)
    trial = study.ask()
    return trial, suggest(trial, spec.spaces)


def tell_study(
    study: optuna.Study, trial: optuna.Trial, result: Result | None
) -> optuna.trial.FrozenTrial:
    """Tell the study a trial's result; a result of None means that it was pruned."""
    from optuna.trial import TrialState

    if result is None:
        return study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    if math.isfinite(result.score):
        return study.tell(trial, result.score, skip_if_finished=True)
    return study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
