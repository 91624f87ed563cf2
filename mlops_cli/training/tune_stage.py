"""Stage tune: search model families and settings, and rank the trials by validation score."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlops_cli
from mlops_cli.data.atomic_files import atomic_write, sha256, write_json
from mlops_cli.metrics.catalog import lookup
from mlops_cli.models.families import choose_families, warm_up
from mlops_cli.models.families.threads import available_cores
from mlops_cli.models.labels import LabelCodec
from mlops_cli.models.objectives import search_metric
from mlops_cli.params.train import Train
from mlops_cli.reporting import Silent, Summary, Table
from mlops_cli.training.dataset import load_training_data
from mlops_cli.training.finalists import choose_members, load_candidates
from mlops_cli.training.model_selection import (
    CandidateModel,
    is_bagged,
)
from mlops_cli.training.search.journal import Journal
from mlops_cli.training.search.parallel_search import is_finished, search_together
from mlops_cli.training.search.search import Search, search
from mlops_cli.training.search.search_space import Candidate, as_params, first_choices, narrow
from mlops_cli.training.search.shared_study import PeerProcesses, SharedStudy, open_shared
from mlops_cli.training.search.study_export import write_study
from mlops_cli.training.search.trial_artifacts import TrialArtifacts, write_predictions
from mlops_cli.training.search.trials import EarlyStop, Limits, Trial, rank_trials, round_score
from mlops_cli.training.time_budget import Budget, SearchShape, plan
from mlops_cli.training.tune_task import TuneTask
from mlops_cli.training.worker_processes import worker_processes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import optuna

    from mlops_cli.layout import Layout
    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["run"]

_WORKERS_NOTE = "searched by several processes: another run may find other trials"


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Search, and write the candidate models, all trials and predictions to ``layout.tuning``.

    Raises
    ------
    BadParams
        If the metric doesn't fit the task, or a range doesn't fit its setting.
    DataRefused
        If a split lacks a class or a feature.
    """
    from threadpoolctl import threadpool_limits

    started = time.monotonic()
    peers = PeerProcesses.from_environment(os.environ)
    # One BLAS thread for the whole stage: parallel fits would change the limit for each other.
    with threadpool_limits(limits=1, user_api="blas"):
        task = _prepare(params, layout, started, progress)
        path = _journal_path(params, layout)
        result = (
            _search_alone(task, path)
            if peers is None
            else _search_with_workers(task, params, layout, path, peers)
        )
        candidates = load_candidates(task, result.trials, result.artifacts)
    max_members, members = choose_members(task, candidates)
    trials = result.trials
    states = Counter(t.state for t in trials)
    counts = {state: states[state] for state in ("complete", "pruned", "failed")}
    best = _describe_best(task, candidates, counts, max_members)
    with atomic_write(layout.tuning) as folder:
        folder.mkdir()
        write_json(folder / "best.json", best)
        write_json(folder / "trials.json", [t.to_json() for t in trials])
        finished = [t for t in result.study.get_trials(deepcopy=False) if is_finished(t)]
        write_study(folder / "study.journal", finished, task.direction)
        write_predictions(folder / "predictions.npy", [c.prediction for c in candidates])
        for number in members:
            trial = candidates[number].trial
            if is_bagged(trial.family, task.plan, task.ensemble):
                result.artifacts.move_models(trial.number, folder / "fits" / str(number))
    Journal.remove_all(path.parent)
    seconds = time.monotonic() - started
    return _summary(task, result, candidates[0].trial, counts, seconds)


def _prepare(params: Params, layout: Layout, started: float, progress: Progress) -> TuneTask:
    progress.update("reading train and validation")
    tune, seed, kind = params.tune, params.project.seed, params.task.type
    metric = lookup(tune.metric or search_metric(kind, params.train.objective), kind)
    data = load_training_data(params.split, _search_rules(params), layout)
    labels = LabelCodec.fit(data.targets["train"], params.task.type, params.task.positive)
    classes = len(labels.classes)
    shape = SearchShape(
        data.row_counts["train"],
        data.row_counts["validation"],
        len(data.kinds),
        classes if classes > 2 else 1,  # noqa: PLR2004 - two classes are one output
    )
    search_plan = plan(
        shape,
        ordered=params.split.strategy == "time",
        folds=tune.folds,
        rows=tune.rows,
        seconds=tune.seconds,
        cores=available_cores(),
    )
    seconds = math.inf if tune.seconds is None else tune.seconds
    patience = params.train.early_stopping
    objective = data.search_objective(search_plan, labels, metric, seed=seed, patience=patience)
    families, notes = choose_families(tune.families, objective.task)
    bagged = frozenset(f for f in families if is_bagged(f, search_plan, params.train.ensemble))
    start_seconds = {} if tune.seconds is None else warm_up(families.values(), objective.task)
    budget = Budget(seconds, shape, search_plan, bagged, start_seconds, started)
    return TuneTask(
        tune,
        params.train.ensemble,
        seed,
        metric,
        data,
        labels,
        search_plan,
        budget,
        objective,
        families,
        notes,
        progress,
    )


def _search_rules(params: Params) -> Train:
    """The settings of `train` on which the search depends."""
    return Train(
        early_stopping=params.train.early_stopping,
        weight=params.train.weight,
        objective=params.train.objective,
        monotone=params.train.monotone,
    )


@dataclass(frozen=True)
class _SearchSetup:
    """The search, and the candidates that it tries first."""

    search: Search
    first_candidates: list[Candidate]


@dataclass(frozen=True)
class _SearchResult:
    """The trials, their predictions and fold models, and notes for the summary."""

    trials: list[Trial]
    study: optuna.Study
    artifacts: TrialArtifacts
    notes: Sequence[str] = ()


def _set_up_search(task: TuneTask) -> _SearchSetup:
    tune, maximise = task.tune, task.metric.maximise
    families = task.families
    ranges: dict[str, Any] = {str(name): space for name, space in tune.spaces.items()}
    spaces = {
        name: narrow(family.space, ranges.get(name, {}), name) for name, family in families.items()
    }
    first_candidates = first_choices(
        spaces,
        {name: family.candidates() for name, family in families.items()},
        max_candidates=1_000 if tune.trials is None else (tune.trials + 1) // 2,
    )
    early_stop = tune.good_enough
    limits = Limits(
        tune.trials,
        None if tune.seconds is None else task.budget.seconds_left,
        lambda done: task.budget.reserve(rank_trials(done, maximise=maximise)),
        EarlyStop(early_stop.score, early_stop.trials, early_stop.gain),
    )
    task_search = Search(
        spaces,
        task.objective.evaluate,
        limits,
        maximise,
        task.seed,
        tune.pruning,
        task.progress,
    )
    return _SearchSetup(task_search, first_candidates)


def _search_alone(task: TuneTask, path: Path) -> _SearchResult:
    """Search in this process; interruptions don't change which trials are tried."""
    setup = _set_up_search(task)
    journal = Journal.open(path, task.direction, task.progress)
    trials = search(setup.search, setup.first_candidates, journal)
    return _SearchResult(trials, journal.study, journal.artifacts)


def _search_with_workers(
    task: TuneTask, params: Params, layout: Layout, path: Path, peers: PeerProcesses
) -> _SearchResult:
    """Search with worker processes, and with all other processes that use the same storage."""
    setup = _set_up_search(task)
    content = params.model_dump_json(by_alias=True, exclude_unset=True)
    arguments = (content, layout, path, peers.storage)
    shared = _join_study(task, setup, path, peers.storage)
    with worker_processes(peers.workers - 1, _run_worker, *arguments):
        trials = search_together(setup.search, shared)
    return _SearchResult(trials, shared.study, shared.artifacts, (_WORKERS_NOTE,))


def _run_worker(params: str, layout: Layout, path: Path, storage: str | None) -> None:
    """Run a worker process: join a search that another process of this machine started."""
    from threadpoolctl import threadpool_limits

    from mlops_cli.params import Params

    with threadpool_limits(limits=1, user_api="blas"):
        task = _prepare(Params.model_validate_json(params), layout, time.monotonic(), Silent())
        setup = _set_up_search(task)
        search_together(setup.search, _join_study(task, setup, path, storage))


def _join_study(
    task: TuneTask, setup: _SearchSetup, path: Path, storage: str | None
) -> SharedStudy:
    return open_shared(
        path, storage, task.direction, [as_params(c) for c in setup.first_candidates]
    )


def _journal_path(params: Params, layout: Layout) -> Path:
    """Path of the journal of exactly this search; journals of other searches are removed."""
    parts = {
        "version": mlops_cli.__version__,
        "seed": params.project.seed,
        "task": params.task.model_dump(mode="json"),
        "tune": params.tune.model_dump(mode="json"),
        "split": params.split.model_dump(mode="json"),
        "train": _search_rules(params).model_dump(mode="json"),
        "program": sha256(layout.program),
        "train split": sha256(layout.split("train")),
        "validation split": sha256(layout.split("validation")),
    }
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    path = layout.work / "tune" / f"{key}.journal"
    Journal.remove_all(path.parent, except_stem=path.stem)
    return path


def _describe_best(
    task: TuneTask,
    candidates: Sequence[CandidateModel],
    counts: dict[str, int],
    max_members: int | None,
) -> dict[str, Any]:
    """Content of ``best.json``: the best trial, and the candidates for train's ensemble."""
    first = candidates[0].trial
    return {
        "family": first.family,
        "settings": first.settings,
        "iterations": first.iterations,
        "metric": task.metric.name,
        "score": round_score(first.score),
        "rows": task.plan.rows,
        "folds": task.plan.folds,
        "trials": counts,
        "members": max_members,
        "contenders": [c.to_json() for c in candidates],
    }


def _summary(
    task: TuneTask, result: _SearchResult, winner: Trial, counts: dict[str, int], seconds: float
) -> Summary:
    metric = task.metric
    trials, notes = result.trials, [*task.notes, *result.notes]
    order = rank_trials(trials, maximise=metric.maximise)
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
