"""Kill `mlops run` at random times in every stage, and check that the next run loses nothing.

    python tests/interrupted.py [--kills 3] [--seed 0] [--project DIR]

A project (by default a small one, made with `mlops init`) is run undisturbed once. Then runs of a
copy are killed with SIGKILL, several times in each stage: the whole process group, or only `mlops
run` while its stage continues. The last `mlops run` must succeed, with the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

MLOPS = str(Path(sys.executable).with_name("mlops"))
OUTPUTS = (
    "data/ingested",
    "data/validated",
    "data/quarantine",
    "data/features",
    "data/splits",
    "data/program.json",
    "models",
    "reports",
    "dvc.lock",
)
MADE_BY = {
    "ingest": ["data/ingested"],
    "validate": ["data/validated", "reports/validation.json"],
    "featurize": ["data/features", "data/program.json"],
    "split": ["data/splits"],
    "tune": ["models/tuning"],
    "train": ["models/fitted"],
    "evaluate": ["reports/metrics.json", "reports/plots"],
    "register": ["models/model", "models/registration.json"],
}
STAGES = tuple(MADE_BY)


def fingerprint(project: Path) -> dict[str, str]:
    """File -> SHA-256, of everything that the pipeline writes."""
    files = [
        path
        for name in OUTPUTS
        for path in (
            [project / name] if (project / name).is_file() else (project / name).rglob("*")
        )
        if path.is_file()
    ]
    return {
        str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(files)
    }


def small_project(folder: Path, rows: int = 3000) -> Path:
    """A project of one CSV with numbers, categories, dates and gaps."""
    rng = random.Random(5)  # noqa: S311 - data, not secrets
    lines = ["id,day,colour,size,weight,late"]
    for i in range(rows):
        colour, size = rng.choice(["red", "green", "blue"]), rng.gauss(0, 1)
        weight = "" if rng.random() < 0.1 else f"{rng.gauss(5, 2):.3f}"
        late = int(size + (colour == "red") + rng.gauss(0, 1) > 0.5)
        day = f"2020-{1 + i % 12:02d}-{1 + i % 28:02d}"
        lines.append(f"r{i:05d},{day},{colour},{size:.4f},{weight},{late}")
    (folder / "rows.csv").write_text("\n".join(lines) + "\n")
    project = folder / "project"
    subprocess.run(
        [MLOPS, "init", str(project), "--data", str(folder / "rows.csv"), "--target", "late"],
        check=True,
        capture_output=True,
    )
    return project


def make_due(project: Path, stage: str) -> None:
    """Let the stage have work to do: without its outputs, and with no run to restore."""
    shutil.rmtree(project / ".dvc" / "cache" / "runs", ignore_errors=True)
    for name in MADE_BY[stage]:
        path = project / name
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def start(project: Path) -> subprocess.Popen[bytes]:
    """`mlops run` in a process group of its own."""
    return subprocess.Popen(
        [MLOPS, "run"],
        cwd=project,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def stage_at_work(run: subprocess.Popen[bytes], stage: str) -> bool:
    """Wait until the run's `mlops stage NAME` lives; False if the run ended without it."""
    while run.poll() is None:
        for child in psutil.Process(run.pid).children(recursive=True):
            try:
                if child.cmdline()[-2:] == ["stage", stage]:
                    return True
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        time.sleep(0.01)
    return False


def kill_in(project: Path, stage: str, after: float, *, only_parent: bool) -> bool:
    """Start a run and kill it so many seconds into the stage; False if it never got there."""
    make_due(project, stage)
    run = start(project)
    if not stage_at_work(run, stage):
        return False
    time.sleep(after)
    if run.poll() is not None:
        return False
    if only_parent:
        run.kill()
    else:
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    return True


def disturb(
    project: Path, kills: int, rng: random.Random, lasts: dict[str, float]
) -> dict[str, int]:
    """Kill so many runs in each stage, at a random moment of the seconds that it lasts."""
    struck = dict.fromkeys(lasts, 0)
    for stage, seconds in lasts.items():
        for _ in range(kills):
            # A third of a second is what it takes to start.
            after, only_parent = rng.uniform(0, 0.3 + seconds), rng.random() < 0.25
            hit = kill_in(project, stage, after, only_parent=only_parent)
            struck[stage] += hit
            how = "only the run" if only_parent else "all"
            print(f"{stage}: killed {how} after {after:.2f} s" if hit else f"{stage}: was over")
    return struck


def durations(project: Path, stages: tuple[str, ...]) -> dict[str, float]:
    """Stage -> seconds that its last run took."""
    summaries = project / ".mlops" / "summaries"
    last = {stage: next(summaries.glob(f"{stage}-*.json")) for stage in stages}
    return {stage: json.loads(path.read_text())["seconds"] for stage, path in last.items()}


def check(project: Path, kills: int, seed: int, stages: tuple[str, ...] = STAGES) -> list[str]:
    """Run undisturbed, run with kills, and list the files whose bytes differ."""
    with tempfile.TemporaryDirectory() as scratch:
        twin = Path(scratch) / "twin" / project.name
        shutil.copytree(project, twin)
        subprocess.run([MLOPS, "run", "--force"], cwd=project, check=True, capture_output=True)
        lasts = durations(project, stages)
        struck = disturb(twin, kills, random.Random(seed), lasts)  # noqa: S311
        print(f"{sum(struck.values())} kills")
        subprocess.run([MLOPS, "run"], cwd=twin, check=True, capture_output=True)
        one, other = fingerprint(project), fingerprint(twin)
    if not one or not any(struck.values()):
        return ["nothing was compared"]
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def main() -> int:
    """Run the check from the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--kills", type=int, default=3, help="kills in each stage")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--project", type=Path, help="a clean project; it is run")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        project = given.project or small_project(Path(scratch))
        different = check(project, given.kills, given.seed)
    print("same bytes" if not different else f"different: {', '.join(different)}")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
