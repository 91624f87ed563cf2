"""Train/serve skew: logged features against what the offline program makes of the same inputs.

Both run the same rules, but not the same data: the online store may be older than the validated
tables, and a caller may send something else than the tables later say. Only rows whose moment the
tables cover are compared.
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

_NEAR = 1e-6
"""Relative difference that rounding on the way through JSON may make."""
_SHARE = 0.01
"""A feature that differs in more of the rows is told."""
_LEAST = 20
_EXAMPLES = 3


@dataclass(frozen=True)
class TrainServeSkew:
    """What differs.

    Attributes
    ----------
    rows
        How many were compared.
    features
        Feature -> ``share`` of the rows where it differs, and ``examples`` of both values.
    reason
        Why nothing could be compared.
    """

    rows: int
    features: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None

    @property
    def findings(self) -> list[MonitoringFinding]:
        """Features that differ too often, and where nothing could be compared that."""
        if self.reason is not None:
            return [
                MonitoringFinding("skew", "note", f"Train/serve skew isn't checked: {self.reason}.")
            ]
        found = []
        for name, of in self.features.items():
            if of["share"] <= _SHARE:
                continue
            logged, offline = of["examples"][0]
            said = (
                f"{name} was served otherwise than the offline program makes it, in "
                f"{of['share']:.1%} of {self.rows:,} rows: {logged!r} instead of {offline!r}."
            )
            found.append(MonitoringFinding("skew", "warning", said, name))
        return found

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {"rows": self.rows, "features": self.features, "reason": self.reason}


def find_skew(folder: Path, layout: Layout, sample: pl.DataFrame) -> TrainServeSkew:
    """Compute logged rows again from the validated tables.

    Parameters
    ----------
    folder
        The version's bundle.
    sample
        ``inputs`` and ``features`` as they were logged, and ``moment``.
    """
    try:
        content = read_json(folder / "program.json")
        hook = load_hook(content["rules"].get("hook"), layout.root)
        program = FeatureProgram.from_json(content, hook)
        rows = _covered(program, layout, sample)
        if len(rows) < _LEAST:
            return TrainServeSkew(
                0, reason="the validated tables don't reach to the window's moments"
            )
        return _compared(program, layout, rows)
    except MlopsError as error:
        return TrainServeSkew(0, reason=error.message)


def _covered(program: FeatureProgram, layout: Layout, sample: pl.DataFrame) -> pl.DataFrame:
    """Rows before the data clock, where anything is looked up."""
    import polars as pl

    if not program.plans or not len(sample):
        return sample
    for name in program.used_sources:
        if not (layout.valid / f"{name}.parquet").is_file():
            raise NotFound(f"data/validated/{name}.parquet is not there", "Run the pipeline.")
    until = read_json(layout.ingest_manifest).get("until")
    if until is None:
        return sample
    clock = dt.datetime.fromisoformat(until)
    return sample.filter(
        pl.col("moment") < (clock if clock.tzinfo else clock.replace(tzinfo=dt.UTC))
    )


def _compared(program: FeatureProgram, layout: Layout, rows: pl.DataFrame) -> TrainServeSkew:

    requests = RequestProgram(program)
    read = requests.inputs.read([json.loads(text) for text in rows["inputs"].to_list()])
    if not read.frame.height:
        return TrainServeSkew(0, reason="the logged inputs aren't those of this version's program")
    started = requests.start(read.frame)
    base = started.select([c for c in started.columns if c in program.base.schema])
    scans = {s: parquet.scan(layout.valid / f"{s}.parquet") for s in program.used_sources}
    made = program.transform(base, {s: program.cleaned(s, t) for s, t in scans.items()})
    logged = [json.loads(rows["features"][i]) for i in read.index]
    found: dict[str, Any] = {}
    for place, name in enumerate(program.features):
        pairs = [
            (_plain(row[place]), _plain(value))
            for row, value in zip(logged, made[name].to_list(), strict=True)
        ]
        unlike = [pair for pair in pairs if not _same(*pair)]
        if unlike:
            share = round(len(unlike) / len(pairs), 6)
            found[name] = {"share": share, "examples": unlike[:_EXAMPLES]}
    return TrainServeSkew(len(logged), found)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, bool | int | float) and isinstance(other, bool | int | float):
        return math.isclose(one, other, rel_tol=_NEAR, abs_tol=_NEAR)
    return bool(one == other)
