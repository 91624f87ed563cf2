"""What the tool adds: start-up, a run with nothing to do, and the whole pipeline on flights.

Everything runs in clones of the repository in a temporary folder, with no cache to begin with;
what isn't committed isn't measured.
"""

from __future__ import annotations

import compileall
import json
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

from measure import ROOT, Bar, Cost, arguments, compare, environment, once, report

HERE = Path(__file__).resolve().parent


def main() -> None:
    given = arguments(__doc__ or "").parse_args()
    few = given.runs or (1 if given.quick else 3)
    many = given.runs or (3 if given.quick else 9)
    # As an installed package is, and as the first start leaves it unless Python is told not to.
    compileall.compile_dir(ROOT / "mlops_cli", quiet=1)
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        scratch = Path(folder)
        bars = [_start(many)]
        whole, scores = _whole(scratch, few)
        # The last of the clones has just been brought up to date.
        bars += [_nothing_to_do(scratch / f"clone-{few - 1}", many), whole]
    report(bars, scores, as_json=given.json)


def _start(runs: int) -> Bar:
    return compare(
        "mlops --help / dvc --version",
        lambda: once(["mlops", "--help"], ROOT),
        lambda: once(["dvc", "--version"], ROOT),
        runs=runs,
        limit=1.0,
    )


def _nothing_to_do(project: Path, runs: int) -> Bar:
    return compare(
        "mlops run / dvc repro, nothing to do",
        lambda: once(["mlops", "run"], project),
        lambda: once(["dvc", "repro"], project),
        runs=runs,
        limit=1.3,
    )


def _whole(scratch: Path, runs: int) -> tuple[Bar, dict[str, float]]:
    """All eight stages from an empty cache, and the straight script; with both test AUCs."""
    numbers = count(), count()

    def pipeline() -> Cost:
        clone = scratch / f"clone-{next(numbers[0])}"
        command = ["git", "clone", "--quiet", str(ROOT), str(clone)]
        subprocess.run(command, check=True, env=environment())
        # Some outputs are in Git, so without force their stages would be up to date.
        return once(["mlops", "run", "--force"], clone)

    def script() -> Cost:
        folder = scratch / f"straight-{next(numbers[1])}"
        folder.mkdir()
        return once([sys.executable, str(HERE / "straight.py"), str(folder)], ROOT)

    bar = compare("whole pipeline / one straight script", pipeline, script, runs=runs, limit=1.2)
    scores = {
        "test ROC AUC of the pipeline": _auc(scratch / "clone-0" / "reports", "model"),
        "test ROC AUC of the straight script": _auc(scratch / "straight-0", "model"),
    }
    one, other = scores.values()
    if abs(one - other) > 0.01:
        sys.exit(f"the two sides do different work: {scores}")
    return bar, scores


def _auc(folder: Path, name: str) -> float:
    figures = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return float(figures[name]["roc_auc"]["value"])


if __name__ == "__main__":
    main()
