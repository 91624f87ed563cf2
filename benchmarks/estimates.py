"""Comparison of estimated and realised ROC AUC on the flights of the months after a data clock.

    python benchmarks/estimates.py [FOLDER]

For each data clock from May to December 2013, a model is fitted with the settings of
`models/tuning` on the flights that are more than a month older than the clock, and evaluated on the
month before the clock. It is then monitored on up to three months after the clock as by `mlops
monitor`: without labels for the estimate and whether it can be trusted, and with labels for the
realised value. FOLDER holds the feature table of the whole year (by default a temporary folder).
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlops_cli.evaluation.performance_estimation import validate_estimates
from mlops_cli.evaluation.reliability import reliability_curves
from mlops_cli.layout import TARGET, TIME, Layout
from mlops_cli.metrics.bootstrap import Bootstrap, compare
from mlops_cli.metrics.catalog import METRICS
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.monitoring.baseline import Baseline
from mlops_cli.monitoring.evaluate_window import evaluate_window
from mlops_cli.monitoring.window import Window
from mlops_cli.params.monitor import Monitor

ROOT = Path(__file__).resolve().parent.parent
AUC = METRICS["roc_auc"]
LABELS = LabelCodec("binary", (False, True))
MONTHS_AHEAD = 3


def month(number: int) -> dt.datetime:
    return dt.datetime(2013 + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=dt.UTC)


def load_features(folder: Path) -> pl.DataFrame:
    """Compute the features of all flights of the year with the pipeline's stages."""
    layout = Layout(folder)
    if not layout.features.exists():
        folder.mkdir(parents=True, exist_ok=True)
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        layout.params.write_text(text.replace('"2013-10-01"', '"2014-01-01"'), encoding="utf-8")
        for stage in ("ingest", "validate", "featurize"):
            command = [sys.executable, "-m", "mlops_cli", "stage", stage]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    table = pl.read_parquet(layout.features / "*.parquet").sort(TIME, maintain_order=True)
    return table.cast({pl.Categorical: pl.String})


def rows_of_months(table: pl.DataFrame, low: int, high: int) -> pl.DataFrame:
    return table.filter(pl.col(TIME).is_between(month(low), month(high), closed="left"))


class Model:
    """A model fitted on the data before a clock, and evaluated on the month before it."""

    def __init__(self, table: pl.DataFrame, kinds: dict[str, str], best: Any, clock: int) -> None:
        training, test = (
            rows_of_months(table, 1, clock - 1),
            rows_of_months(table, clock - 1, clock),
        )
        self._encoder = Encoder.fit(training, kinds)
        self._fitted = FAMILIES[best["family"]].fit(
            FitRequest(
                self._encoder.transform(training),
                training[TARGET].cast(pl.Int64).to_numpy(),
                TaskInfo("binary", 2, self._encoder.categorical),
                best["settings"],
                seed=0,
                rounds=best["iterations"],
            )
        )
        y, p = test[TARGET].cast(pl.Int64).to_numpy(), self.predict(test)
        comparison = compare(
            [AUC], y, {"model": p, "constant": np.full_like(p, 0.5)},
            Bootstrap(100, 0.95, 0),
        )  # fmt: skip
        curves = reliability_curves(y, p, ["False", "True"])
        errors = validate_estimates([AUC], y, p, curves, seed=0)
        evaluation = {
            "metrics": ["roc_auc"],
            "confidence": 0.95,
            "rows": len(y),
            "window": {"first": test[TIME][0].isoformat(), "last": test[TIME][-1].isoformat()},
            "reliability": curves,
            "estimates": {name: error.to_json() for name, error in errors.items()},
        }
        figures = {
            name: {m: interval.to_json() for m, interval in intervals.items()}
            for name, intervals in comparison.figures.items()
        }
        self.baseline = Baseline(
            LABELS, kinds, [AUC], figures, evaluation, trained_until=month(clock)
        )

    def predict(self, rows: pl.DataFrame) -> Any:
        """Probabilities (n, 2)."""
        return self._fitted.predict(self._encoder.transform(rows))


def main(folder: Path) -> None:
    table = load_features(folder)
    content = json.loads((folder / "data" / "program.json").read_text(encoding="utf-8"))
    kinds = content["features"]
    best = json.loads((ROOT / "models" / "tuning" / "best.json").read_text(encoding="utf-8"))
    print("clock  month  evaluated  realised  estimated                 error   trusted  findings")
    misses = 0
    for clock in range(5, 13):
        model, last_check = Model(table, kinds, best, clock), None
        for number in range(clock, min(clock + MONTHS_AHEAD, 13)):
            rows = rows_of_months(table, number, number + 1)
            p, features = model.predict(rows), rows.select(list(kinds))
            unlabelled_window = Window.from_frames(model.baseline, rows[TIME], features, p)
            labelled_window = Window.from_frames(
                model.baseline, rows[TIME], features, p, rows[TARGET]
            )
            estimate = evaluate_window(
                unlabelled_window, model.baseline, Monitor(), previous_check=last_check
            ).results["estimate"]
            report = evaluate_window(labelled_window, model.baseline, Monitor())
            last_check = report.results["estimate"]["check"]
            estimated, realised = estimate["figures"]["roc_auc"], last_check["realised"]
            error = estimated["value"] - realised
            misses += abs(error) > 0.02 and estimate["trusted"]
            evaluated = model.baseline.figures["model"]["roc_auc"]["value"]
            print(
                f"{month(clock):%b}    {month(number):%b}    {evaluated:.4f}     {realised:.4f}    "
                f"{estimated['value']:.4f} [{estimated['low']:.4f}, {estimated['high']:.4f}]  "
                f"{error:+.4f}   {'yes' if estimate['trusted'] else 'no':<7}  "
                f"{' '.join(report.problems) or '-'}",
                flush=True,
            )
    print(f"trusted estimates with an error above 0.02: {misses}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as folder_name:
            main(Path(folder_name))
