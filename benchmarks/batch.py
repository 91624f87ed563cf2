"""Comparison of `mlops predict` with a script of LightGBM and Polars, on features and raw flights.

The benchmark needs the data and the model of this repository's last `mlops run`, which must be one
LightGBM model. The script, plain_booster.py, reads the file, computes the features by hand and
predicts; it sets no rows aside, can't resume and writes nothing. With ten times the rows, the
memory of `mlops predict` should stay the same.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from command_timing import ROOT, Comparison, Cost, compare, option_parser, report, run_command

HERE = Path(__file__).resolve().parent
MAX_RATIO = 1.5
COPIES = 10
WRITE_COPIES = """
import polars as pl, sys
rows = pl.scan_parquet(sys.argv[1])
if sys.argv[2] == "labelled":
    # plain_booster.py predicts only these.
    rows = rows.filter(pl.col("arr_delay").is_not_null())
pl.concat([rows] * int(sys.argv[4])).sink_parquet(sys.argv[3], row_group_size=100_000)
"""


def main() -> None:
    options = option_parser(__doc__ or "").parse_args()
    runs = options.runs or (1 if options.quick else 5)
    model = ROOT / "models" / "model"
    if not (model / "members" / "0-lightgbm").is_dir() or not (ROOT / "data" / "features").is_dir():
        sys.exit("there is no LightGBM model with its data in this repository; run `mlops run`")
    with tempfile.TemporaryDirectory(prefix="batch-") as folder:
        project = Path(folder)
        for name in ("params.yaml", "data", "models"):
            (project / name).symlink_to(ROOT / name)
        comparisons, facts = _measure(project, model, runs)
    report(comparisons, facts, as_json=options.json)


def _measure(project: Path, model: Path, runs: int) -> tuple[list[Comparison], dict[str, float]]:
    comparisons, facts = [], {}
    for input_kind, source, rows, predict_options in (
        ("features", "data/features/*.parquet", "all", ["--features"]),
        ("raw", "data/validated/flights.parquet", "labelled", []),
    ):
        for copies in (1, COPIES):
            _run_python(
                project,
                "-c",
                WRITE_COPIES,
                source,
                rows,
                f"{input_kind}-{copies}.parquet",
                str(copies),
            )
        small = _compare_at(project, model, input_kind, predict_options, 1, runs)
        if input_kind == "features":
            large = _compare_at(project, model, input_kind, predict_options, COPIES, 1 + runs // 3)
            comparisons += [small, large]
            large_megabytes = large.ours.megabytes
        else:
            comparisons.append(small)
            large_megabytes = _run_predict(
                project, f"{input_kind}-{COPIES}.parquet", predict_options
            ).megabytes
        growth = round(large_megabytes / small.ours.megabytes, 2)
        facts[f"{input_kind}: our memory at {COPIES} times the rows, over that at 1"] = growth
    return comparisons, facts


def _compare_at(
    project: Path, model: Path, input_kind: str, predict_options: list[str], copies: int, runs: int
) -> Comparison:
    """Compare at one size; plain_booster.py reads raw flights from the project's tables."""
    baseline_input = (
        f"{input_kind}-{copies}.parquet" if input_kind == "features" else "data/validated"
    )
    return compare(
        f"{input_kind} of flights, {copies} x",
        lambda: _run_predict(project, f"{input_kind}-{copies}.parquet", predict_options),
        lambda: _run_python(
            project, str(HERE / "plain_booster.py"), input_kind, str(model), baseline_input
        ),
        runs=runs,
        limit=MAX_RATIO,
    )


def _run_python(project: Path, *arguments: str) -> Cost:
    return run_command([sys.executable, *arguments], project)


def _run_predict(project: Path, file: str, predict_options: list[str]) -> Cost:
    command = [
        "mlops",
        "predict",
        file,
        "-o",
        "out.parquet",
        "--version",
        "workspace",
        *predict_options,
    ]
    return run_command(command, project)


if __name__ == "__main__":
    main()
