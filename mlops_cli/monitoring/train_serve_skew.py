"""Train/serve skew: logged features compared with the offline program's on the same inputs.

Both run the same rules, but on different data. The online store may be older than the validated
tables, and a caller may send other values than the tables have later. Only rows are compared whose
moment the tables cover.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json
from mlops_cli.errors import MlopsError, NotFound
from mlops_cli.features.hook import load_hook
from mlops_cli.features.program import FeatureProgram
from mlops_cli.monitoring.findings import MonitoringFinding
from mlops_cli.online.request_program import RequestProgram

if TYPE_CHECKING:
    from pathlib import Path

    import polars as pl

    from mlops_cli.layout import Layout

__all__ = ["TrainServeSkew", "find_skew"]

_TOLERANCE = 1e-6
"""Relative difference that rounding in JSON may cause."""
_MAX_SHARE = 0.01
"""Share of differing rows above which a feature is reported."""
_MIN_ROWS = 20
"""Minimum rows for a comparison."""
_MAX_EXAMPLES = 3


@dataclass(frozen=True)
class TrainServeSkew:
    """Differences between served and offline features.

    Attributes
    ----------
    rows
        Number of rows that were compared.
    differences
        Feature -> ``share`` of the rows in which it differs, and ``examples`` of both values.
    reason
        Why nothing could be compared.
    """

    rows: int
    differences: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def findings(self) -> list[MonitoringFinding]:
        """Features that differ too often, or the reason why nothing was compared."""
        if self.reason is not None:
            return [
                MonitoringFinding("skew", "note", f"Train/serve skew isn't checked: {self.reason}.")
            ]
        findings = []
        for name, entry in self.differences.items():
            if entry["share"] <= _MAX_SHARE:
                continue
            logged, offline = entry["examples"][0]
            message = (
                f"{name} was served with other values than the offline program computes, in "
                f"{entry['share']:.1%} of {self.rows:,} rows: {logged!r} instead of {offline!r}."
            )
            findings.append(MonitoringFinding("skew", "warning", message, name))
        return findings

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {"rows": self.rows, "features": self.differences, "reason": self.reason}


def find_skew(folder: Path, layout: Layout, sample: pl.DataFrame) -> TrainServeSkew:
    """Compute logged rows again from the validated tables, and compare.

    Parameters
    ----------
    folder
        The version's bundle.
    sample
        Logged ``inputs``, ``features`` and ``moment``.
    """
    try:
        content = read_json(folder / "program.json")
        hook = load_hook(content["rules"].get("hook"), layout.root)
        program = FeatureProgram.from_json(content, hook)
        rows = _select_covered(program, layout, sample)
        if len(rows) < _MIN_ROWS:
            return TrainServeSkew(
                0, reason="the validated tables don't reach to the window's moments"
            )
        return _compare(program, layout, rows)
    except MlopsError as error:
        return TrainServeSkew(0, reason=error.message)


def _select_covered(program: FeatureProgram, layout: Layout, sample: pl.DataFrame) -> pl.DataFrame:
    """Rows before the data clock, if the program looks anything up; otherwise all rows."""
    import polars as pl

    if not program.plans or not len(sample):
        return sample
    for name in program.used_sources:
        if not (layout.validated / f"{name}.parquet").is_file():
            raise NotFound(f"data/validated/{name}.parquet is not there", "Run the pipeline.")
    until = read_json(layout.ingest_manifest).get("until")
    if until is None:
        return sample
    clock = dt.datetime.fromisoformat(until)
    return sample.filter(
        pl.col("moment") < (clock if clock.tzinfo else clock.replace(tzinfo=dt.UTC))
    )


def _compare(program: FeatureProgram, layout: Layout, rows: pl.DataFrame) -> TrainServeSkew:

    requests = RequestProgram(program)
    parsed = requests.inputs.parse([json.loads(text) for text in rows["inputs"].to_list()])
    if not parsed.frame.height:
        return TrainServeSkew(0, reason="the logged inputs aren't those of this version's program")
    query_rows = requests.prepare(parsed.frame)
    base = query_rows.select([c for c in query_rows.columns if c in program.base.schema])
    scans = {s: parquet.scan(layout.validated / f"{s}.parquet") for s in program.used_sources}
    offline = program.transform(base, {s: program.clean(s, t) for s, t in scans.items()})
    logged = [json.loads(rows["features"][i]) for i in parsed.index]
    differences: dict[str, Any] = {}
    for position, name in enumerate(program.features):
        pairs = [
            (_to_plain(row[position]), _to_plain(value))
            for row, value in zip(logged, offline[name].to_list(), strict=True)
        ]
        unequal = [pair for pair in pairs if not _is_same(*pair)]
        if unequal:
            share = round(len(unequal) / len(pairs), 6)
            differences[name] = {"share": share, "examples": unequal[:_MAX_EXAMPLES]}
    return TrainServeSkew(len(logged), differences)


def _to_plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, bool | int | float) and isinstance(other, bool | int | float):
        return math.isclose(one, other, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    return bool(one == other)
