"""The search over model families and their settings: deterministic, prunes, survives a kill.

A finished trial is one line of a journal; a trial that was under way leaves no trace in it. The
sampler is seeded anew for each trial from the search's seed and the number of trials before it,
so a search that goes on after a kill makes the same trials as one that was never disturbed.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mlops_cli.core.learners.contract import Pruned, Setting
from mlops_cli.errors import BadParams, MlopsError, nearest
from mlops_cli.params.modelling import Dimension

if TYPE_CHECKING:
    import optuna

    from mlops_cli.reporting import Progress

__all__ = ["Candidate", "Limits", "Result", "Trial", "best", "narrowed", "search"]

Space = Mapping[str, Setting]

_RANDOM_TRIALS = 8
"""So many trials, the defaults among them, before the sampler has enough to go by."""
_TRIALS_TO_COMPARE = 5
_STEPS_BEFORE_PRUNING = 2


@dataclass(frozen=True)
class Candidate:
    """What a trial tries."""

    family: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Result:
    """What a trial found: the metric's value, and the best number of rounds where there are any."""

    score: float
    iterations: int | None = None


@dataclass(frozen=True)
class Limits:
    """When the search ends: after so many trials, so many seconds, or whichever comes first."""

    trials: int | None = None
    seconds: float | None = None


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


class History(Protocol):
    """Where finished trials are kept."""

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """Those of an earlier, unfinished search, in order."""

    def add(self, trial: optuna.trial.FrozenTrial) -> None:
        """Keep one more, for good."""


Objective = Callable[[Candidate, Callable[[int, float], None]], Result]
"""Evaluate a candidate; calls back with (step 1 to 10, score so far), which may raise Pruned."""


def narrowed(space: Space, given: Mapping[str, Dimension], family: str) -> dict[str, Setting]:
    """A family's space with the ranges that ``tune.spaces`` gives in place of its own.

    Raises
    ------
    BadParams
        If the family has no such setting, or it cannot take such values.
    """
    result = dict(space)
    for name, dimension in given.items():
        if name not in space:
            raise BadParams(
                f"tune.spaces.{family} names {name!r}, which is not a setting of {family}",
                nearest(name, space),
            )
        _check(dimension, space[name], f"tune.spaces.{family}.{name}")
        result[name] = Setting(dimension, _within(dimension, space[name].default))
    return result


def search(
    spaces: Mapping[str, Space],
    objective: Objective,
    history: History,
    limits: Limits,
    *,
    maximise: bool,
    seed: int,
    pruning: bool,
    progress: Progress,
) -> list[Trial]:
    """Try each family's default settings, then what a tree-structured Parzen estimator proposes.

    Parameters
    ----------
    spaces
        Family -> its settings.
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
        study = optuna.create_study(direction=direction, pruner=_pruner(pruning=pruning))
        for finished in history.trials():
            study.add_trial(finished)
        spent = sum(t.duration.total_seconds() for t in study.trials if t.duration)
        ends = math.inf if limits.seconds is None else time.monotonic() + limits.seconds - spent
        trials = [_plain(t) for t in study.trials]
        while not _over(trials, limits, ends):
            tell = _teller(trials, limits, progress, maximise=maximise)
            tried = _try_one(study, spaces, objective, seed, ends=ends, tell=tell)
            history.add(tried)
            trials.append(_plain(tried))
    if all(t.state == "failed" for t in trials):
        raise MlopsError(
            f"all {len(trials)} trials of the search failed; the first ({trials[0].family}): "
            f"{trials[0].reason}",
            "Look at the features that it names, or leave that family out of tune.families.",
        )
    return trials


def best(trials: list[Trial], *, maximise: bool) -> Trial:
    """The complete trial with the best score, the first of equals."""
    done = [t for t in trials if t.state == "complete" and t.score is not None]
    sign = -1.0 if maximise else 1.0
    return min(done, key=lambda t: (sign * (t.score or 0.0), t.number))


def _over(trials: list[Trial], limits: Limits, ends: float) -> bool:
    if limits.trials is not None and len(trials) >= limits.trials:
        return True
    # However short the time, there is one result; unless nothing works at all.
    enough = any(t.state == "complete" for t in trials) or len(trials) >= _RANDOM_TRIALS
    return enough and time.monotonic() >= ends


def _teller(
    trials: list[Trial], limits: Limits, progress: Progress, *, maximise: bool
) -> Callable[[str], None]:
    """Say which trial this is, of which family, and the best score up to now."""
    number, total = len(trials) + 1, limits.trials
    scores = [t.score for t in trials if t.state == "complete" and t.score is not None]
    leading = f"  best {max(scores) if maximise else min(scores):.4f}" if scores else ""

    def tell(family: str) -> None:
        progress.update(f"trial {number}: {family}{leading}", done=number - 1, total=total)

    return tell


def _try_one(
    study: optuna.Study,
    spaces: Mapping[str, Space],
    objective: Objective,
    seed: int,
    *,
    ends: float,
    tell: Callable[[str], None],
) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState

    number = len(study.trials)
    study.sampler = _sampler(seed, number)
    families = list(spaces)
    if number < len(families):
        study.enqueue_trial(_defaults(families[number], spaces))
    trial = study.ask()
    candidate = _suggest(trial, spaces)
    tell(candidate.family)

    def report(step: int, score: float) -> None:
        trial.report(score, step)
        late = time.monotonic() >= ends and any(
            t.state == TrialState.COMPLETE for t in study.trials
        )
        if late or trial.should_prune():
            raise Pruned

    try:
        result = objective(candidate, report)
    except Pruned:
        return study.tell(trial, state=TrialState.PRUNED)
    except MlopsError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a learner can't do, others may
        reason = " ".join([f"{type(error).__name__}:", *str(error).strip().splitlines()[:1]])
    else:
        if math.isfinite(result.score):
            trial.set_user_attr("iterations", result.iterations)
            return study.tell(trial, result.score)
        reason = f"the score is {result.score}: the metric isn't defined on the validation split"
    trial.set_user_attr("reason", reason)
    return study.tell(trial, state=TrialState.FAIL)


def _sampler(seed: int, number: int) -> optuna.samplers.BaseSampler:
    import numpy as np
    import optuna

    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(
        n_startup_trials=_RANDOM_TRIALS, multivariate=True, group=True, seed=own
    )


def _pruner(*, pruning: bool) -> optuna.pruners.BasePruner:
    import optuna

    if not pruning:
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(
        n_startup_trials=_TRIALS_TO_COMPARE,
        n_warmup_steps=_STEPS_BEFORE_PRUNING,
        n_min_trials=3,
    )


def _defaults(family: str, spaces: Mapping[str, Space]) -> dict[str, Any]:
    settings = {f"{family}.{name}": s.default for name, s in spaces[family].items()}
    return {"family": family, **settings}


def _suggest(trial: optuna.Trial, spaces: Mapping[str, Space]) -> Candidate:
    family = trial.suggest_categorical("family", list(spaces))
    settings: dict[str, Any] = {}
    for name, setting in spaces[family].items():
        where, dimension = f"{family}.{name}", setting.dimension
        if dimension.choices is not None:
            settings[name] = trial.suggest_categorical(where, dimension.choices)
        elif isinstance(setting.default, int):
            least, most = int(dimension.low or 0), int(dimension.high or 0)
            settings[name] = trial.suggest_int(where, least, most, log=dimension.log)
        else:
            low, high = float(dimension.low or 0.0), float(dimension.high or 0.0)
            settings[name] = trial.suggest_float(where, low, high, log=dimension.log)
    return Candidate(family, settings)


def _check(dimension: Dimension, own: Setting, where: str) -> None:
    """Refuse a given range that the setting cannot take."""
    known = own.dimension.choices
    if known is not None:
        strange = [c for c in dimension.choices or (dimension.low,) if c not in known]
        if strange:
            raise BadParams(
                f"{where} gives {strange[0]!r}, which is not one of its choices",
                nearest(str(strange[0]), [str(c) for c in known]),
            )
        return
    given = dimension.choices or (dimension.low, dimension.high)
    kinds = (int,) if isinstance(own.default, int) else (int, float)
    for value in given:
        if isinstance(value, bool) or not isinstance(value, kinds):
            what = "whole numbers" if kinds == (int,) else "numbers"
            raise BadParams(
                f"{where} gives {value!r}, and it takes {what}",
                f"Its own range is {own.dimension.low} to {own.dimension.high}.",
            )


def _within(dimension: Dimension, default: Any) -> Any:
    """The family's default where the given range allows it, else the nearest that it does."""
    if dimension.choices is not None:
        return default if default in dimension.choices else dimension.choices[0]
    # The default's type decides whether the setting is a whole number.
    return type(default)(min(max(default, dimension.low), dimension.high))


def _plain(trial: optuna.trial.FrozenTrial) -> Trial:
    family = trial.params["family"]
    states = {"COMPLETE": "complete", "PRUNED": "pruned"}
    state = states.get(trial.state.name, "failed")
    return Trial(
        number=trial.number,
        family=family,
        settings={k.partition(".")[2]: v for k, v in trial.params.items() if k != "family"},
        state=state,
        score=trial.value if state == "complete" else None,
        iterations=trial.user_attrs.get("iterations"),
        steps=dict(sorted(trial.intermediate_values.items())),
        reason=trial.user_attrs.get("reason"),
    )
