"""Ingest and featurize against bare Polars, at 1, 5 and 20 times the flights: time and memory.

The other side is plain_flights.py: the same work by hand. Each side is two processes, one for
ingest and one for featurize, whose times add up; what validate does in between is a copy, outside
of the time. Both sides' features are compared, so that neither leaves out work.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from measure import Bar, Cost, arguments, compare, once, report

HERE = Path(__file__).resolve().parent
LIMIT = 1.5
SIZES = (1, 5, 20)
QUICK = (1, 5)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", help="how many times the flights")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    given = parser.parse_args()
    sizes = given.sizes or (QUICK if given.quick else SIZES)
    runs = given.runs or (1 if given.quick else 3)
    bars: list[Bar] = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="data-plane-") as folder:
            bars += _measure(Path(folder), size, given.format, runs)
    ours = [b for b in bars if b.limit is not None]
    growth = {
        f"our memory at {size} times the flights, over that at {sizes[0]} times": round(
            b.ours.megabytes / ours[0].ours.megabytes, 2
        )
        for size, b in zip(sizes[1:], ours[1:], strict=True)
    }
    report(bars, growth, as_json=given.json)


def _measure(project: Path, size: int, ending: str, runs: int) -> list[Bar]:
    """Both stages and their sum at one size."""
    _python("flights_project.py", project, str(project), str(size), ending)
    until = f"{2012 + size}-10-01"
    parts: dict[str, list[Cost]] = {"ours": [], "other": []}

    def ours() -> Cost:
        ingest = once(["mlops", "stage", "ingest"], project)
        shutil.rmtree(project / "data" / "validated", ignore_errors=True)
        shutil.copytree(project / "data" / "ingested", project / "data" / "validated")
        featurize = once(["mlops", "stage", "featurize"], project)
        parts["ours"] += [ingest, featurize]
        return ingest + featurize

    def other() -> Cost:
        ingest = _python("plain_flights.py", project, "ingest", "sources", "plain", until)
        featurize = _python("plain_flights.py", project, "featurize", "plain", "plain.parquet")
        parts["other"] += [ingest, featurize]
        return ingest + featurize

    total = compare(f"{size} x ingest + featurize", ours, other, runs=runs, limit=LIMIT)
    _python("plain_flights.py", project, "agree", "data/features", "plain.parquet")
    stages = [
        compare(
            f"{size} x {stage}",
            iter(parts["ours"][at::2]).__next__,
            iter(parts["other"][at::2]).__next__,
            runs=runs,
        )
        for at, stage in enumerate(("ingest", "featurize"))
    ]
    return [*stages, total]


def _python(script: str, cwd: Path, *given: str) -> Cost:
    return once([sys.executable, str(HERE / script), *given], cwd)


if __name__ == "__main__":
    main()
