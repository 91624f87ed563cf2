"""Backtest of retraining policies: what each would have cost on past data."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import mlops_cli
from mlops_cli.backtest.case import BacktestConfig, BacktestTask
from mlops_cli.backtest.periods import periods
from mlops_cli.backtest.policies import (
    ChampionContest,
    Period,
    PeriodScore,
    Policy,
    PolicyRun,
    TrainedModel,
    simulate,
)
from mlops_cli.backtest.pool import run_tasks
from mlops_cli.data.atomic_files import read_json, sha256
from mlops_cli.data.timestamps import format_timestamp
from mlops_cli.errors import BadParams, DataRefused, NotFound, Usage
from mlops_cli.layout import Layout
from mlops_cli.project.locks import lock
from mlops_cli.project.pipeline import load
from mlops_cli.reporting import Silent

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.params import Params
    from mlops_cli.reporting import Progress

__all__ = ["BacktestRequest", "BacktestResult", "backtest"]

_MAX_CACHES = 3
"""Maximum cache folders: that of these settings and data, and the latest others."""


@dataclass(frozen=True)
class BacktestRequest:
    """Settings of a backtest.

    Attributes
    ----------
    until
        End of the backtest; None: the last request in the history.
    label_delay
        Time from when a label's values are known to its arrival.
    """

    since: dt.datetime
    until: dt.datetime | None
    every: str
    policies: tuple[Policy, ...]
    label_delay: str | None = None
    jobs: int = 1
    force: bool = False


@dataclass(frozen=True)
class BacktestResult:
    """Result of a backtest: the run of each policy over all periods."""

    steps: tuple[Period, ...]
    label_delay: str | None
    runs: tuple[PolicyRun, ...]
    notes: tuple[str, ...] = ()


def backtest(
    params: Params, layout: Layout, request: BacktestRequest, progress: Progress
) -> BacktestResult:
    """Simulate each policy on past data, with the data clock at each period's start.

    Raises
    ------
    BadParams
        If rows have no time.
    Usage
        If there is no history from ``since`` on, or there are too few or too many periods.
    DataRefused
        If no model can be trained on the data that were known at the start.
    NotFound
        If there are no model settings to train with.
    Busy
        If another backtest is running.
    """
    settings = _read_settings(params, layout)
    base = layout.work / "backtest"
    with lock(base / "run.lock", "the backtest"):
        history = Layout(layout.root, base / "history")
        last = _prepare_history(params, history, progress)
        steps, note = _cut_periods(request, last)
        folder = base / _cache_key(params, layout, history, settings)
        if request.force:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        _remove_old_caches(base, folder)
        params_text = layout.params.read_text(encoding="utf-8")
        config = BacktestConfig(
            params_text,
            layout.root,
            folder,
            base / "history",
            steps,
            request.label_delay,
            **settings,
        )
        result = _simulate_all(config, request, progress)
        return replace(result, notes=(*result.notes, note)) if note else result


def _read_settings(params: Params, layout: Layout) -> dict[str, Any]:
    """Read family and settings of the last search; empty if each training runs its own search."""
    base = params.featurize.base
    if params.ingest.sources[base].time is None and params.featurize.predict_at is None:
        raise BadParams(
            f"rows of {base!r} have no time, so there is no history to walk through",
            f"State `ingest.sources.{base}.time` in params.yaml.",
        )
    if params.backtest.trials:
        return {}
    path = layout.tuning / "best.json"
    if not path.is_file():
        raise NotFound(
            f"{path} is not there: no settings to train with",
            "Run the pipeline first (`mlops run`), or set backtest.trials to search each time.",
        )
    best = read_json(path)
    return {name: best[name] for name in ("family", "settings")}


def _prepare_history(params: Params, history: Layout, progress: Progress) -> dt.datetime | None:
    """Ingest and validate all data, without a data clock; return the time of the last request."""
    from mlops_cli.backtest.requests import Requests

    without_clock = params.model_copy(
        update={"ingest": params.ingest.model_copy(update={"until": None})}
    )
    for name in ("ingest", "validate"):
        progress.update(f"the whole history: {name}")
        load(name).run(without_clock, history, Silent())
    return Requests.open(params, history).last_request_time()


def _cut_periods(
    request: BacktestRequest, last: dt.datetime | None
) -> tuple[tuple[Period, ...], str]:
    until = request.until or last
    if until is None or request.since >= until:
        reason = (
            "the history has no rows"
            if until is None
            else f"history ends {format_timestamp(until)}"
        )
        raise Usage(
            f"there is nothing from {format_timestamp(request.since)} on: {reason}",
            "Give an earlier --from.",
        )
    return periods(request.since, until, request.every)


def _cache_key(
    params: Params, layout: Layout, history: Layout, model_settings: dict[str, Any]
) -> str:
    """Hash everything that results depend on besides the periods; it names the cache folder."""
    parameters = params.model_dump(mode="json", exclude={"serve", "feedback", "retrain"})
    parameters["ingest"]["until"] = None
    for cost in ("error_cost", "retrain_cost"):
        del parameters["backtest"][cost]
    content = {
        "version": mlops_cli.__version__,
        "params": parameters,
        "sources": {p.stem: sha256(p) for p in sorted(history.validated.glob("*.parquet"))},
        "settings": model_settings,
        "hook": _hash_hook(params, layout),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _hash_hook(params: Params, layout: Layout) -> str | None:
    if params.featurize.hook is None:
        return None
    path = layout.root / (params.featurize.hook.partition(":")[0].replace(".", "/") + ".py")
    return sha256(path) if path.is_file() else None


def _remove_old_caches(base: Path, folder: Path) -> None:
    """Remove the oldest cache folders."""
    caches = [p for p in base.iterdir() if p.is_dir() and p.name not in {"history", folder.name}]
    caches.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for old in caches[_MAX_CACHES - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


class _CachedResults:
    """Task results from the cache; those that are requested but not there are in ``missing``."""

    def __init__(self, config: BacktestConfig) -> None:
        self._config = config
        self._loaded: dict[BacktestTask, Any] = {}
        self.missing: dict[BacktestTask, None] = {}

    def model(self, step: int) -> TrainedModel | None:
        result = self._load(BacktestTask("train", step))
        return None if result is None else TrainedModel(**result)

    def score(self, model: int, step: int) -> PeriodScore | None:
        if self.model(model) is None or not self.has_requests(step):
            return None
        result = self._load(BacktestTask("score", model, step))
        if result is None:
            return None
        tuples = {name: tuple(result[name]) for name in ("found", "findings")}
        return PeriodScore(**{**result, **tuples})

    def has_requests(self, step: int) -> bool:
        """Whether the requests of a period are in the cache."""
        is_cached = self._config.period_file(step).is_file()
        if not is_cached:
            self.missing[BacktestTask("period", step)] = None
        return is_cached

    def contest(self, candidate: int, champion: int) -> ChampionContest | None:
        result = self._load(BacktestTask("contest", candidate, champion))
        return None if result is None else ChampionContest(**result)

    def _load(self, task: BacktestTask) -> Any | None:
        if task not in self._loaded:
            path = self._config.result_file(task)
            if not path.is_file():
                self.missing[task] = None
                return None
            self._loaded[task] = read_json(path)
        return self._loaded[task]


def _simulate_all(
    config: BacktestConfig, request: BacktestRequest, progress: Progress
) -> BacktestResult:
    results, min_rows = _CachedResults(config), config.params.retrain.min_rows
    runs: dict[str, PolicyRun] = {}
    done = 0

    def find_missing() -> list[BacktestTask]:
        results.missing.clear()
        for policy in request.policies:
            if policy.name not in runs:
                run = simulate(policy, config.steps, results, min_rows)
                if run is not None:
                    runs[policy.name] = run
            _require_first_model(config, results)
        if len(runs) < len(request.policies):
            for number in range(len(config.steps)):
                results.has_requests(number)
        return list(results.missing)

    def report_done(task: BacktestTask) -> None:
        nonlocal done
        done += 1
        progress.update(_describe_task(config, task), done, done + len(results.missing))

    run_tasks(config, request.jobs, find_missing, report_done)
    first_model = results.model(0)
    notes = []
    if first_model is not None and first_model.outcome == "rejected":
        notes.append(f"the first model serves although its gates reject it: {first_model.reason}")
    return BacktestResult(
        config.steps,
        config.label_delay,
        tuple(runs[p.name] for p in request.policies),
        tuple(notes),
    )


def _require_first_model(config: BacktestConfig, results: _CachedResults) -> None:
    first_model = results.model(0)
    if first_model is not None and first_model.outcome == "failed":
        raise DataRefused(
            f"no model can be trained on what was known on {format_timestamp(config.clock(0))}: "
            f"{first_model.reason}",
            "Begin later (--from).",
        )


def _describe_task(config: BacktestConfig, task: BacktestTask) -> str:
    start = format_timestamp(config.steps[task.step].start)
    return {
        "train": f"trained as of {start}",
        "period": f"requests from {start} on",
        "score": f"model of {start} scored",
        "contest": f"model of {start} compared",
    }[task.kind]
