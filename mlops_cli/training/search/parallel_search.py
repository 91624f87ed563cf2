"""Parallel search by several processes, which claim trials in a shared study.

A trial counts from the moment it is claimed, so that all processes together run exactly as many
trials as one process would. If a process dies, its claim is given up and another trial takes its
place. So no trial is lost, and none is counted twice.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mlops_cli.training.search.search import Search, pruner, sampler, tell_study
from mlops_cli.training.search.search_space import suggest
from mlops_cli.training.search.trials import (
    Clock,
    Limits,
    Result,
    Trial,
    plain_trial,
    refuse_failures,
)

if TYPE_CHECKING:
    import optuna

__all__ = ["SharedSearch", "finished_trials", "is_finished", "search_together"]

_POLL_SECONDS = 0.1
"""Interval at which other processes' trials are checked when there is nothing left to claim."""


class SharedSearch(Protocol):
    """A study that several processes share.

    Attributes
    ----------
    study
        The study, with the first candidates enqueued.
    worker
        Unique number of this process.
    """

    @property
    def study(self) -> optuna.Study: ...  # noqa: D102

    @property
    def worker(self) -> int: ...  # noqa: D102

    def claim(self, trial: optuna.Trial) -> AbstractContextManager[None]:
        """Show the other processes, within the block, that the trial is running."""

    def fail_abandoned_trials(self) -> None:
        """Mark the trials of dead processes as failed, without a reason."""

    def save_artifacts(self, number: int, family: str, result: Result) -> None:
        """Store a trial's artifacts for the processes of this machine."""


def search_together(spec: Search, shared: SharedSearch) -> list[Trial]:
    """Take part in a search until it is over; see ``search``.

    Returns
    -------
    list of Trial
        The trials of all processes, in the order of their numbers, which may have gaps.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seconds = math.inf if spec.limits.seconds is None else spec.limits.seconds
    peer = _Peer(spec, shared, Clock(spec.limits, time.monotonic() + seconds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shared.study.pruner = pruner(pruning=spec.pruning)
        peer.run()
    refuse_failures(peer.trials)
    return peer.trials


@dataclass
class _Peer:
    """The part of one process in a shared search.

    Attributes
    ----------
    trials
        The finished trials of all processes.
    family
        Family of the next trial, after a proposal that was too expensive; None: any family.
    """

    spec: Search
    shared: SharedSearch
    clock: Clock
    trials: list[Trial] = field(default_factory=list)
    family: str | None = None

    def run(self) -> None:
        """Run trial after trial, until the search is over or no family is affordable."""
        study, affordable = self.shared.study, True
        while affordable:
            self.shared.fail_abandoned_trials()
            frozen = study.get_trials(deepcopy=False)
            self.trials = finished_trials(frozen)
            if self.spec.is_over(self.trials, self.clock):
                return
            if _all_claimed(frozen, self.spec.limits, len(frozen)):
                time.sleep(_POLL_SECONDS)
            else:
                affordable = self._take_trial(len(frozen))

    def _take_trial(self, number: int) -> bool:
        """Evaluate a trial, or release it; return whether to take another trial."""
        spec, study = self.spec, self.shared.study
        # Processes that ask at the same time see the same trials, but must not propose the same.
        study.sampler = sampler(spec.seed + self.shared.worker, number, self.family)
        trial = study.ask()
        with self.shared.claim(trial):
            candidate = suggest(trial, spec.spaces)
            if _all_claimed(study.get_trials(deepcopy=False), spec.limits, trial.number):
                _release(study, trial)
                return True
            if spec.too_expensive(candidate.family, self.trials, self.clock):
                _release(study, trial)
                self.family = spec.affordable_family(self.trials, self.clock)
                return self.family is not None
            self.family = None
            spec.report_start(candidate, self.trials, self.clock)
            result = spec.evaluate(trial, candidate, self.trials, self.clock)
            if result is not None:
                self.shared.save_artifacts(trial.number, candidate.family, result)
            tell_study(study, trial, result)
        return True


def finished_trials(trials: Sequence[optuna.trial.FrozenTrial]) -> list[Trial]:
    """The finished trials, without those that were given up or released."""
    return [plain_trial(t) for t in trials if is_finished(t)]


def is_finished(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial is finished, and wasn't given up or released (failed without a reason)."""
    succeeded = trial.state.name in ("COMPLETE", "PRUNED")
    return succeeded or (trial.state.name == "FAIL" and "reason" in trial.user_attrs)


def _all_claimed(frozen: Sequence[optuna.trial.FrozenTrial], limits: Limits, before: int) -> bool:
    """Whether the trials before a number reach the limit of trials."""
    if limits.trials is None:
        return False
    claims = [
        t for t in frozen if t.number < before and (is_finished(t) or t.state.name == "RUNNING")
    ]
    return len(claims) >= limits.trials


def _release(study: optuna.Study, trial: optuna.Trial) -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
