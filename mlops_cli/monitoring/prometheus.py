"""A verdict as a text file for Prometheus' node exporter (its textfile collector)."""

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

_FOUND = ("drift", "degraded")


def write(report: Mapping[str, Any], path: Path) -> None:
    """Write a report (``MonitoringReport.to_json``); the file is there as a whole or as it was.

    Raises
    ------
    NotInstalled
        If the client's library isn't there.
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
    who = {"model": report["model"], "version": report["version"]}

    def gauge(name: str, help_: str, values: Mapping[Any, float], *labels: str) -> None:
        made = Gauge(f"mlops_monitor_{name}", help_, [*who, *labels], registry=registry)
        for key, value in values.items():
            made.labels(*who.values(), *key).set(value)

    _verdict(report, gauge)
    _measures(report, gauge)
    with atomic_write(path) as temporary:
        temporary.write_bytes(generate_latest(registry))


def _verdict(report: Mapping[str, Any], gauge: _Gauge) -> None:
    found = {(name,): float(name in report["found"]) for name in _FOUND}
    gauge("found", "Whether the last run found it.", found, "what")
    at = dt.datetime.fromisoformat(report["at"]).timestamp()
    gauge("run_timestamp_seconds", "When the last run was.", {(): at})
    gauge("predictions", "In the window.", {(): report["rows"]})
    counts = {("warning",): 0.0, ("drift",): 0.0, ("degraded",): 0.0}
    for finding in report["findings"]:
        if (finding["means"],) in counts:
            counts[finding["means"],] += 1
    gauge("findings", "By what they mean.", counts, "means")


def _measures(report: Mapping[str, Any], gauge: _Gauge) -> None:
    gauge("metric", "Realised, expected and evaluated.", _figures(report), "metric", "kind")
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


def _figures(report: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    realised = (report["performance"] or {}).get("figures", {})
    expected = (report["estimate"] or {}).get("figures", {})
    found = {(name, "realised"): of["figure"]["value"] for name, of in realised.items()}
    found |= {(name, "evaluated"): of["value"] for name, of in report["evaluation"].items()}
    return found | {(name, "expected"): of["value"] for name, of in expected.items()}
