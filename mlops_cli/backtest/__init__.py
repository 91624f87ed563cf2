"""Policies of retraining, tried on history: what each would have cost."""

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

_KEPT = 3
"""So many caches are kept: of these settings and data, and of the last others."""


@dataclass(frozen=True)
class BacktestRequest:
    """What is asked for.

    Attributes
    ----------
    until
        None: up to the last request that history has.
    delay
        How long after its values are known a label arrives.
    """

    since: dt.datetime
    until: dt.datetime | None
    every: str
    policies: tuple[Policy, ...]
    delay: str | None = None
    jobs: int = 1
    force: bool = False


@dataclass(frozen=True)
class BacktestResult:
    """How it would have gone under each policy."""

    steps: tuple[Period, ...]
    delay: str | None
    courses: tuple[PolicyRun, ...]
    notes: tuple[str, ...] = ()


def backtest(
    params: Params, layout: Layout, asked: BacktestRequest, progress: Progress
) -> BacktestResult:
    """Walk the data clock through history under each policy.

    Raises
    ------
    BadParams
        If rows have no time.
    Usage
        If the history isn't there from ``since`` on, or has too few or too many periods.
    DataRefused
        If no model can be trained on what was known at the beginning.
    NotFound
        If there are no settings to train with.
    Busy
        If another backtest is at work.
    """
    found = _settled(params, layout)
    base = layout.work / "backtest"
    with lock(base / "run.lock", "the backtest"):
        history = Layout(layout.root, base / "history")
        last = _history(params, history, progress)
        steps, said = _steps(asked, last)
        folder = base / _key(params, layout, history, found)
        if asked.force:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        _forget(base, folder)
        text = layout.params.read_text(encoding="utf-8")
        case = BacktestConfig(
            text, layout.root, folder, base / "history", steps, asked.delay, **found
        )
        walked = _walked(case, asked, progress)
        return replace(walked, notes=(*walked.notes, said)) if said else walked


def _settled(params: Params, layout: Layout) -> dict[str, Any]:
    """The family and settings of the last search, unless each training searches for itself."""
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


def _history(params: Params, history: Layout, progress: Progress) -> dt.datetime | None:
    """Take in all that is known today, whatever the data clock; give the last request's time."""
    from mlops_cli.backtest.requests import Requests

    whole = params.model_copy(update={"ingest": params.ingest.model_copy(update={"until": None})})
    for name in ("ingest", "validate"):
        progress.update(f"the whole history: {name}")
        load(name).run(whole, history, Silent())
    return Requests.open(params, history).last()


def _steps(asked: BacktestRequest, last: dt.datetime | None) -> tuple[tuple[Period, ...], str]:
    until = asked.until or last
    if until is None or asked.since >= until:
        raise Usage(
            f"there is nothing from {format_timestamp(asked.since)} on: history ends "
            f"{'nowhere' if until is None else format_timestamp(until)}",
            "Give an earlier --from.",
        )
    return periods(asked.since, until, asked.every)


def _key(params: Params, layout: Layout, history: Layout, found: dict[str, Any]) -> str:
    """Of all that results depend on besides the periods: another name, another cache."""
    settings = params.model_dump(mode="json", exclude={"serve", "feedback", "retrain"})
    settings["ingest"]["until"] = None
    for price in ("error_cost", "retrain_cost"):
        del settings["backtest"][price]
    parts = {
        "version": mlops_cli.__version__,
        "params": settings,
        "sources": {p.stem: sha256(p) for p in sorted(history.valid.glob("*.parquet"))},
        "settings": found,
        "hook": _hook(params, layout),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def _hook(params: Params, layout: Layout) -> str | None:
    if params.featurize.hook is None:
        return None
    path = layout.root / (params.featurize.hook.partition(":")[0].replace(".", "/") + ".py")
    return sha256(path) if path.is_file() else None


def _forget(base: Path, folder: Path) -> None:
    """Remove the oldest caches."""
    caches = [p for p in base.iterdir() if p.is_dir() and p.name not in {"history", folder.name}]
    caches.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for old in caches[_KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


class _Results:
    """What is known so far, read from the cache; what is asked for in vain is wanted."""

    def __init__(self, case: BacktestConfig) -> None:
        self._case = case
        self._read: dict[BacktestTask, Any] = {}
        self.wanted: dict[BacktestTask, None] = {}

    def model(self, step: int) -> TrainedModel | None:
        found = self._found(BacktestTask("train", step))
        return None if found is None else TrainedModel(**found)

    def score(self, model: int, step: int) -> PeriodScore | None:
        if self.model(model) is None or not self.period(step):
            return None
        found = self._found(BacktestTask("score", model, step))
        if found is None:
            return None
        tuples = {name: tuple(found[name]) for name in ("found", "findings")}
        return PeriodScore(**{**found, **tuples})

    def period(self, step: int) -> bool:
        """Whether a period's requests are there."""
        there = self._case.period(step).is_file()
        if not there:
            self.wanted[BacktestTask("period", step)] = None
        return there

    def contest(self, candidate: int, champion: int) -> ChampionContest | None:
        found = self._found(BacktestTask("contest", candidate, champion))
        return None if found is None else ChampionContest(**found)

    def _found(self, task: BacktestTask) -> Any | None:
        if task not in self._read:
            path = self._case.result(task)
            if not path.is_file():
                self.wanted[task] = None
                return None
            self._read[task] = read_json(path)
        return self._read[task]


def _walked(case: BacktestConfig, asked: BacktestRequest, progress: Progress) -> BacktestResult:
    results, least = _Results(case), case.params.retrain.min_rows
    courses: dict[str, PolicyRun] = {}
    done = 0

    def wanted() -> list[BacktestTask]:
        results.wanted.clear()
        for policy in asked.policies:
            if policy.name not in courses:
                course = simulate(policy, case.steps, results, least)
                if course is not None:
                    courses[policy.name] = course
            _refuse_beginning(case, results)
        if len(courses) < len(asked.policies):
            for number in range(len(case.steps)):
                results.period(number)
        return list(results.wanted)

    def told(task: BacktestTask) -> None:
        nonlocal done
        done += 1
        progress.update(_said(case, task), done, done + len(results.wanted))

    run_tasks(case, asked.jobs, wanted, told)
    first = results.model(0)
    notes = []
    if first is not None and first.outcome == "rejected":
        notes.append(f"the first model serves although its gates reject it: {first.reason}")
    return BacktestResult(
        case.steps, case.delay, tuple(courses[p.name] for p in asked.policies), tuple(notes)
    )


def _refuse_beginning(case: BacktestConfig, results: _Results) -> None:
    first = results.model(0)
    if first is not None and first.outcome == "failed":
        raise DataRefused(
            f"no model can be trained on what was known on {format_timestamp(case.clock(0))}: "
            f"{first.reason}",
            "Begin later (--from).",
        )


def _said(case: BacktestConfig, task: BacktestTask) -> str:
    start = format_timestamp(case.steps[task.model].start)
    return {
        "train": f"trained as of {start}",
        "period": f"requests from {start} on",
        "score": f"model of {start} scored",
        "contest": f"model of {start} compared",
    }[task.kind]
