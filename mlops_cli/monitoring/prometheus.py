"""Monitoring report as metrics for the textfile collector of Prometheus' node exporter."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.errors import NotInstalled, install_hint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    _Gauge = Callable[..., None]

__all__ = ["write"]

_VERDICTS = ("drift", "degraded")


def write(report: Mapping[str, Any], path: Path) -> None:
    """Write a report (``MonitoringReport.to_json``) atomically as a metrics file.

    Raises
    ------
    NotInstalled
        If prometheus-client isn't installed.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge
        from prometheus_client.exposition import generate_latest
    except ModuleNotFoundError:
        raise NotInstalled(
            "--prometheus needs prometheus-client, which isn't installed",
            install_hint("serve"),
        ) from None
    registry = CollectorRegistry()
    common = {"model": report["model"], "version": report["version"]}

    def gauge(name: str, help_: str, values: Mapping[Any, float], *labels: str) -> None:
        metric = Gauge(f"mlops_monitor_{name}", help_, [*common, *labels], registry=registry)
        for key, value in values.items():
            metric.labels(*common.values(), *key).set(value)

    _write_verdict(report, gauge)
    _write_measures(report, gauge)
    with atomic_write(path) as temporary:
        temporary.write_bytes(generate_latest(registry))


def _write_verdict(report: Mapping[str, Any], gauge: _Gauge) -> None:
    values = {(name,): float(name in report["found"]) for name in _VERDICTS}
    gauge("found", "Whether the last run found it.", values, "what")
    timestamp = dt.datetime.fromisoformat(report["at"]).timestamp()
    gauge("run_timestamp_seconds", "When the last run was.", {(): timestamp})
    gauge("predictions", "In the window.", {(): report["rows"]})
    counts = {("warning",): 0.0, ("drift",): 0.0, ("degraded",): 0.0}
    for finding in report["findings"]:
        if (finding["means"],) in counts:
            counts[finding["means"],] += 1
    gauge("findings", "By what they mean.", counts, "means")


def _write_measures(report: Mapping[str, Any], gauge: _Gauge) -> None:
    gauge("metric", "Realised, expected and evaluated.", _metric_values(report), "metric", "kind")
    if report["performance"]:
        share = report["performance"]["coverage"]
        gauge("label_coverage", "Share of predictions with a label.", {(): share})
    if report["calibration"]:
        error = report["calibration"]["error"]["value"]
        gauge("calibration_error", "Mean gap of probabilities.", {(): error})
    if report["latency"]:
        latency = {(q,): report["latency"][q] for q in ("p50", "p95", "p99")}
        gauge("latency_milliseconds", "Until a row was scored.", latency, "quantile")
    if report["age"]:
        gauge("data_age_days", "Of the model's data.", {(): report["age"]["days"]})
    if report["drift"]:
        distances = {
            (c["part"], c["column"], name): c[name]
            for c in report["drift"]["columns"]
            for name in ("psi", "js", "ks")
            if c[name] is not None
        }
        gauge("drift", "Distance to the reference.", distances, "part", "column", "statistic")


def _metric_values(report: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    realised = (report["performance"] or {}).get("figures", {})
    expected = (report["estimate"] or {}).get("figures", {})
    values = {(name, "realised"): entry["figure"]["value"] for name, entry in realised.items()}
    values |= {(name, "evaluated"): entry["value"] for name, entry in report["evaluation"].items()}
    return values | {(name, "expected"): entry["value"] for name, entry in expected.items()}
