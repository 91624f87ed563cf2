"""One search by several processes, which claim trials in a study that all of them see.

A trial counts from the moment it is claimed, so that together they make exactly as many as one
would alone. Who dies leaves a claim behind; it is given up once its owner is known to be gone, and
another trial takes its place: none is lost, and none counted twice.
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

_LOOK = 0.1
"""Seconds between looks at what others do, when there is nothing left to claim."""


class SharedSearch(Protocol):
    """A study that several processes see.

    Attributes
    ----------
    study
        With the first candidates waiting in it.
    worker
        A number that no other process has.
    """

    @property
    def study(self) -> optuna.Study: ...  # noqa: D102

    @property
    def worker(self) -> int: ...  # noqa: D102

    def claimed(self, trial: optuna.Trial) -> AbstractContextManager[None]:
        """Let the others know, within the block, that the trial is being worked on."""

    def give_up(self) -> None:
        """End the claims of those who are gone; such a trial has failed without a reason."""

    def keep(self, number: int, family: str, result: Result) -> None:
        """Keep what a trial made, for the processes of this machine."""


def search_together(what: Search, shared: SharedSearch) -> list[Trial]:
    """Take part in a search until it is over; see ``search``.

    Returns
    -------
    list of Trial
        Of all processes, in order of their numbers, which may have gaps.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seconds = math.inf if what.limits.seconds is None else what.limits.seconds
    peer = _Peer(what, shared, Clock(what.limits, time.monotonic() + seconds))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        shared.study.pruner = pruner(pruning=what.pruning)
        peer.run()
    refuse_failures(peer.trials)
    return peer.trials


@dataclass
class _Peer:
    """One process's part in a search.

    Attributes
    ----------
    trials
        The finished ones of all processes.
    family
        What the next trial shall be of, after one that was too dear; None: any.
    """

    what: Search
    shared: SharedSearch
    clock: Clock
    trials: list[Trial] = field(default_factory=list)
    family: str | None = None

    def run(self) -> None:
        """Take trial after trial, until the search is over or no family is affordable."""
        study, affordable = self.shared.study, True
        while affordable:
            self.shared.give_up()
            found = study.get_trials(deepcopy=False)
            self.trials = finished_trials(found)
            if self.what.over(self.trials, self.clock):
                return
            if _all_claimed(found, self.what.limits, len(found)):
                time.sleep(_LOOK)
            else:
                affordable = self._take_trial(len(found))

    def _take_trial(self, number: int) -> bool:
        """Evaluate a trial, or let it go where it isn't ours; whether there is another to take."""
        what, study = self.what, self.shared.study
        # Two that ask at once see the same trials, and shall not propose the same.
        study.sampler = sampler(what.seed + self.shared.worker, number, self.family)
        trial = study.ask()
        with self.shared.claimed(trial):
            candidate = suggest(trial, what.spaces)
            if _all_claimed(study.get_trials(deepcopy=False), what.limits, trial.number):
                _let_go(study, trial)
                return True
            if what.too_dear(candidate.family, self.trials, self.clock):
                _let_go(study, trial)
                self.family = what.affordable(self.trials, self.clock)
                return self.family is not None
            self.family = None
            what.tell_of(candidate, self.trials, self.clock)
            result = what.work(trial, candidate, self.trials, self.clock)
            if result is not None:
                self.shared.keep(trial.number, candidate.family, result)
            tell_study(study, trial, result)
        return True


def finished_trials(found: Sequence[optuna.trial.FrozenTrial]) -> list[Trial]:
    """The finished trials; those that were given up or let go have no reason, and don't count."""
    return [plain_trial(t) for t in found if is_finished(t)]


def is_finished(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial is finished, and wasn't given up or let go."""
    done = trial.state.name in ("COMPLETE", "PRUNED")
    return done or (trial.state.name == "FAIL" and "reason" in trial.user_attrs)


def _all_claimed(found: Sequence[optuna.trial.FrozenTrial], limits: Limits, before: int) -> bool:
    """Whether the trials before a number are as many as there shall be."""
    if limits.trials is None:
        return False
    taken = [
        t for t in found if t.number < before and (is_finished(t) or t.state.name == "RUNNING")
    ]
    return len(taken) >= limits.trials


def _let_go(study: optuna.Study, trial: optuna.Trial) -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
