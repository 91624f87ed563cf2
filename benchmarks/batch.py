"""`mlops predict` against bare LightGBM and Polars, on flights' features and on raw flights.

It takes the model and the data of this repository's last `mlops run`, whose model must be one
LightGBM. The other side is plain_booster.py, which reads, makes the features by hand, and predicts;
it sets nothing aside, remembers nothing and writes nothing. Then on ten times the rows, where our
memory should stay as it is.
"""

from __future__ import annotations

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
            _python(project, "-c", WRITE, source, rows, f"{what}-{times}.parquet", str(times))
        one = _bar(project, model, what, option, 1, runs)
        if what == "features":
            many = _bar(project, model, what, option, TIMES, 1 + runs // 3)
            bars += [one, many]
            most = many.ours.megabytes
        else:
            bars.append(one)
            most = _ours(project, f"{what}-{TIMES}.parquet", option).megabytes
        growth = round(most / one.ours.megabytes, 2)
        facts[f"{what}: our memory at {TIMES} times the rows, over that at 1"] = growth
    return bars, facts


def _bar(project: Path, model: Path, what: str, option: list[str], times: int, runs: int) -> Bar:
    """Both sides at one size; the other side's raw flights are those of the project."""
    plain = f"{what}-{times}.parquet" if what == "features" else "data/validated"
    return compare(
        f"{what} of flights, {times} x",
        lambda: _ours(project, f"{what}-{times}.parquet", option),
        lambda: _python(project, str(HERE / "plain_booster.py"), what, str(model), plain),
        runs=runs,
        limit=LIMIT,
    )


def _python(project: Path, *words: str) -> Cost:
    return once([sys.executable, *words], project)


def _ours(project: Path, file: str, option: list[str]) -> Cost:
    command = ["mlops", "predict", file, "-o", "out.parquet", "--version", "workspace", *option]
    return once(command, project)


if __name__ == "__main__":
    main()
