"""Our side of automl.py: `mlops init` on the training rows, then the stages tune and train.

Run by automl.py, as `python automl_ours.py PLACE SECONDS OUT` in an empty folder. What is timed is
`mlops stage tune` and `mlops stage train`, two whole processes. The test rows of automl.py are not
in the project; of the rows that are, as few as possible go to the project's own test split.
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

TARGET, ROWS_TIMED = "target", 200
MLOPS = str(Path(sys.executable).with_name("mlops"))


def mlops(project: Path, *words: str) -> None:
    done = subprocess.run([MLOPS, *words], cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mlops {' '.join(words)}: {done.stderr.strip()}")


def settle(params: Path, task: dict[str, str | None], seconds: float) -> None:
    """The time, the metric, and nearly all rows to learn from; all else as `mlops init` says."""
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


def main(place: Path, seconds: float, out: Path) -> None:
    task = json.loads((place / "task.json").read_text())
    project = Path("project").absolute()
    words = ["--data", str(place / "train.csv"), "--target", TARGET, "--task", task["type"]]
    mlops(
        Path.cwd(),
        "init",
        str(project),
        *words,
        *(["--time", task["time"]] if task["time"] else []),
    )
    settle(project / "params.yaml", task, seconds)
    mlops(project, "split")
    started = time.monotonic()
    for stage in ("tune", "train"):
        mlops(project, "stage", stage)
    spent = time.monotonic() - started
    predicted, milliseconds = scored(project, pl.read_csv(place / "test.csv", infer_schema=False))
    np.save(out.with_suffix(".npy"), predicted)
    bundle = project / "models/fitted"
    families = re.findall(r'"family": "(\w+)"', (bundle / "bundle.json").read_text())
    size = sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
    out.write_text(json.dumps({
        "seconds": spent, "milliseconds": milliseconds, "bytes": size, "families": families,
    }))  # fmt: skip


def scored(project: Path, test: pl.DataFrame) -> tuple[np.ndarray, float]:
    """Predictions of raw rows, and the median time of one row: features in, prediction out."""
    from mlops_cli.serving.scorer import RequestScorer

    scorer = RequestScorer.open(project / "models/fitted", project)
    read = scorer.read_frame(test.drop(TARGET))
    if read.errors:
        sys.exit(f"{len(read.errors)} test rows can't be scored, the first: {read.errors[0]}")
    made = scorer.score(read.frame)
    # By class in sorted order, as the peers give them.
    order = (
        np.argsort([str(label) for label in scorer.bundle.labels.classes])
        if made.output.ndim > 1
        else ...
    )
    timed = []
    names = list(made.features)
    for row in range(min(ROWS_TIMED, test.height)):
        began = time.perf_counter()
        columns = {name: made.features[name][row : row + 1] for name in names}
        scorer.bundle.predict_matrix(scorer.bundle.encoder.transform_columns(columns))
        timed.append(time.perf_counter() - began)
    output = made.output[:, order] if made.output.ndim > 1 else made.output
    return output, 1000 * statistics.median(timed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
