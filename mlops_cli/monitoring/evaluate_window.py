"""The judgement of a window: drift, performance, calibration, latency and age, as findings."""

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
    """What was found in a window, and the figures.

    Attributes
    ----------
    findings
        The gravest first.
    facts
        Plain values: ``rows``, ``window``, ``evaluation``, ``drift``, ``performance``,
        ``estimate``, ``calibration``, ``latency``, ``age``, ``over_time``; None where something
        isn't judged.
    """

    findings: Sequence[MonitoringFinding]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def found(self) -> tuple[str, ...]:
        """``drift``, ``degraded``, both or none."""
        return overall_verdict(self.findings)

    def with_more(self, findings: Sequence[MonitoringFinding], **facts: Any) -> WindowEvaluation:
        """With what only the caller could find."""
        return WindowEvaluation(_graded([*self.findings, *findings]), {**self.facts, **facts})


def evaluate_window(
    window: Window,
    basis: Baseline,
    rules: Monitor,
    *,
    seed: int = 0,
    former: Mapping[str, float] | None = None,
) -> WindowEvaluation:
    """Judge what one version has predicted in a window.

    Parameters
    ----------
    window
        Its rows; too few (``rules.min_rows``) are told and not judged.
    basis
        What the version is compared with.
    former
        How far the last estimate was off that could be checked; see ``expectation.expect``.
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
    findings = [*_latency(window, rules, facts), *_age(window, basis, rules, facts)]
    if len(window) < rules.min_rows:
        told = (
            f"There are {len(window):,} predictions in the window, and monitor.min_rows is "
            f"{rules.min_rows:,}: drift and performance aren't judged."
        )
        return WindowEvaluation(
            _graded([*findings, MonitoringFinding("rows", "note", told)]), facts
        )
    drift = _drift(window, basis, rules, seed, facts)
    coverage = measure_coverage(window)
    rows = coverage.used(window.labelled)
    findings += drift
    findings += _performance(window, basis, rules, coverage, [seed, 1], facts)
    facts["estimate"] = estimate_performance(
        window, basis, rules, drift, rows, seed=[seed, 2], former=former
    ).to_json()
    findings += _calibration(window, rules, rows, [seed, 3], facts)
    return WindowEvaluation(_graded(findings), facts)


def _graded(findings: Sequence[MonitoringFinding]) -> list[MonitoringFinding]:
    order = ("degraded", "drift", "warning", "note")
    return sorted(findings, key=lambda finding: order.index(finding.means))


def _drift(
    window: Window, basis: Baseline, rules: Monitor, seed: int, facts: dict[str, Any]
) -> list[MonitoringFinding]:
    from mlops_cli.drift.compare import DriftRules, compare
    from mlops_cli.drift.reference import label_frame, output_frame

    reference = basis.reference
    if reference is None or window.inputs is None:
        told = "The model has no reference profile, so drift isn't judged: train a newer version."
        return [MonitoringFinding("reference", "note", told)]
    labels = None
    known = window.labelled
    if known.sum() >= rules.min_labels:
        labels = reference.labels.of(label_frame(_labels(window, basis), basis.labels.type))
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
            one.kind,
            "drift" if one.severity == "alarm" else "note",
            one.sentence,
            one.column,
            {"of": one.part, "statistic": one.statistic, "value": one.value},
        )
        for one in report.findings
    ]


def _labels(window: Window, basis: Baseline) -> Any:
    import polars as pl

    known = window.labels[window.labelled]
    if not basis.labels.classes:
        return pl.Series("label", known)
    return pl.Series("label", basis.labels.decode(known.astype(np.int64)))


def _performance(
    window: Window,
    basis: Baseline,
    rules: Monitor,
    coverage: LabelCoverage,
    seed: Sequence[int],
    facts: dict[str, Any],
) -> list[MonitoringFinding]:
    rows = coverage.used(window.labelled)
    told: dict[str, Any] = {
        "labelled": coverage.labelled,
        "coverage": round(coverage.labelled / coverage.rows, 6),
        "complete_rows": coverage.complete,
        "complete_coverage": round(coverage.share, 6),
        "complete_until": None,
        "judged": False,
        "figures": {},
        "slices": {},
    }
    facts["performance"] = told
    if not coverage.labelled:
        return [MonitoringFinding("labels", "note", "No prediction of the window has a label yet.")]
    told["complete_until"] = window.times[coverage.complete - 1].isoformat()
    findings = _biased(coverage, told)
    width = float(basis.evaluation.get("confidence", 0.95))
    y, output = window.to(rows)
    now = measure_metrics(basis.metrics, y, output, confidence=width, seed=[*seed, 0])
    for metric in basis.metrics:
        if metric.name not in now:
            continue
        entry: dict[str, Any] = {"figure": now[metric.name].figure.rounded()}
        then = basis.figure(metric)
        if then is not None:
            may = allowed_loss(basis, metric, rules.tolerance)
            loss = compare_with_former(metric, now[metric.name], then, rules.confidence, width, may)
            entry |= {"evaluation": then.rounded(), "loss": loss.to_json()}
        told["figures"][metric.name] = entry
    if len(rows) < rules.min_labels:
        said = f"{len(rows):,} labels are too few to judge performance (monitor.min_labels is "
        return [*findings, MonitoringFinding("labels", "note", f"{said}{rules.min_labels:,}).")]
    if coverage.share < rules.coverage:
        said = f"Only {coverage.share:.0%} of the predictions have a label: performance is shown "
        return [
            *findings,
            MonitoringFinding("labels", "note", f"{said}and not judged (monitor.coverage)."),
        ]
    told["judged"] = True
    told["slices"] = by_slice(window.sliced(rows), y, output, basis, rules, [*seed, 1])
    return [*findings, *_worse(basis, told)]


def _biased(coverage: LabelCoverage, told: dict[str, Any]) -> list[MonitoringFinding]:
    findings = []
    if coverage.complete < coverage.rows:
        rest = coverage.rows - coverage.complete
        said = (
            f"Labels are incomplete after {told['complete_until']}: the last {rest:,} predictions "
            "are left out of performance, as what is known early isn't like the rest."
        )
        findings.append(MonitoringFinding("labels", "note", said))
    if coverage.different:
        said = (
            "Predictions without a label differ from those with one, so performance on labelled "
            "rows may not be that of all."
        )
        findings.append(MonitoringFinding("labels", "warning", said))
    return findings


def _worse(basis: Baseline, told: Mapping[str, Any]) -> list[MonitoringFinding]:
    metric, findings = basis.metrics[0], []
    entry = told["figures"].get(metric.name)
    if entry is None or "loss" not in entry:
        said = f"{metric.name} isn't defined on the window's labels or not in the evaluation."
        return [MonitoringFinding("performance", "note", said)]
    if entry["loss"]["degraded"]:
        findings.append(
            MonitoringFinding(
                "performance",
                "degraded",
                f"{metric.name} is {figure_text(entry['figure'])}, and was "
                f"{figure_text(entry['evaluation'])} in the evaluation: it lost "
                f"{entry['loss']['value']:.3g}, surely {entry['loss']['least']:.3g}, and may lose "
                f"{entry['loss']['allowed']:.3g}.",
                details={"of": metric.name, **entry["loss"]},
            )
        )
    for column, part in degraded_slices(told["slices"]):
        findings.append(
            MonitoringFinding(
                "slice",
                "degraded",
                f"{metric.name} where {column} is {part['value']} is "
                f"{figure_text(part['figure'])}, and was {figure_text(part['evaluation'])} in the "
                "evaluation.",
                column,
                {"of": f"{column}={part['value']}", **part["loss"]},
            )
        )
    return findings


def _calibration(
    window: Window, rules: Monitor, rows: Any, seed: Sequence[int], facts: dict[str, Any]
) -> list[MonitoringFinding]:
    if window.output.ndim == 1 or len(rows) < rules.min_labels:
        return []
    y, output = window.to(rows)
    found = calibration_error(y, output, confidence=0.95, seed=seed)
    facts["calibration"] = {
        "rows": len(rows),
        "error": found.error.rounded(),
        "by_chance": round(found.chance, 6),
        "off": found.off,
        "points": list(found.points),
    }
    if not found.off:
        return []
    error = found.error
    said = (
        f"Probabilities are off by {error.value:.3g} on average [{error.low:.3g}, "
        f"{error.high:.3g}]; by chance it would be at most {found.chance:.3g}."
    )
    return [MonitoringFinding("calibration", "warning" if error.value > _OFF else "note", said)]


_OFF = 0.05
"""A calibration error that people should know of; a smaller one is told beside the figures."""


def _latency(window: Window, rules: Monitor, facts: dict[str, Any]) -> list[MonitoringFinding]:
    if window.milliseconds is None:
        return []
    at = (0.5, 0.95, 0.99)
    p50, p95, p99 = (round(float(x), 3) for x in np.quantile(window.milliseconds, at))
    facts["latency"] = {"p50": p50, "p95": p95, "p99": p99,
                        "max": round(float(window.milliseconds.max()), 3)}  # fmt: skip
    limit = rules.milliseconds
    if limit is None or p95 <= limit:
        return []
    said = (
        f"5% of the predictions took longer than {p95:.3g} ms, and at most {limit:g} is asked for."
    )
    return [MonitoringFinding("latency", "warning", said)]


def _age(
    window: Window, basis: Baseline, rules: Monitor, facts: dict[str, Any]
) -> list[MonitoringFinding]:
    if basis.trained is None:
        return []
    # A window may end before the data do: requests of long ago, asked of a newer model.
    days = max(0.0, (window.about[1] - basis.trained).total_seconds() / 86_400)
    facts["age"] = {"trained_until": basis.trained.isoformat(), "days": round(days, 3)}
    if rules.age is None:
        return []
    import polars as pl

    limit = pl.Series([basis.trained]).dt.offset_by(rules.age)[0]
    if window.about[1] <= limit:
        return []
    said = f"The model's data end {days:.0f} days before the window's end, over {rules.age}."
    return [MonitoringFinding("age", "warning", said)]
