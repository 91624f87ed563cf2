"""The pieces of work of a backtest; each leaves one file, which is there only when it is whole."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlops_cli.backtest.case import as_of
from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import atomic_write, read_json, write_json
from mlops_cli.errors import DataRefused, SourceUnreadable
from mlops_cli.layout import Layout
from mlops_cli.models import bundle as bundles
from mlops_cli.project.pipeline import STAGES, load
from mlops_cli.reporting import Silent

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.backtest.case import BacktestConfig, BacktestTask

__all__ = ["run_task"]


def run_task(case: BacktestConfig, task: BacktestTask) -> None:
    """Do a task, unless its result is there."""
    if case.result(task).is_file():
        return
    {"period": _period, "train": _train, "score": _score, "contest": _contest}[task.kind](
        case, task
    )


def _train(case: BacktestConfig, task: BacktestTask) -> None:
    """Run the pipeline's stages on what was known then, in a folder of their own."""
    target = case.model(task.model)
    scratch = target.with_name(f".{target.name}.work")
    shutil.rmtree(scratch, ignore_errors=True)
    layout = Layout(case.root, scratch)
    params = as_of(case, task.model)
    facts: dict[str, Any] = {"outcome": "", "reason": "", "rows": 0}
    try:
        for name in STAGES:
            load(name).run(params, layout, Silent())
        facts = _told(layout)
    except (DataRefused, SourceUnreadable) as error:
        facts |= {"outcome": "failed", "reason": f"{name}: {error.message}"}
    with atomic_write(target) as folder:
        folder.mkdir()
        if facts["outcome"] != "failed":
            layout.model.rename(folder / "model")
            layout.split("test").rename(folder / "test.parquet")
        write_json(folder / "facts.json", facts)
    shutil.rmtree(scratch)


def _told(layout: Layout) -> dict[str, Any]:
    record = read_json(layout.registration)
    refused = [f"{g['name']}: {g['reason']}" for g in record["gates"] if not g["passed"]]
    return {
        "outcome": record["decision"],
        "reason": "; ".join(refused),
        "rows": read_json(layout.feature_report)["rows"]["labelled"],
    }


def _period(case: BacktestConfig, task: BacktestTask) -> None:
    """The requests of a period in order of time, with features as they were known then."""
    from mlops_cli.backtest.requests import Requests

    step = case.steps[task.model]
    found = Requests.open(case.params, case.layout).between(step.start, step.end, case.delay)
    parquet.write(found, case.period(task.model))


def _score(case: BacktestConfig, task: BacktestTask) -> None:
    """What a model would have answered in a period, and what monitoring makes of it."""
    from mlops_cli.backtest.score_period import score_period

    model = case.model(task.model) / "model"
    frame = parquet.scan(case.period(task.other)).collect()
    score = score_period(case, model, frame, case.steps[task.other].end)
    path = case.result(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(score))


def _contest(case: BacktestConfig, task: BacktestTask) -> None:
    """The new model against the one that serves, as `mlops register` compares them."""
    from mlops_cli.registry.champion import contest, unseen_rows
    from mlops_cli.registry.read_training_rows import training_rows_of_bundle

    params, gate = case.params, case.params.register_.champion
    path = case.result(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    if gate is None:
        write_json(path, {"passed": True, "reason": ""})
        return
    ours, theirs = (bundles.load(case.model(step) / "model") for step in (task.model, task.other))
    test: pl.DataFrame = parquet.scan(case.model(task.model) / "test.parquet").collect()
    learnt = training_rows_of_bundle(case.model(task.other) / "model", "the champion")
    unseen = unseen_rows(learnt, test, test)
    verdicts = contest(params, gate, ours, test, theirs.predict(test), unseen, learnt.reason)
    refused = [v.reason for v in verdicts if not v.passed]
    write_json(path, {"passed": not refused, "reason": "; ".join(refused)})
