"""Estimated performance of a window without labels, and whether to trust the estimate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.evaluation.performance_estimation import (
    MIN_ROWS,
    BacktestedEstimate,
    Estimate,
    estimate_metrics,
)
from mlops_cli.monitoring.realised_performance import allowed_loss

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    from numpy.typing import NDArray

    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.monitoring.findings import MonitoringFinding
    from mlops_cli.monitoring.window import Window
    from mlops_cli.params.monitor import Monitor

__all__ = ["EstimatedPerformance", "estimate_performance"]

_MAX_AHEAD = 1.5
"""Maximum start of a window after the model's data end, in spans of the evaluation."""
_MAX_HALF_WIDTH = 0.75
"""Maximum half width of a trusted estimate's interval, as a share of the allowed loss."""
_BROKEN_KINDS = {"vanished", "type", "swap", "constant"}
"""Kinds of drift after which a feature no longer means the same."""


@dataclass(frozen=True)
class EstimatedPerformance:
    """Expected metrics of a window, without its labels.

    Attributes
    ----------
    figures
        By metric, with an interval for chance and for the errors of estimates in the evaluation.
    check
        Comparison on the labelled rows: ``rows``, and ``expected``, ``realised`` and ``error`` of
        the first metric; None without labels.
    reasons
        Why the estimate can't be trusted; empty if it can.
    """

    figures: Mapping[str, Estimate]
    check: Mapping[str, float] | None
    reasons: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "figures": {name: e.interval.to_json() for name, e in self.figures.items()},
            "check": None if self.check is None else dict(self.check),
            "trusted": bool(self.figures) and not self.reasons,
            "reasons": list(self.reasons),
        }


def estimate_performance(
    window: Window,
    baseline: Baseline,
    rules: Monitor,
    findings: Sequence[MonitoringFinding],
    rows: NDArray[np.intp],
    *,
    seed: Sequence[int],
    previous_check: Mapping[str, float] | None = None,
) -> EstimatedPerformance:
    """Estimate a window as if it had no labels, and check the estimate on the labels it has.

    Parameters
    ----------
    findings
        Findings of drift; some kinds make every estimate invalid.
    rows
        Labelled rows on which the estimate is checked.
    previous_check
        ``check`` of the last window that had one, for a window without labels.
    """
    confidence = float(baseline.evaluation.get("confidence", 0.95))
    curves = baseline.reliability_curves
    estimates = estimate_metrics(
        baseline.metrics, window.output, curves, confidence=confidence, seed=[*seed, 1]
    )
    backtests = _backtested_estimates(baseline)
    length = _length_in_parts(window, baseline)
    figures = {
        name: e.widen(backtests[name].standard_error(length), backtests[name].parts, confidence)
        if name in backtests
        else e
        for name, e in estimates.items()
    }
    check = None
    if len(rows) >= rules.min_labels:
        check = _check_estimate(window, baseline, rows, [*seed, 2])
    metric = baseline.metrics[0]
    if metric.name not in figures:
        return EstimatedPerformance(figures, check, [f"{metric.name} can't be estimated"])
    allowed = allowed_loss(baseline, metric, rules.tolerance)
    if metric.name not in backtests:
        reasons = [_unvalidated_reason(baseline, metric.name)]
    else:
        reasons = [*_width_reasons(figures[metric.name], allowed)]
    last_check = check or previous_check
    if last_check is not None and abs(last_check["error"]) > allowed:
        where = "on this window's labels" if check else "on the last labels before"
        reasons.append(f"{where} it was off by {last_check['error']:+.3g}")
    reasons += [*_feature_reasons(findings), *_age_reasons(window, baseline)]
    return EstimatedPerformance(figures, check, reasons)


def _width_reasons(estimate: Estimate, allowed: float) -> Iterator[str]:
    """Reason against an interval that is too wide to show the allowed loss."""
    half_width = (estimate.interval.high - estimate.interval.low) / 2
    if half_width > _MAX_HALF_WIDTH * allowed:
        yield (
            f"it may be off by {half_width:.3g}, too much to show a loss of {allowed:.3g}: by "
            "chance, and by what estimates were off in parts of the evaluation"
        )


def _feature_reasons(findings: Sequence[MonitoringFinding]) -> Iterator[str]:
    """Reasons against estimates from features that no longer mean the same."""
    for kinds, text in (
        (_BROKEN_KINDS, "features are broken"),
        ({"scale"}, "features have another scale, as in another unit"),
    ):
        columns = {f.column or "" for f in findings if f.severity == "drift" and f.kind in kinds}
        if columns:
            yield f"{text}: {', '.join(sorted(columns))}"


def _unvalidated_reason(baseline: Baseline, metric: str) -> str:
    """Why the error of estimates is unknown, and how to change that."""
    rows = int(baseline.evaluation["rows"])
    go_by = "; till then go by labels as they come in"
    if rows < MIN_ROWS:
        return (
            f"the evaluation has {rows:,} test rows, and to measure how far off estimates are "
            f"takes {MIN_ROWS:,}: give `split.test` more of the rows, or train on more data"
            f"{go_by}"
        )
    if "estimates" not in baseline.evaluation:
        return (
            "the evaluation was made by a version that didn't measure how far off estimates are: "
            f"register again{go_by}"
        )
    return (
        f"how far off estimates of {metric} are couldn't be measured, as it isn't defined in each "
        f"part of the test rows, say where a class is missing: give `split.test` more rows{go_by}"
    )


def _backtested_estimates(baseline: Baseline) -> dict[str, BacktestedEstimate]:
    return {
        name: BacktestedEstimate(**entry)
        for name, entry in baseline.evaluation.get("estimates", {}).items()
    }


def _check_estimate(
    window: Window, baseline: Baseline, rows: NDArray[np.intp], seed: Sequence[int]
) -> dict[str, float] | None:
    import math

    metric = baseline.metrics[0]
    realised = metric(*window.labels_and_output(rows))
    estimates = estimate_metrics(
        [metric],
        window.output[rows],
        baseline.reliability_curves,
        confidence=0.95,
        seed=seed,
        draws=20,
    )
    if metric.name not in estimates or math.isnan(realised):
        return None
    expected = estimates[metric.name].interval.value
    return {
        "rows": len(rows),
        "expected": round(expected, 6),
        "realised": round(realised, 6),
        "error": round(expected - realised, 6),
    }


def _length_in_parts(window: Window, baseline: Baseline) -> float:
    """Length of the window in parts of the evaluation: by time, or by rows without times."""
    parts = max((p.parts for p in _backtested_estimates(baseline).values()), default=1)
    span = _evaluation_span(baseline)
    if span is None:
        return len(window) * parts / max(int(baseline.evaluation["rows"]), 1)
    seconds = (window.moment_range[1] - window.moment_range[0]).total_seconds()
    return float(seconds * parts / max(span.total_seconds(), 1.0))


def _evaluation_span(baseline: Baseline) -> dt.timedelta | None:
    import datetime as dt

    period = baseline.evaluation.get("window")
    if not period:
        return None
    first, last = (dt.datetime.fromisoformat(period[end]) for end in ("first", "last"))
    return last - first


def _age_reasons(window: Window, baseline: Baseline) -> Iterator[str]:
    """Reason against a window that begins later than the evaluation covers."""
    span = _evaluation_span(baseline)
    if span is None or baseline.trained_until is None:
        return
    ahead = window.moment_range[0] - baseline.trained_until
    if ahead > _MAX_AHEAD * span:
        yield (
            f"the window begins {ahead.days} days after the model's data end, and the evaluation "
            f"covers only {max(span.days, 1)}"
        )
