"""The mlops side of automl.py: `mlops init` on the training rows, then the stages tune and train.

automl.py runs this script as `python automl_ours.py TASK_FOLDER SECONDS RESULT` in an empty folder.
The time is that of `mlops stage tune` and `mlops stage train`, two whole processes. The project
doesn't contain the test rows of automl.py, and its own test split is as small as possible.
"""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

TARGET, TIMED_ROWS = "target", 200
MLOPS = str(Path(sys.executable).with_name("mlops"))


def mlops(project: Path, *options: str) -> None:
    completed = subprocess.run(
        [MLOPS, *options], cwd=project, capture_output=True, text=True, check=False
    )
    if completed.returncode:
        sys.exit(f"mlops {' '.join(options)}: {completed.stderr.strip()}")


def write_settings(params: Path, task: dict[str, str | None], seconds: float) -> None:
    """Set time budget and metric, and make the test split small; keep all other settings."""
    from ruamel.yaml import YAML

    yaml = YAML()
    tree = yaml.load(params)
    tree["tune"] |= {"seconds": seconds, "trials": None, "metric": task["metric"]}
    if tree["split"]["strategy"] == "time":
        tree["split"] |= {"test": "1d"}
        tree["split"].pop("gap", None)
    else:
        tree["split"] |= {"test": 0.02, "validation": 0.18}
    yaml.dump(tree, params)


def main(task_folder: Path, seconds: float, result: Path) -> None:
    task = json.loads((task_folder / "task.json").read_text())
    project = Path("project").absolute()
    options = ["--data", str(task_folder / "train.csv"), "--target", TARGET, "--task", task["type"]]
    mlops(
        Path.cwd(),
        "init",
        str(project),
        *options,
        *(["--time", task["time"]] if task["time"] else []),
    )
    write_settings(project / "params.yaml", task, seconds)
    mlops(project, "split")
    started = time.monotonic()
    for stage in ("tune", "train"):
        mlops(project, "stage", stage)
    fit_seconds = time.monotonic() - started
    predictions, milliseconds = score_rows(
        project, pl.read_csv(task_folder / "test.csv", infer_schema=False)
    )
    np.save(result.with_suffix(".npy"), predictions)
    bundle = project / "models/fitted"
    families = re.findall(r'"family": "(\w+)"', (bundle / "bundle.json").read_text())
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    result.write_text(json.dumps({
        "seconds": fit_seconds, "milliseconds": milliseconds, "bytes": size, "families": families,
    }))  # fmt: skip


def score_rows(project: Path, test: pl.DataFrame) -> tuple[np.ndarray, float]:
    """Predict raw rows; also return the median milliseconds to score one row's features."""
    from mlops_cli.serving.scorer import RequestScorer

    scorer = RequestScorer.open(project / "models/fitted", project)
    request = scorer.read_frame(test.drop(TARGET))
    if request.errors:
        sys.exit(f"{len(request.errors)} test rows can't be scored, the first: {request.errors[0]}")
    scores = scorer.score(request.frame)
    # Classes in sorted order, as in the peers' predictions.
    order = (
        np.argsort([str(label) for label in scorer.bundle.labels.classes])
        if scores.output.ndim > 1
        else ...
    )
    latencies = []
    names = list(scores.features)
    for row in range(min(TIMED_ROWS, test.height)):
        start = time.perf_counter()
        columns = {name: scores.features[name][row : row + 1] for name in names}
        scorer.bundle.predict_matrix(scorer.bundle.encoder.transform_columns(columns))
        latencies.append(time.perf_counter() - start)
    output = scores.output[:, order] if scores.output.ndim > 1 else scores.output
    return output, 1000 * statistics.median(latencies)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
