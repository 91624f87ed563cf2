"""Drift alarms on the flights in their order, and the delay until an injected fault is detected."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import polars as pl

from mlops_cli.data.atomic_files import read_json
from mlops_cli.drift.compare import DriftReport, compare
from mlops_cli.drift.reference import Reference
from mlops_cli.layout import TARGET, TIME, Layout
from mlops_cli.splitting.reader import feature_kinds

__all__ = ["alarms_by_period", "build_reference", "detection_delays", "features_of_2013"]

ROOT = Path(__file__).resolve().parent.parent
REFERENCE_END = dt.datetime(2013, 9, 1, tzinfo=dt.UTC)
FAULT_START = dt.datetime(2013, 11, 5, tzinfo=dt.UTC)
FAULTS = {
    ("temperature", "Fahrenheit to Celsius"): (pl.col("temperature") - 32) / 1.8,
    ("distance", "miles to kilometres"): pl.col("distance") * 1.609344,
    ("origin", "EWR and LGA swapped"): pl.col("origin").replace({"EWR": "LGA", "LGA": "EWR"}),
    ("plane_seats", "shifted by a deviation"): pl.col("plane_seats") + pl.col("plane_seats").std(),
    ("dest", "ORD renamed"): pl.col("dest").replace("ORD", "KORD"),
    ("humidity", "missing in 30%"): pl.when(pl.int_range(pl.len()) % 10 > 2).then("humidity"),
}


def features_of_2013() -> tuple[pl.DataFrame, dict[str, str]]:
    """Compute the features of all flights of 2013 with the project's stages, sorted by time."""
    with tempfile.TemporaryDirectory(prefix="drift-delay-") as name:
        folder = Path(name)
        text = (ROOT / "params.yaml").read_text()
        clock = 'until: "2013-10-01"'
        if clock not in text:
            sys.exit(f"params.yaml no longer says {clock}")
        (folder / "params.yaml").write_text(text.replace(clock, 'until: "2014-01-01"'))
        shutil.copy(ROOT / "dvc.yaml", folder)
        for stage in ("ingest", "validate", "featurize"):
            command = [str(Path(sys.executable).parent / "mlops"), "stage", stage]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        layout = Layout(folder)
        kinds = feature_kinds(read_json(layout.program))
        frame = pl.read_parquet(sorted(layout.features.glob("*.parquet")))
    return frame.select([TIME, TARGET, *kinds]).sort(TIME, maintain_order=True), kinds


def build_reference(frame: pl.DataFrame, kinds: dict[str, str]) -> Reference:
    """Build the reference profile of January to August."""
    rows = frame.filter(pl.col(TIME) < REFERENCE_END)
    outputs = rows.select(probability=pl.col("distance"))
    return Reference.from_rows(rows, kinds, rows[TARGET], outputs, "binary", seed=1)


def alarms_by_period(frame: pl.DataFrame, reference: Reference) -> dict[str, Any]:
    """List the alarms of each later month, and count the weeks and days with an alarm."""
    later = frame.filter(pl.col(TIME) >= REFERENCE_END)
    results: dict[str, Any] = {}
    for start, rows in split_by_time(later, "1mo"):
        report = compare_window(reference, rows)
        results[f"{start:%B}"] = [f.sentence for f in report.alarms] or "no alarm"
    for every, unit in (("1w", "weeks"), ("1d", "days")):
        parts = [rows for _, rows in split_by_time(later, every)]
        alarms = [compare_window(reference, rows).alarms for rows in parts]
        columns = sorted({str(f.column) for findings in alarms for f in findings})
        results[f"{unit} with an alarm"] = f"{sum(map(bool, alarms))} of {len(parts)}: {columns}"
    return results


def split_by_time(frame: pl.DataFrame, every: str) -> list[tuple[dt.datetime, pl.DataFrame]]:
    """Split a table into periods."""
    parts = frame.with_columns(_start=pl.col(TIME).dt.truncate(every))
    return [(key[0], part) for key, part in parts.partition_by("_start", as_dict=True).items()]


def compare_window(reference: Reference, frame: pl.DataFrame) -> DriftReport:
    """Compare the features of a window; labels arrive later."""
    return compare(reference, inputs=reference.inputs.profile_frame(frame), seed=1)


def detection_delays(frame: pl.DataFrame, reference: Reference) -> dict[str, str]:
    """Days until an alarm names a fault that begins at ``FAULT_START``, by all rows since then."""
    results = {}
    for (column, name), change in FAULTS.items():
        result = "not in 7 days"
        for days in range(1, 8):
            end = FAULT_START + dt.timedelta(days=days)
            rows = frame.filter(pl.col(TIME).is_between(FAULT_START, end, closed="left"))
            broken = rows.with_columns(change.alias(column))
            alarms = [
                f for f in compare_window(reference, broken).alarms if _names_column(f, column)
            ]
            if alarms:
                result = f"{days} d ({rows.height:,} rows): {alarms[0].sentence}"
                break
        results[f"{column}, {name}"] = result
    return results


def _names_column(finding: Any, column: str) -> bool:
    return finding.column == column or column in finding.details.get("columns", ())
