"""The split stage: the feature table into train, validation and test, with leakage checks."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import atomic_write, read_json, write_json
from mlops_cli.data.data_clock import in_utc
from mlops_cli.errors import BadParams
from mlops_cli.layout import ROW, SPLITS, TARGET, TIME, Layout
from mlops_cli.params import Params
from mlops_cli.reporting import Progress, Summary, Table
from mlops_cli.splitting import strategies

if TYPE_CHECKING:
    import polars as pl

__all__ = ["run"]


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Write ``data/splits`` from ``data/features``.

    Raises
    ------
    BadParams
        If the column to split by doesn't exist.
    DataRefused
        If a split is empty, or a check for leakage fails.
    """
    table = parquet.scan(layout.features)
    codes, report = _assign(params, table, list(read_json(layout.program)["features"]))
    rows = table.select(ROW).collect()[ROW]
    with atomic_write(layout.splits) as folder:
        folder.mkdir()
        for code, name in enumerate(SPLITS):
            progress.update(name, code, len(SPLITS))
            # Row numbers ascend, so they can be looked up as a set while streaming.
            split_rows = rows.filter(codes == code)
            split = table.filter(_is_row_in(split_rows))
            parquet.sink(split, folder / f"{name}.parquet")
            report["splits"][name] = _describe(folder / f"{name}.parquet")
        report["left out"] = int((codes == strategies.LEFT_OUT).sum())
        write_json(layout.split_report, report)
    return _summary(report)


def _is_row_in(rows: pl.Series) -> pl.Expr:
    import polars as pl

    return pl.col(ROW).is_in(rows.implode())


def _assign(params: Params, table: pl.LazyFrame, features: list[str]) -> tuple[Any, dict[str, Any]]:
    """Assign rows to splits; return their codes, and the report of the strategy and checks."""
    import polars as pl

    rules, seed = params.split, params.project.seed
    columns = table.collect_schema().names()
    report: dict[str, Any] = {"strategy": rules.strategy, "splits": {}}
    checks: dict[str, Any] = {"rows": table.select(ROW).collect()[ROW]}
    if rules.strategy == "time":
        if TIME not in columns:
            raise BadParams(
                "split.strategy is 'time', but the base source has no time",
                "State `time` of the base source under ingest.sources.",
            )
        times = checks["times"] = table.select(TIME).collect()[TIME]
        until = in_utc(params.ingest.until) if params.ingest.until is not None else None
        codes, starts = strategies.by_time(times, rules.validation, rules.test, rules.gap, until)
        report["from"] = {name: start.isoformat() for name, start in starts.items()}
    elif rules.strategy == "grouped":
        strategies.require_column(rules.group, columns, "split.group")
        groups = checks["groups"] = table.select(rules.group).collect().to_series()
        codes = strategies.by_group(groups, _share(rules.validation), _share(rules.test), seed)
    else:
        hashed = table.select(pl.struct(features).hash(seed=0).alias("unit")).collect()["unit"]
        units = strategies.dense_ids(hashed)
        if strategies.repeats_rows(units):
            report["equal rows"] = "most rows have equals: counted as separate observations"
            units = strategies.dense_ids(checks["rows"])
        checks["units"] = units
        classes = None
        if rules.strategy == "stratified":
            target = table.select(TARGET).collect()[TARGET]
            classes = strategies.dense_ids(target.cast(pl.String))
        codes = strategies.at_random(
            units, classes, _share(rules.validation), _share(rules.test), seed
        )
    report["checks"] = strategies.check(codes, SPLITS, **checks)
    return codes, report


def _share(value: float | str) -> float:
    # Only the strategy 'time' allows a span in params.yaml.
    assert isinstance(value, float)  # noqa: S101
    return value


def _describe(path: Path) -> dict[str, Any]:
    """Describe a split: rows, time range, and class shares or mean of the target."""
    import polars as pl

    table = parquet.scan(path)
    schema = table.collect_schema()
    facts: dict[str, Any] = {"rows": parquet.count(path)}
    if TIME in schema:
        first, last = (
            table.select(pl.min(TIME).alias("a"), pl.max(TIME).alias("b")).collect().row(0)
        )
        facts["time"] = [_format_iso(first), _format_iso(last)]
    target = table.select(TARGET).collect()[TARGET]
    if target.dtype.is_float() or target.n_unique() > 50:  # noqa: PLR2004 - too many to read
        values = pl.col(TARGET).cast(pl.Float64)
        mean = table.select(values.mean()).collect().item()
        if not math.isfinite(mean):  # the sum overflows a float
            mean = table.select((values / facts["rows"]).sum()).collect().item()
        facts["target_mean"] = float(f"{mean:.6g}")
    else:
        counts = target.cast(pl.String).alias("c").value_counts().sort("c")
        facts["target"] = {c: round(n / facts["rows"], 6) for c, n in counts.iter_rows()}
    return facts


def _format_iso(moment: dt.datetime) -> str:
    return moment.isoformat()


def _summary(report: dict[str, Any]) -> Summary:
    rows = []
    for name, facts in report["splits"].items():
        start, end = facts.get("time", ("", ""))
        shares = facts.get("target")
        target_text = (
            f"mean {facts['target_mean']:g}"
            if shares is None
            else ", ".join(f"{c} {s:.1%}" for c, s in list(shares.items())[:4])
        )
        rows.append((name, facts["rows"], start[:16], end[:16], target_text))
    sizes = " / ".join(f"{facts['rows']:,}" for facts in report["splits"].values())
    return Summary(
        f"{sizes} rows to train / validate / test, by {report['strategy']}",
        (Table("splits", ("split", "rows", "from", "to", "target"), tuple(rows)),),
        facts=report,
    )
