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
from typing import TYPE_CHECKING, Protocol

from mlops_cli.core.search import Search, pruner, sampler, tell
from mlops_cli.core.spaces import suggest
from mlops_cli.core.trials import (
    Clock,
    Limits,
    Result,
    Trial,
    plain,
    refuse_failures,
)

if TYPE_CHECKING:
    import optuna

__all__ = ["Shared", "counted", "counts", "search_together"]

_LOOK = 0.1
"""Seconds between looks at what others do, when there is nothing left to claim."""


class Shared(Protocol):
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


def search_together(what: Search, shared: Shared) -> list[Trial]:
    """Take part in a search until it is over; see ``search``.

    Returns
    -------
    list of Trial
        Of all processes, in order of their numbers, which may have gaps.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study, limits, family = shared.study, what.limits, None
    seconds = math.inf if limits.seconds is None else limits.seconds
    clock = Clock(limits, time.monotonic() + seconds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.pruner = pruner(pruning=what.pruning)
        while True:
            shared.give_up()
            found = study.get_trials(deepcopy=False)
            trials = counted(found)
            if what.over(trials, clock):
                break
            if _all_claimed(found, limits, len(found)):
                time.sleep(_LOOK)
                continue
            # Two that ask at once see the same trials, and shall not propose the same.
            study.sampler = sampler(what.seed + shared.worker, len(found), family)
            trial = study.ask()
            with shared.claimed(trial):
                candidate = suggest(trial, what.spaces)
                if _all_claimed(study.get_trials(deepcopy=False), limits, trial.number):
                    _let_go(study, trial)
                    continue
                if what.too_dear(candidate.family, trials, clock):
                    _let_go(study, trial)
                    family = what.affordable(trials, clock)
                    if family is None:
                        break
                    continue
                family = None
                what.tell_of(candidate, trials, clock)
                result = what.work(trial, candidate, trials, clock)
                if result is not None:
                    shared.keep(trial.number, candidate.family, result)
                tell(study, trial, result)
    refuse_failures(trials)
    return trials


def counted(found: Sequence[optuna.trial.FrozenTrial]) -> list[Trial]:
    """The finished trials; those that were given up or let go have no reason, and don't count."""
    return [plain(t) for t in found if counts(t)]


def counts(trial: optuna.trial.FrozenTrial) -> bool:
    """Whether a trial is finished, and wasn't given up or let go."""
    done = trial.state.name in ("COMPLETE", "PRUNED")
    return done or (trial.state.name == "FAIL" and "reason" in trial.user_attrs)


def _all_claimed(found: Sequence[optuna.trial.FrozenTrial], limits: Limits, before: int) -> bool:
    """Whether the trials before a number are as many as there shall be."""
    if limits.trials is None:
        return False
    taken = [t for t in found if t.number < before and (counts(t) or t.state.name == "RUNNING")]
    return len(taken) >= limits.trials


def _let_go(study: optuna.Study, trial: optuna.Trial) -> None:
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)
