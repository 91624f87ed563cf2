"""Tasks of a backtest; each writes one file atomically, so a file that exists is complete."""

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


def run_task(config: BacktestConfig, task: BacktestTask) -> None:
    """Run a task, unless its result exists."""
    if config.result_file(task).is_file():
        return
    {
        "period": _compute_requests,
        "train": _train_model,
        "score": _score_model,
        "contest": _compare_with_champion,
    }[task.kind](config, task)


def _train_model(config: BacktestConfig, task: BacktestTask) -> None:
    """Run the pipeline's stages on the data known at that time, in a scratch folder."""
    target = config.model_folder(task.step)
    scratch = target.with_name(f".{target.name}.work")
    shutil.rmtree(scratch, ignore_errors=True)
    layout = Layout(config.root, scratch)
    params = as_of(config, task.step)
    facts: dict[str, Any] = {"outcome": "", "reason": "", "rows": 0}
    try:
        for name in STAGES:
            load(name).run(params, layout, Silent())
        facts = _read_facts(layout)
    except (DataRefused, SourceUnreadable) as error:
        facts |= {"outcome": "failed", "reason": f"{name}: {error.message}"}
    with atomic_write(target) as folder:
        folder.mkdir()
        if facts["outcome"] != "failed":
            layout.model.rename(folder / "model")
            layout.split("test").rename(folder / "test.parquet")
        write_json(folder / "facts.json", facts)
    shutil.rmtree(scratch)


def _read_facts(layout: Layout) -> dict[str, Any]:
    registration = read_json(layout.registration)
    failed_gates = [f"{g['name']}: {g['reason']}" for g in registration["gates"] if not g["passed"]]
    return {
        "outcome": registration["decision"],
        "reason": "; ".join(failed_gates),
        "rows": read_json(layout.feature_report)["rows"]["labelled"],
    }


def _compute_requests(config: BacktestConfig, task: BacktestTask) -> None:
    """Write the requests of a period in order of time, with features as known then."""
    from mlops_cli.backtest.requests import Requests

    step = config.steps[task.step]
    requests = Requests.open(config.params, config.layout).between(
        step.start, step.end, config.label_delay
    )
    parquet.write(requests, config.period_file(task.step))


def _score_model(config: BacktestConfig, task: BacktestTask) -> None:
    """Score the requests of a period with a model, and run monitoring on them."""
    from mlops_cli.backtest.score_period import score_period

    model = config.model_folder(task.step) / "model"
    frame = parquet.scan(config.period_file(task.other_step)).collect()
    score = score_period(config, model, frame, config.steps[task.other_step].end)
    path = config.result_file(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(score))


def _compare_with_champion(config: BacktestConfig, task: BacktestTask) -> None:
    """Compare the candidate with the champion, as `mlops register` does."""
    from mlops_cli.registry.champion import contest, unseen_rows
    from mlops_cli.registry.read_training_rows import training_rows_of_bundle

    params, gate = config.params, config.params.register_.champion
    path = config.result_file(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    if gate is None:
        write_json(path, {"passed": True, "reason": ""})
        return
    candidate, champion = (
        bundles.load(config.model_folder(step) / "model") for step in (task.step, task.other_step)
    )
    test: pl.DataFrame = parquet.scan(config.model_folder(task.step) / "test.parquet").collect()
    training_rows = training_rows_of_bundle(
        config.model_folder(task.other_step) / "model", "the champion"
    )
    unseen = unseen_rows(training_rows, test, test)
    verdicts = contest(
        params,
        gate,
        candidate,
        test,
        champion.predict(test),
        unseen,
        training_rows.exclusion_reason,
    )
    reasons = [v.reason for v in verdicts if not v.passed]
    write_json(path, {"passed": not reasons, "reason": "; ".join(reasons)})
