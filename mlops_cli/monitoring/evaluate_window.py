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
    from mlops_cli.params.monitor import Monitor

__all__ = ["WindowEvaluation", "evaluate_window"]

_RESULTS = (
    "rows", "window", "evaluation", "drift", "performance", "estimate", "calibration", "latency",
    "age", "over_time",
)  # fmt: skip


@dataclass(frozen=True)
class WindowEvaluation:
    """Findings and figures of a window.

    Attributes
    ----------
    findings
        The most severe first.
    results
        Plain values: ``rows``, ``window``, ``evaluation``, ``drift``, ``performance``,
        ``estimate``, ``calibration``, ``latency``, ``age``, ``over_time``; None for what isn't
        evaluated.
    """

    findings: Sequence[MonitoringFinding]
    results: Mapping[str, Any] = field(default_factory=dict)

    @property
    def problems(self) -> tuple[str, ...]:
        """``drift``, ``degraded``, both or none."""
        return overall_verdict(self.findings)

    def with_findings(
        self, findings: Sequence[MonitoringFinding], **results: Any
    ) -> WindowEvaluation:
        """A copy with further findings and results of the caller."""
        return WindowEvaluation(
            _sort_by_severity([*self.findings, *findings]), {**self.results, **results}
        )


def evaluate_window(
    window: Window,
    baseline: Baseline,
    rules: Monitor,
    *,
    seed: int = 0,
    previous_check: Mapping[str, float] | None = None,
) -> WindowEvaluation:
    """Evaluate the predictions of one version in a window.

    Parameters
    ----------
    window
        The version's rows; fewer than ``rules.min_rows`` are reported and not evaluated.
    baseline
        The baseline that the version is compared with.
    previous_check
        The last check of an estimate (``estimated_performance.estimate_performance``).
    """
    results: dict[str, Any] = dict.fromkeys(_RESULTS)
    results["rows"] = len(window)
    results["evaluation"] = {
        metric.name: figure.to_json()
        for metric in baseline.metrics
        if (figure := baseline.figure(metric)) is not None
    }
    if not len(window):
        return WindowEvaluation(
            [MonitoringFinding("rows", "note", "There is no prediction in the window.")], results
        )
    results["window"] = {
        "first": window.times[0].isoformat(),
        "last": window.times[-1].isoformat(),
    }
    results["over_time"] = over_time(window, baseline)
    findings = [
        *_check_latency(window, rules, results),
        *_check_age(window, baseline, rules, results),
    ]
    if len(window) < rules.min_rows:
        message = (
            f"There are {len(window):,} predictions in the window, and monitor.min_rows is "
            f"{rules.min_rows:,}: drift and performance aren't judged."
        )
        return WindowEvaluation(
            _sort_by_severity([*findings, MonitoringFinding("rows", "note", message)]), results
        )
    drift = _find_drift(window, baseline, rules, seed, results)
    coverage = measure_coverage(window)
    rows = coverage.usable_rows(window.has_label)
    findings += drift
    findings += _evaluate_performance(window, baseline, rules, coverage, [seed, 1], results)
    results["estimate"] = estimate_performance(
        window, baseline, rules, drift, rows, seed=[seed, 2], previous_check=previous_check
    ).to_json()
    findings += _check_calibration(window, rules, rows, [seed, 3], results)
    return WindowEvaluation(_sort_by_severity(findings), results)


def _sort_by_severity(findings: Sequence[MonitoringFinding]) -> list[MonitoringFinding]:
    order = ("degraded", "drift", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.severity))


def _find_drift(
    window: Window, baseline: Baseline, rules: Monitor, seed: int, results: dict[str, Any]
) -> list[MonitoringFinding]:
    from mlops_cli.drift.compare import DriftRules, compare
    from mlops_cli.drift.reference import label_frame, output_frame

    reference = baseline.reference
    if reference is None or window.input_profile is None:
        message = (
            "The model has no reference profile, so drift isn't judged: train a newer version."
        )
        return [MonitoringFinding("reference", "note", message)]
    labels = None
    labelled = window.has_label
    if labelled.sum() >= rules.min_labels:
        labels = reference.labels.profile_frame(
            label_frame(_decode_labels(window, baseline), baseline.labels.type)
        )
    report = compare(
        reference,
        inputs=window.input_profile,
        outputs=reference.outputs.profile_frame(
            output_frame(window.output, baseline.labels.classes)
        ),
        labels=labels,
        rules=DriftRules(alpha=rules.false_discoveries, joint=rules.joint),
        seed=seed,
    )
    results["drift"] = report.to_json()
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


def _decode_labels(window: Window, baseline: Baseline) -> Any:
    import polars as pl

    values = window.labels[window.has_label]
    if not baseline.labels.classes:
        return pl.Series("label", values)
    return pl.Series("label", baseline.labels.decode(values.astype(np.int64)))


def _evaluate_performance(
    window: Window,
    baseline: Baseline,
    rules: Monitor,
    coverage: LabelCoverage,
    seed: Sequence[int],
    results: dict[str, Any],
) -> list[MonitoringFinding]:
    rows = coverage.usable_rows(window.has_label)
    performance: dict[str, Any] = {
        "labelled": coverage.labelled_rows,
        "coverage": round(coverage.labelled_rows / coverage.rows, 6),
        "complete_rows": coverage.complete_rows,
        "complete_coverage": round(coverage.complete_share, 6),
        "complete_until": None,
        "judged": False,
        "figures": {},
        "slices": {},
    }
    results["performance"] = performance
    if not coverage.labelled_rows:
        return [MonitoringFinding("labels", "note", "No prediction of the window has a label yet.")]
    performance["complete_until"] = window.times[coverage.complete_rows - 1].isoformat()
    findings = _find_label_bias(coverage, performance)
    width = float(baseline.evaluation.get("confidence", 0.95))
    y, output = window.labels_and_output(rows)
    now = measure_metrics(baseline.metrics, y, output, confidence=width, seed=[*seed, 0])
    for metric in baseline.metrics:
        if metric.name not in now:
            continue
        entry: dict[str, Any] = {"figure": now[metric.name].figure.to_json()}
        then = baseline.figure(metric)
        if then is not None:
            allowed = allowed_loss(baseline, metric, rules.tolerance)
            loss = compare_with_former(
                metric, now[metric.name], then, rules.confidence, width, allowed
            )
            entry |= {"evaluation": then.to_json(), "loss": loss.to_json()}
        performance["figures"][metric.name] = entry
    if len(rows) < rules.min_labels:
        message = f"{len(rows):,} labels are too few to judge performance (monitor.min_labels is "
        return [*findings, MonitoringFinding("labels", "note", f"{message}{rules.min_labels:,}).")]
    if coverage.complete_share < rules.coverage:
        message = (
            f"Only {coverage.complete_share:.0%} of the predictions have a label: performance is "
        )
        return [
            *findings,
            MonitoringFinding(
                "labels", "note", f"{message}shown and not judged (monitor.coverage)."
            ),
        ]
    performance["judged"] = True
    performance["slices"] = by_slice(
        window.slice_values(rows), y, output, baseline, rules, [*seed, 1]
    )
    return [*findings, *_find_degradation(baseline, performance)]


def _find_label_bias(
    coverage: LabelCoverage, performance: dict[str, Any]
) -> list[MonitoringFinding]:
    findings = []
    if coverage.complete_rows < coverage.rows:
        rest = coverage.rows - coverage.complete_rows
        message = (
            f"Labels are incomplete after {performance['complete_until']}: the last {rest:,} "
            "predictions are left out of performance, as labels that are known early differ from "
            "the rest."
        )
        findings.append(MonitoringFinding("labels", "note", message))
    if coverage.is_biased:
        message = (
            "Predictions without a label differ from those with one, so performance on labelled "
            "rows may not be that of all."
        )
        findings.append(MonitoringFinding("labels", "warning", message))
    return findings


def _find_degradation(
    baseline: Baseline, performance: Mapping[str, Any]
) -> list[MonitoringFinding]:
    metric, findings = baseline.metrics[0], []
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
    window: Window, rules: Monitor, rows: Any, seed: Sequence[int], results: dict[str, Any]
) -> list[MonitoringFinding]:
    if window.output.ndim == 1 or len(rows) < rules.min_labels:
        return []
    y, output = window.labels_and_output(rows)
    result = calibration_error(y, output, confidence=0.95, seed=seed)
    results["calibration"] = {
        "rows": len(rows),
        "error": result.error.to_json(),
        "by_chance": round(result.chance_limit, 6),
        "off": result.exceeds_chance,
        "points": list(result.points),
    }
    if not result.exceeds_chance:
        return []
    error = result.error
    message = (
        f"Probabilities are off by {error.value:.3g} on average [{error.low:.3g}, "
        f"{error.high:.3g}]; by chance it would be at most {result.chance_limit:.3g}."
    )
    return [
        MonitoringFinding(
            "calibration", "warning" if error.value > _WARNING_ERROR else "note", message
        )
    ]


_WARNING_ERROR = 0.05
"""Calibration error above which there is a warning; a smaller one is only a note."""


def _check_latency(
    window: Window, rules: Monitor, results: dict[str, Any]
) -> list[MonitoringFinding]:
    if window.milliseconds is None:
        return []
    levels = (0.5, 0.95, 0.99)
    p50, p95, p99 = (round(float(x), 3) for x in np.quantile(window.milliseconds, levels))
    results["latency"] = {"p50": p50, "p95": p95, "p99": p99,
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
    window: Window, baseline: Baseline, rules: Monitor, results: dict[str, Any]
) -> list[MonitoringFinding]:
    if baseline.trained_until is None:
        return []
    # A window may end before the model's data: old requests that a newer model has scored.
    days = max(0.0, (window.moment_range[1] - baseline.trained_until).total_seconds() / 86_400)
    results["age"] = {"trained_until": baseline.trained_until.isoformat(), "days": round(days, 3)}
    if rules.age is None:
        return []
    import polars as pl

    limit = pl.Series([baseline.trained_until]).dt.offset_by(rules.age)[0]
    if window.moment_range[1] <= limit:
        return []
    message = f"The model's data end {days:.0f} days before the window's end, over {rules.age}."
    return [MonitoringFinding("age", "warning", message)]
