"""Comparison of ingest and featurize with bare Polars, at 1, 5 and 20 times the flights.

The other side is plain_flights.py, which does the same work by hand. Each side runs two processes,
one for ingest and one for featurize, and their times are added. Validate is replaced by a copy that
isn't timed. The features of both sides are compared, so that neither skips work.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from command_timing import Comparison, Cost, compare, option_parser, report, run_command

HERE = Path(__file__).resolve().parent
MAX_RATIO = 1.5
SIZES = (1, 5, 20)
QUICK_SIZES = (1, 5)


def main() -> None:
    parser = option_parser(__doc__ or "")
    parser.add_argument("--sizes", type=int, nargs="+", help="how many times the flights")
    parser.add_argument("--format", choices=("csv", "parquet"), default="csv")
    options = parser.parse_args()
    sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES)
    runs = options.runs or (1 if options.quick else 3)
    comparisons: list[Comparison] = []
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="data-plane-") as folder:
            comparisons += _measure(Path(folder), size, options.format, runs)
    ours = [c for c in comparisons if c.limit is not None]
    growth = {
        f"our memory at {size} times the flights, over that at {sizes[0]} times": round(
            c.ours.megabytes / ours[0].ours.megabytes, 2
        )
        for size, c in zip(sizes[1:], ours[1:], strict=True)
    }
    report(comparisons, growth, as_json=options.json)


def _measure(project: Path, size: int, extension: str, runs: int) -> list[Comparison]:
    """Compare both stages and their sum at one size."""
    _run_python("flights_project.py", project, str(project), str(size), extension)
    until = f"{2012 + size}-10-01"
    costs: dict[str, list[Cost]] = {"ours": [], "other": []}

    def ours() -> Cost:
        ingest = run_command(["mlops", "stage", "ingest"], project)
        shutil.rmtree(project / "data" / "validated", ignore_errors=True)
        shutil.copytree(project / "data" / "ingested", project / "data" / "validated")
        featurize = run_command(["mlops", "stage", "featurize"], project)
        costs["ours"] += [ingest, featurize]
        return ingest + featurize

    def other() -> Cost:
        ingest = _run_python("plain_flights.py", project, "ingest", "sources", "plain", until)
        featurize = _run_python("plain_flights.py", project, "featurize", "plain", "plain.parquet")
        costs["other"] += [ingest, featurize]
        return ingest + featurize

    total = compare(f"{size} x ingest + featurize", ours, other, runs=runs, limit=MAX_RATIO)
    _run_python("plain_flights.py", project, "compare", "data/features", "plain.parquet")
    stages = [
        compare(
            f"{size} x {stage}",
            iter(costs["ours"][index::2]).__next__,
            iter(costs["other"][index::2]).__next__,
            runs=runs,
        )
        for index, stage in enumerate(("ingest", "featurize"))
    ]
    return [*stages, total]


def _run_python(script: str, cwd: Path, *arguments: str) -> Cost:
    return run_command([sys.executable, str(HERE / script), *arguments], cwd)


if __name__ == "__main__":
    main()
