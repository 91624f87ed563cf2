"""Overhead of the tool: start-up, a run with nothing to do, and the whole pipeline on flights.

Everything runs in clones of the repository in a temporary folder, with an empty cache, so only
committed code is measured.
"""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

from command_timing import (
    ROOT,
    Comparison,
    Cost,
    compare,
    environment,
    option_parser,
    report,
    run_command,
)

HERE = Path(__file__).resolve().parent


def main() -> None:
    options = option_parser(__doc__ or "").parse_args()
    pipeline_runs = options.runs or (1 if options.quick else 3)
    start_runs = options.runs or (3 if options.quick else 9)
    # An installed package is compiled too.
    compileall.compile_dir(ROOT / "mlops_cli", quiet=1)
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        comparisons = [_compare_start(start_runs)]
        pipeline, scores = _compare_pipeline(folder, pipeline_runs)
        # The last clone is up to date.
        comparisons += [
            _compare_idle_run(folder / f"clone-{pipeline_runs - 1}", start_runs),
            pipeline,
        ]
    report(comparisons, scores, as_json=options.json)


def _compare_start(runs: int) -> Comparison:
    return compare(
        "mlops --help / dvc --version",
        lambda: run_command(["mlops", "--help"], ROOT),
        lambda: run_command(["dvc", "--version"], ROOT),
        runs=runs,
        limit=1.0,
    )


def _compare_idle_run(project: Path, runs: int) -> Comparison:
    return compare(
        "mlops run / dvc repro, nothing to do",
        lambda: run_command(["mlops", "run"], project),
        lambda: run_command(["dvc", "repro"], project),
        runs=runs,
        limit=1.3,
    )


def _compare_pipeline(folder: Path, runs: int) -> tuple[Comparison, dict[str, float]]:
    """Compare all eight stages, with an empty cache, and the script; return both test AUCs."""
    numbers = count(), count()

    def pipeline() -> Cost:
        clone = folder / f"clone-{next(numbers[0])}"
        command = ["git", "clone", "--quiet", str(ROOT), str(clone)]
        subprocess.run(command, check=True, env=environment())
        # Some outputs are in Git, so without --force their stages would not run.
        return run_command(["mlops", "run", "--force"], clone)

    def script() -> Cost:
        output = folder / f"script-{next(numbers[1])}"
        output.mkdir()
        return run_command([sys.executable, str(HERE / "single_script.py"), str(output)], ROOT)

    comparison = compare("whole pipeline / one script", pipeline, script, runs=runs, limit=1.2)
    scores = {
        "test ROC AUC of the pipeline": _auc(folder / "clone-0" / "reports", "model"),
        "test ROC AUC of the script": _auc(folder / "script-0", "model"),
    }
    ours, script_score = scores.values()
    if abs(ours - script_score) > 0.01:
        sys.exit(f"the two sides do different work: {scores}")
    return comparison, scores


def _auc(folder: Path, name: str) -> float:
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return float(figures[name]["roc_auc"]["value"])


if __name__ == "__main__":
    main()
