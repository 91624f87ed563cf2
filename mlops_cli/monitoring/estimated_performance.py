"""Estimated performance of a window: what to expect, how it did before, and whether to trust it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.evaluation.performance_estimation import (
    LEAST_ROWS,
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
    from mlops_cli.params.monitoring import Monitor

__all__ = ["EstimatedPerformance", "estimate_performance"]

_AHEAD = 1.5
"""So many times the evaluation's span after the model's data end, an estimate may still begin."""
_SURE = 0.75
"""An estimate must be surer than the loss that it is to show, by so much."""
_BROKEN = {"vanished", "type", "swap", "constant"}
"""Kinds of drift after which a feature doesn't mean what it did."""


@dataclass(frozen=True)
class EstimatedPerformance:
    """What is to be expected of a window.

    Attributes
    ----------
    figures
        By metric, with the interval that chance and what the estimate was off before allow.
    check
        Of the rows whose labels are there: ``rows``, ``expected``, ``realised`` and ``error`` of
        the first metric; None without them.
    reasons
        Why it can't be trusted; empty: it can.
    """

    figures: Mapping[str, Estimate]
    check: Mapping[str, float] | None
    reasons: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "figures": {name: e.figure.rounded() for name, e in self.figures.items()},
            "check": None if self.check is None else dict(self.check),
            "trusted": bool(self.figures) and not self.reasons,
            "reasons": list(self.reasons),
        }


def estimate_performance(
    window: Window,
    basis: Baseline,
    rules: Monitor,
    findings: Sequence[MonitoringFinding],
    rows: NDArray[np.intp],
    *,
    seed: Sequence[int],
    former: Mapping[str, float] | None = None,
) -> EstimatedPerformance:
    """Estimate a window as if none of its labels were known, and compare with those that are.

    Parameters
    ----------
    findings
        Of drift: after some no estimate holds.
    rows
        Labelled rows that the estimate is checked on.
    former
        The ``check`` of the last window that had one, for a window without labels.
    """
    width = float(basis.evaluation.get("confidence", 0.95))
    curves = basis.curves
    plain = estimate_metrics(
        basis.metrics, window.output, curves, confidence=width, seed=[*seed, 1]
    )
    proofs = _proofs(basis)
    lengths = _lengths(window, basis)
    figures = {
        name: e.widened(proofs[name].spread(lengths), proofs[name].parts, width)
        if name in proofs
        else e
        for name, e in plain.items()
    }
    check = None
    if len(rows) >= rules.min_labels:
        check = _checked(window, basis, rows, [*seed, 2])
    metric = basis.metrics[0]
    if metric.name not in figures:
        return EstimatedPerformance(figures, check, [f"{metric.name} can't be estimated"])
    may = allowed_loss(basis, metric, rules.tolerance)
    if metric.name not in proofs:
        reasons = [_unproven(basis, metric.name)]
    else:
        reasons = [*_too_wide(figures[metric.name], may)]
    known = check or former
    if known is not None and abs(known["error"]) > may:
        where = "on this window's labels" if check else "on the last labels before"
        reasons.append(f"{where} it was off by {known['error']:+.3g}")
    reasons += [*_changed_features(findings), *_too_far(window, basis)]
    return EstimatedPerformance(figures, check, reasons)


def _too_wide(estimate: Estimate, may: float) -> Iterator[str]:
    """That the estimate's interval could not show a loss as large as is allowed."""
    wide = (estimate.figure.high - estimate.figure.low) / 2
    if wide > _SURE * may:
        yield (
            f"it may be off by {wide:.3g}, too much to show a loss of {may:.3g}: by chance, and "
            "by what estimates were off in parts of the evaluation"
        )


def _changed_features(findings: Sequence[MonitoringFinding]) -> Iterator[str]:
    """Features with which a probability isn't what it was in the evaluation."""
    for kinds, text in (
        (_BROKEN, "features are broken"),
        ({"scale"}, "features have another scale, as in another unit"),
    ):
        columns = {f.column or "" for f in findings if f.means == "drift" and f.kind in kinds}
        if columns:
            yield f"{text}: {', '.join(sorted(columns))}"


def _unproven(basis: Baseline, metric: str) -> str:
    """Why nobody knows how far off estimates are, and what can be done about it."""
    rows = int(basis.evaluation["rows"])
    go_by = "; till then go by labels as they come in"
    if rows < LEAST_ROWS:
        return (
            f"the evaluation has {rows:,} test rows, and to measure how far off estimates are "
            f"takes {LEAST_ROWS:,}: give `split.test` more of the rows, or train on more data"
            f"{go_by}"
        )
    if "estimates" not in basis.evaluation:
        return (
            "the evaluation was made by a version that didn't measure how far off estimates are: "
            f"register anew{go_by}"
        )
    return (
        f"how far off estimates of {metric} are couldn't be measured, as it isn't defined in each "
        f"part of the test rows, say where a class is missing: give `split.test` more rows{go_by}"
    )


def _proofs(basis: Baseline) -> dict[str, BacktestedEstimate]:
    return {
        name: BacktestedEstimate(**of) for name, of in basis.evaluation.get("estimates", {}).items()
    }


def _checked(
    window: Window, basis: Baseline, rows: NDArray[np.intp], seed: Sequence[int]
) -> dict[str, float] | None:
    import math

    metric = basis.metrics[0]
    real = metric(*window.to(rows))
    guess = estimate_metrics(
        [metric], window.output[rows], basis.curves, confidence=0.95, seed=seed, draws=20
    )
    if metric.name not in guess or math.isnan(real):
        return None
    value = guess[metric.name].figure.value
    return {
        "rows": len(rows),
        "expected": round(value, 6),
        "realised": round(real, 6),
        "error": round(value - real, 6),
    }


def _lengths(window: Window, basis: Baseline) -> float:
    """How many parts of the evaluation the window is long: by time, or by rows without one."""
    parts = max((p.parts for p in _proofs(basis).values()), default=1)
    span = _span(basis)
    if span is None:
        return len(window) * parts / max(int(basis.evaluation["rows"]), 1)
    ours = (window.about[1] - window.about[0]).total_seconds()
    return float(ours * parts / max(span.total_seconds(), 1.0))


def _span(basis: Baseline) -> dt.timedelta | None:
    import datetime as dt

    found = basis.evaluation.get("window")
    if not found:
        return None
    first, last = (dt.datetime.fromisoformat(found[end]) for end in ("first", "last"))
    return last - first


def _too_far(window: Window, basis: Baseline) -> Iterator[str]:
    """That the window begins later than the evaluation can speak for."""
    span = _span(basis)
    if span is None or basis.trained is None:
        return
    ahead = window.about[0] - basis.trained
    if ahead > _AHEAD * span:
        yield (
            f"the window begins {ahead.days} days after the model's data end, and the evaluation "
            f"covers only {max(span.days, 1)}"
        )
