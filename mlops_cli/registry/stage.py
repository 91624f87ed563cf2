"""The register stage: checks the gates, records the decision and assembles the bundle.

A rejected model is a result, not an error. The bundle is assembled whatever the decision is, and
doesn't depend on it. The size gate measures the fitted bundle, which is the part that is loaded.
The record contains nothing that varies from run to run: a measured latency goes to
``.mlops/latency.json`` and the Summary, and the record has only its limit and verdict.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from mlops_cli import __version__
from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json, write_json
from mlops_cli.models import bundle as bundles
from mlops_cli.registry.card_template import find_template
from mlops_cli.registry.gates import Evidence, GateResult, check_gates
from mlops_cli.registry.model_bundle import assemble
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.layout import Layout
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Params
    from mlops_cli.params.base import Section
    from mlops_cli.reporting import Progress

__all__ = ["run"]

_WARM_UP, _CALLS = 20, 200
_LATENCY = "milliseconds"


def run(params: Params, layout: Layout, progress: Progress) -> Summary:
    """Check the gates; write ``layout.model`` and ``layout.registration``.

    Raises
    ------
    BadParams
        If a gate names a metric or slices that were not evaluated, or if the project's own template
        of the model card has an error.
    DataRefused
        If the bundle was changed.
    NotFound
        If an earlier stage has not run.
    """
    template = find_template(layout, params.register_.card)
    progress.update("checking the model's files")
    bundle = bundles.load(layout.fitted)
    metrics, evaluation = read_json(layout.metrics), read_json(layout.evaluation)
    gates = params.register_.gates
    latency = None
    if gates.milliseconds is not None:
        progress.update("measuring the time to score one row")
        latency = _measure_latency(bundle, layout)
        write_json(layout.work / "latency.json", {"median_milliseconds": round(latency, 4)})
    families = [member.family for member in bundle.members]
    evidence = Evidence(
        task=evaluation["task"],
        metric_names=evaluation["metrics"],
        metrics=metrics,
        slices=evaluation["slices"],
        families=frozenset(families),
        bundle_bytes=_folder_size(layout.fitted),
        milliseconds=latency,
        fairness=evaluation.get("fairness", {}),
    )
    results = check_gates(gates, evidence)
    approved = all(result.passed for result in results)
    progress.update("assembling the bundle and its model card")
    manifest = assemble(
        bundle,
        layout,
        params.register_.name,
        params.project,
        params.validate_.sources,
        _sections(params),
        template,
    )
    record = {
        "name": params.register_.name,
        "decision": "approved" if approved else "rejected",
        "gates": [_gate_record(result) for result in results],
        "bundle_sha256": manifest["bundle_sha256"],
        "families": families,
        "metrics": metrics["model"],
        "training": {name: bundle.facts.get(name) for name in ("rows", "window")},
        "test": {"rows": metrics["rows"], "window": evaluation["window"]},
        "mlops_cli": __version__,
    }
    write_json(layout.registration, record)
    return _summary(record, results, evaluation["metrics"][0])


def _sections(params: Params) -> dict[str, Section]:
    """Parameters that determine the model and its metrics; not the gates, which only check it."""
    return {
        "task": params.task,
        "ingest": params.ingest,
        "validate": params.validate_,
        "featurize": params.featurize,
        "split": params.split,
        "tune": params.tune,
        "train": params.train,
        "evaluate": params.evaluate,
    }


def _measure_latency(bundle: Bundle, layout: Layout) -> float:
    """Median milliseconds to score one test row alone, after a warm-up."""
    row = parquet.scan(layout.split("test")).head(1).collect()
    durations = []
    for _ in range(_WARM_UP + _CALLS):
        start = time.perf_counter()
        bundle.predict(row)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[_WARM_UP:]) * 1000


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _gate_record(result: GateResult) -> dict[str, Any]:
    if result.name == _LATENCY:
        return {"name": result.name, "limit": result.limit, "passed": result.passed}
    figure = None if result.figure is None else round(result.figure, 6) + 0.0
    return {**vars(result), "figure": figure}


def _summary(record: dict[str, Any], results: tuple[GateResult, ...], metric: str) -> Summary:
    headline = f"{record['decision']}: {record['name']}"
    if estimate := record["metrics"].get(metric):
        headline += (
            f", {metric} {estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
        )
    rows = tuple((r.name, "passed" if r.passed else "refused", r.reason) for r in results)
    table = Table("Gates", ("gate", "verdict", "why"), rows)
    no_gates = ("no gates are set under register.gates, so any model is approved",)
    return Summary(
        headline=headline,
        tables=(table,) if results else (),
        warnings=() if results else no_gates,
        facts={
            "decision": record["decision"],
            "gates": [vars(result) for result in results],
            "bundle_sha256": record["bundle_sha256"],
        },
    )
