"""Evaluation of a window: drift, performance, calibration, latency and age, as findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.evaluation.reliability import calibration_error
from mlops_cli.monitoring.estimated_performance import estimate_performance
from mlops_cli.monitoring.findings import MonitoringFinding, overall_verdict
from mlops_cli.monitoring.label_coverage import LabelCoverage, measure_coverage
from mlops_cli.monitoring.realised_performance import (
    allowed_loss,
    by_slice,
    compare_with_former,
    degraded_slices,
    measure_metrics,
)
from mlops_cli.monitoring.time_series import over_time
from mlops_cli.reporting import figure_text

if TYPE_CHECKING:
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.monitoring.window import Window
    from mlops_cli.params.monitoring import Monitor

__all__ = ["WindowEvaluation", "evaluate_window"]


@dataclass(frozen=True)
class WindowEvaluation:
    """Findings and figures of a window.

    Attributes
    ----------
    findings
        The most severe first.
    facts
        Plain values: ``rows``, ``window``, ``evaluation``, ``drift``, ``performance``,
        ``estimate``, ``calibration``, ``latency``, ``age``, ``over_time``; None for what isn't
        evaluated.
    """

    findings: Sequence[MonitoringFinding]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> tuple[str, ...]:
        """``drift``, ``degraded``, both or none."""
        return overall_verdict(self.findings)

    def with_more(self, findings: Sequence[MonitoringFinding], **facts: Any) -> WindowEvaluation:
        """A copy with further findings and facts of the caller."""
        return WindowEvaluation(
            _sort_by_severity([*self.findings, *findings]), {**self.facts, **facts}
        )


def evaluate_window(
    window: Window,
    basis: Baseline,
    rules: Monitor,
    *,
    seed: int = 0,
    former: Mapping[str, float] | None = None,
) -> WindowEvaluation:
    """Evaluate the predictions of one version in a window.

    Parameters
    ----------
    window
        The version's rows; fewer than ``rules.min_rows`` are reported and not evaluated.
    basis
        The baseline that the version is compared with.
    former
        The last check of an estimate (``estimated_performance.estimate_performance``).
    """
    facts: dict[str, Any] = {
        "rows": len(window),
        "window": None,
        "evaluation": {
            metric.name: figure.rounded()
            for metric in basis.metrics
            if (figure := basis.figure(metric)) is not None
        },
        "drift": None,
        "performance": None,
        "estimate": None,
        "calibration": None,
        "latency": None,
        "age": None,
        "over_time": None,
    }
    if not len(window):
        return WindowEvaluation(
            [MonitoringFinding("rows", "note", "There is no prediction in the window.")], facts
        )
    facts["window"] = {
        "first": window.times[0].isoformat(),
        "last": window.times[-1].isoformat(),
    }
    facts["over_time"] = over_time(window, basis)
    findings = [*_check_latency(window, rules, facts), *_check_age(window, basis, rules, facts)]
    if len(window) < rules.min_rows:
        message = (
            f"There are {len(window):,} predictions in the window, and monitor.min_rows is "
            f"{rules.min_rows:,}: drift and performance aren't judged."
        )
        return WindowEvaluation(
            _sort_by_severity([*findings, MonitoringFinding("rows", "note", message)]), facts
        )
    drift = _find_drift(window, basis, rules, seed, facts)
    coverage = measure_coverage(window)
    rows = coverage.used(window.labelled)
    findings += drift
    findings += _evaluate_performance(window, basis, rules, coverage, [seed, 1], facts)
    facts["estimate"] = estimate_performance(
        window, basis, rules, drift, rows, seed=[seed, 2], former=former
    ).to_json()
    findings += _check_calibration(window, rules, rows, [seed, 3], facts)
    return WindowEvaluation(_sort_by_severity(findings), facts)


def _sort_by_severity(findings: Sequence[MonitoringFinding]) -> list[MonitoringFinding]:
    order = ("degraded", "drift", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.means))


def _find_drift(
    window: Window, basis: Baseline, rules: Monitor, seed: int, facts: dict[str, Any]
) -> list[MonitoringFinding]:
    from mlops_cli.drift.compare import DriftRules, compare
    from mlops_cli.drift.reference import label_frame, output_frame

    reference = basis.reference
    if reference is None or window.inputs is None:
        message = (
            "The model has no reference profile, so drift isn't judged: train a newer version."
        )
        return [MonitoringFinding("reference", "note", message)]
    labels = None
    labelled = window.labelled
    if labelled.sum() >= rules.min_labels:
        labels = reference.labels.of(label_frame(_decode_labels(window, basis), basis.labels.type))
    report = compare(
        reference,
        inputs=window.inputs,
        outputs=reference.outputs.of(output_frame(window.output, basis.labels.classes)),
        labels=labels,
        rules=DriftRules(alpha=rules.false_discoveries, joint=rules.joint),
        seed=seed,
    )
    facts["drift"] = report.to_json()
    return [
        MonitoringFinding(
            finding.kind,
            "drift" if finding.severity == "alarm" else "note",
            finding.sentence,
            finding.column,
            {"of": finding.part, "statistic": finding.statistic, "value": finding.value},
        )
        for finding in report.findings
    ]


def _decode_labels(window: Window, basis: Baseline) -> Any:
    import polars as pl

    values = window.labels[window.labelled]
    if not basis.labels.classes:
        return pl.Series("label", values)
    return pl.Series("label", basis.labels.decode(values.astype(np.int64)))


def _evaluate_performance(
    window: Window,
    basis: Baseline,
    rules: Monitor,
    coverage: LabelCoverage,
    seed: Sequence[int],
    facts: dict[str, Any],
) -> list[MonitoringFinding]:
    rows = coverage.used(window.labelled)
    performance: dict[str, Any] = {
        "labelled": coverage.labelled,
        "coverage": round(coverage.labelled / coverage.rows, 6),
        "complete_rows": coverage.complete,
        "complete_coverage": round(coverage.share, 6),
        "complete_until": None,
        "judged": False,
        "figures": {},
        "slices": {},
    }
    facts["performance"] = performance
    if not coverage.labelled:
        return [MonitoringFinding("labels", "note", "No prediction of the window has a label yet.")]
    performance["complete_until"] = window.times[coverage.complete - 1].isoformat()
    findings = _find_label_bias(coverage, performance)
    width = float(basis.evaluation.get("confidence", 0.95))
    y, output = window.to(rows)
    now = measure_metrics(basis.metrics, y, output, confidence=width, seed=[*seed, 0])
    for metric in basis.metrics:
        if metric.name not in now:
            continue
        entry: dict[str, Any] = {"figure": now[metric.name].figure.rounded()}
        then = basis.figure(metric)
        if then is not None:
            allowed = allowed_loss(basis, metric, rules.tolerance)
            loss = compare_with_former(
                metric, now[metric.name], then, rules.confidence, width, allowed
            )
            entry |= {"evaluation": then.rounded(), "loss": loss.to_json()}
        performance["figures"][metric.name] = entry
    if len(rows) < rules.min_labels:
        message = f"{len(rows):,} labels are too few to judge performance (monitor.min_labels is "
        return [*findings, MonitoringFinding("labels", "note", f"{message}{rules.min_labels:,}).")]
    if coverage.share < rules.coverage:
        message = (
            f"Only {coverage.share:.0%} of the predictions have a label: performance is shown "
        )
        return [
            *findings,
            MonitoringFinding("labels", "note", f"{message}and not judged (monitor.coverage)."),
        ]
    performance["judged"] = True
    performance["slices"] = by_slice(window.sliced(rows), y, output, basis, rules, [*seed, 1])
    return [*findings, *_find_degradation(basis, performance)]


def _find_label_bias(
    coverage: LabelCoverage, performance: dict[str, Any]
) -> list[MonitoringFinding]:
    findings = []
    if coverage.complete < coverage.rows:
        rest = coverage.rows - coverage.complete
        message = (
            f"Labels are incomplete after {performance['complete_until']}: the last {rest:,} "
            "predictions are left out of performance, as labels that are known early differ from "
            "the rest."
        )
        findings.append(MonitoringFinding("labels", "note", message))
    if coverage.different:
        message = (
            "Predictions without a label differ from those with one, so performance on labelled "
            "rows may not be that of all."
        )
        findings.append(MonitoringFinding("labels", "warning", message))
    return findings


def _find_degradation(basis: Baseline, performance: Mapping[str, Any]) -> list[MonitoringFinding]:
    metric, findings = basis.metrics[0], []
    entry = performance["figures"].get(metric.name)
    if entry is None or "loss" not in entry:
        message = f"{metric.name} isn't defined on the window's labels or not in the evaluation."
        return [MonitoringFinding("performance", "note", message)]
    if entry["loss"]["degraded"]:
        findings.append(
            MonitoringFinding(
                "performance",
                "degraded",
                f"{metric.name} is {figure_text(entry['figure'])}, and was "
                f"{figure_text(entry['evaluation'])} in the evaluation: it lost "
                f"{entry['loss']['value']:.3g}, with confidence at least "
                f"{entry['loss']['least']:.3g}, and {entry['loss']['allowed']:.3g} is allowed.",
                details={"of": metric.name, **entry["loss"]},
            )
        )
    for column, result in degraded_slices(performance["slices"]):
        findings.append(
            MonitoringFinding(
                "slice",
                "degraded",
                f"{metric.name} where {column} is {result['value']} is "
                f"{figure_text(result['figure'])}, and was "
                f"{figure_text(result['evaluation'])} in the evaluation.",
                column,
                {"of": f"{column}={result['value']}", **result["loss"]},
            )
        )
    return findings


def _check_calibration(
    window: Window, rules: Monitor, rows: Any, seed: Sequence[int], facts: dict[str, Any]
) -> list[MonitoringFinding]:
    if window.output.ndim == 1 or len(rows) < rules.min_labels:
        return []
    y, output = window.to(rows)
    result = calibration_error(y, output, confidence=0.95, seed=seed)
    facts["calibration"] = {
        "rows": len(rows),
        "error": result.error.rounded(),
        "by_chance": round(result.chance, 6),
        "off": result.off,
        "points": list(result.points),
    }
    if not result.off:
        return []
    error = result.error
    message = (
        f"Probabilities are off by {error.value:.3g} on average [{error.low:.3g}, "
        f"{error.high:.3g}]; by chance it would be at most {result.chance:.3g}."
    )
    return [
        MonitoringFinding(
            "calibration", "warning" if error.value > _WARNING_ERROR else "note", message
        )
    ]


_WARNING_ERROR = 0.05
"""Calibration error above which there is a warning; a smaller one is only a note."""


def _check_latency(
    window: Window, rules: Monitor, facts: dict[str, Any]
) -> list[MonitoringFinding]:
    if window.milliseconds is None:
        return []
    levels = (0.5, 0.95, 0.99)
    p50, p95, p99 = (round(float(x), 3) for x in np.quantile(window.milliseconds, levels))
    facts["latency"] = {"p50": p50, "p95": p95, "p99": p99,
                        "max": round(float(window.milliseconds.max()), 3)}  # fmt: skip
    limit = rules.milliseconds
    if limit is None or p95 <= limit:
        return []
    message = (
        f"5% of the predictions took longer than {p95:.3g} ms; monitor.milliseconds allows "
        f"{limit:g}."
    )
    return [MonitoringFinding("latency", "warning", message)]


def _check_age(
    window: Window, basis: Baseline, rules: Monitor, facts: dict[str, Any]
) -> list[MonitoringFinding]:
    if basis.trained is None:
        return []
    # A window may end before the model's data: old requests that a newer model has scored.
    days = max(0.0, (window.about[1] - basis.trained).total_seconds() / 86_400)
    facts["age"] = {"trained_until": basis.trained.isoformat(), "days": round(days, 3)}
    if rules.age is None:
        return []
    import polars as pl

    limit = pl.Series([basis.trained]).dt.offset_by(rules.age)[0]
    if window.about[1] <= limit:
        return []
    message = f"The model's data end {days:.0f} days before the window's end, over {rules.age}."
    return [MonitoringFinding("age", "warning", message)]
