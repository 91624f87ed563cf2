"""Stage tune: search model families and settings, judged by rows that taught no trial."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mlops_cli
from mlops_cli.data.atomic_files import atomic_write, sha256, write_json
from mlops_cli.metrics.catalog import Metric, lookup
from mlops_cli.models.families import FAMILIES, Family, choose_families, warm_up
from mlops_cli.models.families.threads import available_cores
from mlops_cli.models.labels import LabelCodec
from mlops_cli.models.objectives import search_metric
from mlops_cli.params.modelling import Train
from mlops_cli.reporting import Silent, Summary, Table
from mlops_cli.training.dataset import TrainingData, load_training_data
from mlops_cli.training.ensemble_selection import select
from mlops_cli.training.model_selection import (
    CandidateModel,
    is_bagged,
    rank_candidates,
    select_ensemble,
)
from mlops_cli.training.objective import CvObjective
from mlops_cli.training.search.journal import Journal
from mlops_cli.training.search.parallel_search import is_finished, search_together
from mlops_cli.training.search.search import Search, search
from mlops_cli.training.search.search_space import Candidate, as_params, first_choices, narrow
from mlops_cli.training.search.shared_study import PeerProcesses, SharedStudy, open_shared
from mlops_cli.training.search.study_export import write_study
from mlops_cli.training.search.trial_artifacts import TrialArtifacts, write_predictions
from mlops_cli.training.search.trials import EarlyStop, Limits, Result, Trial, ranked, round_score
from mlops_cli.training.search.workers import worker_processes
from mlops_cli.training.time_budget import Budget, SearchPlan, SearchShape, plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import optuna

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["run"]

_KEPT = 24
_KEPT_BYTES = 64_000_000
"""The predictions of so many of the best trials are kept, in at most so many bytes."""
_SEVERAL = "searched by several processes: another run may find other trials"
_MORE_ROUNDS = 2.5
"""With all rows a model may grow so many times more rounds than while searching."""


@dataclass(frozen=True)
class _Task:
    """One search: what it is about, how it is judged, and until when."""

    params: Params
    layout: Layout
    metric: Metric
    known: TrainingData
    labels: LabelCodec
    plan: SearchPlan
    budget: Budget
    problem: CvObjective
    families: Mapping[str, Family]
    notes: Sequence[str]
    progress: Progress

    @property
    def direction(self) -> str:
        """As Optuna names it."""
        return "maximize" if self.metric.maximise else "minimize"


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Search, and write the contenders, all trials and predictions to ``layout.tuning``.

    Raises
    ------
    BadParams
        If the metric doesn't fit the task, or a range doesn't fit its setting.
    DataRefused
        If the splits cannot be learnt from: a class is missing, a feature isn't there.
    """
    from threadpoolctl import threadpool_limits

    started = time.monotonic()
    crew = PeerProcesses.of(os.environ)
    # BLAS is held to one thread for all fits: beside each other they would change it for all.
    with threadpool_limits(limits=1, user_api="blas"):
        task = _open(params, layout, started, progress)
        path = _journal(params, layout)
        found = _alone(task, path) if crew is None else _together(task, path, crew)
        contenders = _contenders(task, found)
    most, members = _members(task, contenders)
    trials = found.trials
    states = Counter(t.state for t in trials)
    of_state = {state: states[state] for state in ("complete", "pruned", "failed")}
    best = _best(task, contenders, of_state, most)
    with atomic_write(layout.tuning) as folder:
        folder.mkdir()
        write_json(folder / "best.json", best)
        write_json(folder / "trials.json", [t.entry() for t in trials])
        frozen = [t for t in found.study.get_trials(deepcopy=False) if is_finished(t)]
        write_study(folder / "study.journal", frozen, task.direction)
        write_predictions(folder / "predictions.npy", [c.prediction for c in contenders])
        for number in members:
            trial = contenders[number].trial
            if is_bagged(trial.family, task.plan, params.train.ensemble):
                found.outcomes.hand_over(trial.number, folder / "fits" / str(number))
    Journal.remove_all(path.parent)
    seconds = time.monotonic() - started
    return _summary(task, found, contenders[0].trial, of_state, seconds)


def _open(params: Params, layout: Layout, started: float, progress: Progress) -> _Task:
    progress.update("reading train and validation")
    tune, seed, kind = params.tune, params.project.seed, params.task.type
    metric = lookup(tune.metric or search_metric(kind, params.train.objective), kind)
    known = load_training_data(params.split, _rules(params), layout)
    labels = LabelCodec.fit(known.targets["train"], params.task.type, params.task.positive)
    classes = len(labels.classes)
    shape = SearchShape(
        known.rows["train"],
        known.rows["validation"],
        len(known.kinds),
        classes if classes > 2 else 1,  # noqa: PLR2004 - two classes are one output
    )
    settled = plan(
        shape,
        ordered=params.split.strategy == "time",
        folds=tune.folds,
        rows=tune.rows,
        seconds=tune.seconds,
        cores=available_cores(),
    )
    seconds = math.inf if tune.seconds is None else tune.seconds
    patience = params.train.early_stopping
    problem = known.problem(settled, labels, metric, seed=seed, patience=patience)
    families, notes = choose_families(tune.families, problem.task)
    kept = frozenset(f for f in families if is_bagged(f, settled, params.train.ensemble))
    starting = {} if tune.seconds is None else warm_up(families.values(), problem.task)
    budget = Budget(seconds, shape, settled, kept, starting, started)
    return _Task(
        params, layout, metric, known, labels, settled, budget, problem, families, notes, progress
    )


def _rules(params: Params) -> Train:
    """What of `train` the search depends on, and nothing else."""
    return Train(
        early_stopping=params.train.early_stopping,
        weight=params.train.weight,
        objective=params.train.objective,
        monotone=params.train.monotone,
    )


@dataclass(frozen=True)
class _Wanted:
    """The search, and what is tried first."""

    search: Search
    firsts: list[Candidate]


@dataclass(frozen=True)
class _Found:
    """The trials, what came of them, and what is to be told of the search."""

    trials: list[Trial]
    study: optuna.Study
    outcomes: TrialArtifacts
    notes: Sequence[str] = ()


def _wanted(task: _Task) -> _Wanted:
    tune, maximise = task.params.tune, task.metric.maximise
    families = task.families
    given: dict[str, Any] = {str(name): space for name, space in tune.spaces.items()}
    spaces = {
        name: narrow(family.space, given.get(name, {}), name) for name, family in families.items()
    }
    first = first_choices(
        spaces,
        {name: family.candidates() for name, family in families.items()},
        most=1_000 if tune.trials is None else (tune.trials + 1) // 2,
    )
    enough = tune.good_enough
    limits = Limits(
        tune.trials,
        None if tune.seconds is None else task.budget.left,
        lambda done: task.budget.reserve(ranked(done, maximise=maximise)),
        EarlyStop(enough.score, enough.trials, enough.gain),
    )
    what = Search(
        spaces,
        task.problem.evaluate,
        limits,
        maximise,
        task.params.project.seed,
        tune.pruning,
        task.progress,
    )
    return _Wanted(what, first)


def _alone(task: _Task, path: Path) -> _Found:
    """Search in this process: the same trials, whenever and however often it is interrupted."""
    wanted = _wanted(task)
    journal = Journal.open(path, task.direction, task.progress)
    trials = search(wanted.search, wanted.firsts, journal)
    return _Found(trials, journal.study, journal.outcomes)


def _together(task: _Task, path: Path, crew: PeerProcesses) -> _Found:
    """Search with helpers, and with whoever else has the same storage."""
    wanted = _wanted(task)
    params = task.params.model_dump_json(by_alias=True, exclude_unset=True)
    given = (params, task.layout, path, crew.storage)
    shared = _joined(task, wanted, path, crew.storage)
    with worker_processes(crew.workers - 1, _help, *given):
        trials = search_together(wanted.search, shared)
    return _Found(trials, shared.study, shared.outcomes, (_SEVERAL,))


def _help(params: str, layout: Layout, path: Path, storage: str | None) -> None:
    """Take part in a search that another process of this machine has begun."""
    from threadpoolctl import threadpool_limits

    from mlops_cli.params import Params

    with threadpool_limits(limits=1, user_api="blas"):
        task = _open(Params.model_validate_json(params), layout, time.monotonic(), Silent())
        wanted = _wanted(task)
        search_together(wanted.search, _joined(task, wanted, path, storage))


def _joined(task: _Task, wanted: _Wanted, path: Path, storage: str | None) -> SharedStudy:
    return open_shared(path, storage, task.direction, [as_params(c) for c in wanted.firsts])


def _contenders(task: _Task, searched: _Found) -> list[CandidateModel]:
    """The best trials with their predictions, fitted on all rows where the search took fewer."""
    done = ranked(searched.trials, maximise=task.metric.maximise)
    size = 4 * len(task.problem.judge.y) * max(1, task.problem.task.classes)
    found = []
    for trial in done[: max(1, min(_KEPT, _KEPT_BYTES // size))]:
        prediction = searched.outcomes.prediction(trial.number)
        if prediction is None or len(prediction) != len(task.problem.judge.y):
            # Another machine made the trial, or a kill came between.
            prediction = _again(task.problem, trial, math.inf).prediction
        assert prediction is not None  # noqa: S101 - evaluated
        found.append(CandidateModel(trial, prediction, trial.seconds))
    found = _preferred(task, found)
    return _finalists(task, found) if task.budget.finals else found


def _preferred(task: _Task, contenders: Sequence[CandidateModel]) -> list[CandidateModel]:
    return rank_candidates(
        contenders,
        task.problem.judge,
        seed=task.params.project.seed,
        simplest=task.params.tune.choose == "simplest",
    )


def _members(task: _Task, contenders: Sequence[CandidateModel]) -> tuple[int | None, list[int]]:
    """The most members that there is time to fit, and who train will take with these."""
    families = [c.trial.family for c in contenders]
    predictions = [c.prediction for c in contenders]
    judge, bounds, budget = task.problem.judge, task.params.train.ensemble, task.budget
    most = None
    while True:
        seed = task.params.project.seed
        weights = select_ensemble(families, predictions, judge, task.plan, bounds, most, seed=seed)
        if math.isinf(budget.seconds):
            return None, list(weights)
        there_is_time_for = budget.affordable([contenders[i].taken for i in weights])
        if there_is_time_for >= len(weights):
            return most, list(weights)
        most = there_is_time_for


def _finalists(task: _Task, contenders: list[CandidateModel]) -> list[CandidateModel]:
    """The best together, each taught by all rows of train, as far as there is time."""
    budget = task.budget
    together = select(
        [c.prediction for c in contenders],
        [0.0] * len(contenders),
        task.problem.judge,
        members=task.params.tune.finalists,
        cost=0.0,
    )
    chosen = [contenders[i] for i in together]
    problem: CvObjective | None = None
    found: list[CandidateModel] = []
    for number, contender in enumerate(chosen):
        time_for_it = budget.final(contender.seconds, budget.last_fits([c.taken for c in found]))
        if time_for_it is None:
            continue
        if problem is None:
            task.progress.update("reading all rows of train")
            problem = task.known.whole(task.problem, task.plan, task.labels)
        task.progress.update(
            f"fitting {contender.trial.family} on {task.known.rows['train']:,} rows",
            number,
            len(chosen),
        )
        begun = time.monotonic()
        rounds = FAMILIES[contender.trial.family].rounds
        most = int(rounds * _MORE_ROUNDS) if rounds else None
        result = _again(problem, contender.trial, time_for_it, most)
        seconds = (time.monotonic() - begun) / budget.grows
        trial = replace(contender.trial, score=result.score, iterations=result.iterations)
        assert result.prediction is not None  # noqa: S101 - evaluated
        found.append(CandidateModel(trial, result.prediction, seconds))
    return _preferred(task, found) if found else chosen[:1]


def _again(problem: CvObjective, trial: Trial, seconds: float, rounds: int | None = None) -> Result:
    """Evaluate a trial's settings outside the search: nothing prunes."""
    return problem.evaluate(Candidate(trial.family, trial.settings), None, seconds, rounds)


def _journal(params: Params, layout: Layout) -> Path:
    """The journal of exactly this search; those of other ones are removed."""
    parts = {
        "version": mlops_cli.__version__,
        "seed": params.project.seed,
        "task": params.task.model_dump(mode="json"),
        "tune": params.tune.model_dump(mode="json"),
        "split": params.split.model_dump(mode="json"),
        "train": _rules(params).model_dump(mode="json"),
        "program": sha256(layout.program),
        "train split": sha256(layout.split("train")),
        "validation split": sha256(layout.split("validation")),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    path = layout.work / "tune" / f"{key}.journal"
    Journal.remove_all(path.parent, but=path.stem)
    return path


def _best(
    task: _Task, contenders: Sequence[CandidateModel], counts: dict[str, int], most: int | None
) -> dict[str, Any]:
    """The best trial, and what train has to know to make a model of several."""
    first = contenders[0].trial
    return {
        "family": first.family,
        "settings": first.settings,
        "iterations": first.iterations,
        "metric": task.metric.name,
        "score": round_score(first.score),
        "rows": task.plan.rows,
        "folds": task.plan.folds,
        "trials": counts,
        "members": most,
        "contenders": [c.entry() for c in contenders],
    }


def _summary(
    task: _Task, found: _Found, winner: Trial, counts: dict[str, int], seconds: float
) -> Summary:
    metric = task.metric
    trials, notes = found.trials, [*task.notes, *found.notes]
    order = ranked(trials, maximise=metric.maximise)
    rows = [(t.number + 1, t.family, f"{t.score:.4f}", t.iterations or "") for t in order[:5]]
    failed = [t for t in trials if t.state == "failed"]
    warnings = [f"trial {t.number + 1} ({t.family}) failed: {t.reason}" for t in failed[:3]]
    return Summary(
        headline=f"{winner.family} is best of {len(trials)} trials: "
        f"validation {metric.name} {winner.score:.4f}",
        tables=(Table("Best trials", ("trial", "family", metric.name, "iterations"), tuple(rows)),),
        warnings=(*notes, *warnings),
        facts={
            "family": winner.family,
            "metric": metric.name,
            "score": round_score(winner.score),
            "trials": counts,
            "seconds": round(seconds, 3),
        },
    )
