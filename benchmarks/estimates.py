"""Estimated against realised ROC AUC, for the flights of each month after a model's data end.

    python benchmarks/estimates.py [FOLDER]

For each data clock from May to December 2013 a model is fitted with the settings of
`models/tuning` on what lies more than a month before it, evaluated on the month before it, and
judged on up to three months after it as `mlops monitor` does: once without labels, for the
estimate, and whether it says that it can be trusted; and with them, for the truth. FOLDER is where
the whole year's feature table is made (a temporary one by default).
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
from mlops_cli.params.monitoring import Monitor

ROOT = Path(__file__).resolve().parent.parent
AUC = METRICS["roc_auc"]
LABELS = LabelCodec("binary", (False, True))
AHEAD = 3


def month(number: int) -> dt.datetime:
    return dt.datetime(2013 + (number - 1) // 12, (number - 1) % 12 + 1, 1, tzinfo=dt.UTC)


def year(folder: Path) -> pl.DataFrame:
    """Every flight's features as of the moment of prediction, from the pipeline's own stages."""
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


def between(table: pl.DataFrame, low: int, high: int) -> pl.DataFrame:
    return table.filter(pl.col(TIME).is_between(month(low), month(high), closed="left"))


class Model:
    """Fitted with what is known at a clock, and evaluated on the month before it."""

    def __init__(self, table: pl.DataFrame, kinds: dict[str, str], best: Any, clock: int) -> None:
        known, test = between(table, 1, clock - 1), between(table, clock - 1, clock)
        self._encoder = Encoder.fit(known, kinds)
        self._fitted = FAMILIES[best["family"]].fit(
            FitRequest(
                self._encoder.transform(known),
                known[TARGET].cast(pl.Int64).to_numpy(),
                TaskInfo("binary", 2, self._encoder.categorical),
                best["settings"],
                seed=0,
                rounds=best["iterations"],
            )
        )
        y, p = test[TARGET].cast(pl.Int64).to_numpy(), self.predict(test)
        found = compare(
            [AUC], y, {"model": p, "constant": np.full_like(p, 0.5)},
            Bootstrap(100, 0.95, 0),
        )  # fmt: skip
        curves = reliability_curves(y, p, ["False", "True"])
        proofs = validate_estimates([AUC], y, p, curves, seed=0)
        evaluation = {
            "metrics": ["roc_auc"],
            "confidence": 0.95,
            "rows": len(y),
            "window": {"first": test[TIME][0].isoformat(), "last": test[TIME][-1].isoformat()},
            "reliability": curves,
            "estimates": {name: proof.to_json() for name, proof in proofs.items()},
        }
        figures = {
            name: {m: interval.rounded() for m, interval in of.items()}
            for name, of in found.figures.items()
        }
        self.basis = Baseline(LABELS, kinds, [AUC], figures, evaluation, trained_until=month(clock))

    def predict(self, rows: pl.DataFrame) -> Any:
        """Probabilities (n, 2)."""
        return self._fitted.predict(self._encoder.transform(rows))


def main(folder: Path) -> None:
    table = year(folder)
    content = json.loads((folder / "data" / "program.json").read_text(encoding="utf-8"))
    kinds = content["features"]
    best = json.loads((ROOT / "models" / "tuning" / "best.json").read_text(encoding="utf-8"))
    print("clock  month  evaluated  realised  estimated                 error   trusted  found")
    outside = 0
    for clock in range(5, 13):
        model, former = Model(table, kinds, best, clock), None
        for number in range(clock, min(clock + AHEAD, 13)):
            rows = between(table, number, number + 1)
            p, features = model.predict(rows), rows.select(list(kinds))
            blind = Window.from_frames(model.basis, rows[TIME], features, p)
            seen = Window.from_frames(model.basis, rows[TIME], features, p, rows[TARGET])
            estimate = evaluate_window(
                blind, model.basis, Monitor(), previous_check=former
            ).results["estimate"]
            told = evaluate_window(seen, model.basis, Monitor())
            former = told.results["estimate"]["check"]
            guess, real = estimate["figures"]["roc_auc"], former["realised"]
            error = guess["value"] - real
            outside += abs(error) > 0.02 and estimate["trusted"]
            evaluated = model.basis.figures["model"]["roc_auc"]["value"]
            print(
                f"{month(clock):%b}    {month(number):%b}    {evaluated:.4f}     {real:.4f}    "
                f"{guess['value']:.4f} [{guess['low']:.4f}, {guess['high']:.4f}]  {error:+.4f} "
                f"  {'yes' if estimate['trusted'] else 'no':<7}  {' '.join(told.problems) or '-'}",
                flush=True,
            )
    print(f"trusted and off by more than 0.02: {outside}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]).resolve())
    else:
        with tempfile.TemporaryDirectory() as made:
            main(Path(made))
