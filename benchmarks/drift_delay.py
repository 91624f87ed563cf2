"""Detection delay on real rows in their order: the flights by month, and faults from a day on."""

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

__all__ = ["by_month", "delays", "year"]

ROOT = Path(__file__).resolve().parent.parent
KNOWN = dt.datetime(2013, 9, 1, tzinfo=dt.UTC)
BROKEN = dt.datetime(2013, 11, 5, tzinfo=dt.UTC)
FAULTS = {
    ("temperature", "Fahrenheit to Celsius"): (pl.col("temperature") - 32) / 1.8,
    ("distance", "miles to kilometres"): pl.col("distance") * 1.609344,
    ("origin", "EWR and LGA swapped"): pl.col("origin").replace({"EWR": "LGA", "LGA": "EWR"}),
    ("plane_seats", "shifted by a deviation"): pl.col("plane_seats") + pl.col("plane_seats").std(),
    ("dest", "ORD renamed"): pl.col("dest").replace("ORD", "KORD"),
    ("humidity", "missing in 30%"): pl.when(pl.int_range(pl.len()) % 10 > 2).then("humidity"),
}


def year() -> tuple[pl.DataFrame, dict[str, str]]:
    """The features of all flights of 2013, in the order of time, by the project's own rules."""
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


def reference(frame: pl.DataFrame, kinds: dict[str, str]) -> Reference:
    """Of January to August."""
    known = frame.filter(pl.col(TIME) < KNOWN)
    stand_in = known.select(probability=pl.col("distance"))
    return Reference.from_rows(known, kinds, known[TARGET], stand_in, "binary", seed=1)


def by_month(frame: pl.DataFrame, known: Reference) -> dict[str, Any]:
    """What the later months raise, and how many of their weeks and days raise anything."""
    later = frame.filter(pl.col(TIME) >= KNOWN)
    found: dict[str, Any] = {}
    for start, rows in windows(later, "1mo"):
        report = judged(known, rows)
        found[f"{start:%B}"] = [f.sentence for f in report.alarms] or "no alarm"
    for every, word in (("1w", "weeks"), ("1d", "days")):
        parts = [rows for _, rows in windows(later, every)]
        alarms = [judged(known, rows).alarms for rows in parts]
        columns = sorted({str(f.column) for of in alarms for f in of})
        found[f"{word} with an alarm"] = f"{sum(map(bool, alarms))} of {len(parts)}: {columns}"
    return found


def windows(frame: pl.DataFrame, every: str) -> list[tuple[dt.datetime, pl.DataFrame]]:
    """A table cut by time."""
    parts = frame.with_columns(_start=pl.col(TIME).dt.truncate(every))
    return [(key[0], part) for key, part in parts.partition_by("_start", as_dict=True).items()]


def judged(known: Reference, frame: pl.DataFrame) -> DriftReport:
    """A window's drift of features; labels come later."""
    return compare(known, inputs=known.inputs.profile_frame(frame), seed=1)


def delays(frame: pl.DataFrame, known: Reference) -> dict[str, str]:
    """Days until each fault that begins at ``BROKEN`` is named, by all rows since it began."""
    found = {}
    for (column, name), change in FAULTS.items():
        said = "not in 7 days"
        for days in range(1, 8):
            end = BROKEN + dt.timedelta(days=days)
            rows = frame.filter(pl.col(TIME).is_between(BROKEN, end, closed="left"))
            broken = rows.with_columns(change.alias(column))
            hits = [f for f in judged(known, broken).alarms if _about(f, column)]
            if hits:
                said = f"{days} d ({rows.height:,} rows): {hits[0].sentence}"
                break
        found[f"{column}, {name}"] = said
    return found


def _about(finding: Any, column: str) -> bool:
    return finding.column == column or column in finding.details.get("columns", ())
