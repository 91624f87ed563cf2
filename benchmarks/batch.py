"""`mlops predict` against bare LightGBM and Polars, on flights' features and on raw flights.

It takes the model and the data of this repository's last `mlops run`, whose model must be one
LightGBM. The other side is plain_booster.py, which reads, makes the features by hand, and predicts;
it sets nothing aside, remembers nothing and writes nothing. Then ours on ten times the rows:
memory should stay.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, Bar, Cost, arguments, compare, once, report

HERE = Path(__file__).resolve().parent
LIMIT = 1.5
TIMES = 10
WRITE = """
import polars as pl, sys
rows = pl.scan_parquet(sys.argv[1])
if sys.argv[2] == "labelled":
    # Those that the other side predicts.
    rows = rows.filter(pl.col("arr_delay").is_not_null())
pl.concat([rows] * int(sys.argv[4])).sink_parquet(sys.argv[3], row_group_size=100_000)
"""


def main() -> None:
    given = arguments(__doc__ or "").parse_args()
    runs = given.runs or (1 if given.quick else 5)
    model = ROOT / "models" / "model"
    if not (model / "members" / "0-lightgbm").is_dir() or not (ROOT / "data" / "features").is_dir():
        sys.exit("there is no LightGBM model with its data in this repository; run `mlops run`")
    with tempfile.TemporaryDirectory(prefix="batch-") as folder:
        project = Path(folder)
        for name in ("params.yaml", "data", "models"):
            (project / name).symlink_to(ROOT / name)
        bars, facts = _measure(project, model, runs)
    report(bars, facts, as_json=given.json)


def _measure(project: Path, model: Path, runs: int) -> tuple[list[Bar], dict[str, float]]:
    bars, facts = [], {}
    for what, source, rows, option in (
        ("features", "data/features/*.parquet", "all", ["--features"]),
        ("raw", "data/validated/flights.parquet", "labelled", []),
    ):
        for times in (1, TIMES):
            file = f"{what}-{times}.parquet"
            subprocess.run(
                [sys.executable, "-c", WRITE, source, rows, file, str(times)],
                cwd=project,
                check=True,
            )
        plain = f"{what}-1.parquet" if what == "features" else "data/validated"
        bars.append(
            compare(
                f"{what} of flights",
                lambda what=what, option=option: _ours(project, f"{what}-1.parquet", option),
                lambda what=what, plain=plain: once(
                    [sys.executable, str(HERE / "plain_booster.py"), what, str(model), plain],
                    project,
                ),
                runs=runs,
                limit=LIMIT,
            )
        )
        many = _ours(project, f"{what}-{TIMES}.parquet", option)
        growth = many.megabytes / bars[-1].ours.megabytes
        facts[f"{what}: seconds at {TIMES} times the rows"] = round(many.seconds, 2)
        facts[f"{what}: our memory at {TIMES} times the rows, over that at 1"] = round(growth, 2)
    return bars, facts


def _ours(project: Path, file: str, option: list[str]) -> Cost:
    command = ["mlops", "predict", file, "-o", "out.parquet", "--version", "workspace", *option]
    return once(command, project)


if __name__ == "__main__":
    main()
