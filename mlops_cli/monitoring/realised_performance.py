"""Realised performance on labelled rows, compared with the evaluation.

A loss counts if it exceeds the allowed loss with the required confidence. The allowed loss is a
share of the model's gain over a constant in the evaluation, so that one setting serves every
metric. The error of the loss includes the errors of both figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.metrics.bootstrap import Interval, draw, percentile_interval
from mlops_cli.metrics.slices import slices

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.metrics.weighted import Floats, Truth
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.params.monitor import Monitor

__all__ = [
    "MeasuredMetric",
    "PerformanceLoss",
    "allowed_loss",
    "by_slice",
    "compare_with_former",
    "degraded_slices",
    "measure_metrics",
]

_DRAWS = 100
_MAX_ROWS = 20_000
"""Maximum rows that are resampled, for intervals."""


@dataclass(frozen=True)
class MeasuredMetric:
    """A metric on labelled rows, and its standard error."""

    figure: Interval
    standard_error: float


@dataclass(frozen=True)
class PerformanceLoss:
    """How much worse a figure is than the evaluation's.

    Attributes
    ----------
    value
        Loss in the metric's unit; negative for a gain.
    least
        Lower bound of the loss (one-sided, at ``monitor.confidence``).
    allowed
        The allowed loss.
    """

    value: float
    least: float
    allowed: float

    @property
    def degraded(self) -> bool:
        """Whether the loss exceeds the allowed loss with confidence."""
        return self.least > self.allowed

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {k: round(v, 6) for k, v in vars(self).items()} | {"degraded": self.degraded}


def measure_metrics(
    metrics: Sequence[Metric],
    y: Truth,
    output: Floats,
    *,
    confidence: float,
    seed: int | Sequence[int],
) -> dict[str, MeasuredMetric]:
    """Metrics of labelled rows with bootstrap intervals; undefined metrics are left out."""
    if not len(y):
        return {}
    rng = np.random.default_rng(seed)
    values = {m.name: m(y, output) for m in metrics}
    sample = np.arange(len(y))
    if len(y) > _MAX_ROWS:
        sample = np.sort(rng.choice(len(y), _MAX_ROWS, replace=False))
    statistics = [m.prepare(y[sample], output[sample]) for m in metrics]
    sample_values = [statistic(np.ones(len(sample))) for statistic in statistics]
    resampled = draw(statistics, len(sample), resamples=_DRAWS, seed=int(rng.integers(2**31)))
    # An error is inversely proportional to the square root of the number of rows.
    deviations = (resampled - sample_values) * math.sqrt(len(sample) / len(y))
    measured = {}
    for m, column in zip(metrics, deviations.T, strict=True):
        figure = percentile_interval(values[m.name], values[m.name] + column, confidence)
        if figure.defined:
            measured[m.name] = MeasuredMetric(figure, float(np.nanstd(column)))
    return measured


def allowed_loss(baseline: Baseline, metric: Metric, tolerance: float) -> float:
    """Allowed loss: a share of the model's gain over a constant in the evaluation."""
    ours, constant = baseline.figure(metric), baseline.figure(metric, "constant")
    if ours is None or constant is None:
        return 0.0
    return tolerance * max(metric.gain(ours.value, constant.value), 0.0)


def compare_with_former(
    metric: Metric,
    current: MeasuredMetric,
    previous: Interval,
    confidence: float,
    interval_confidence: float,
    allowed: float,
) -> PerformanceLoss:
    """Compare with a former figure.

    Parameters
    ----------
    previous
        The former figure with its interval.
    confidence
        Confidence of the lower bound of the loss.
    interval_confidence
        Confidence of the former figure's interval.
    allowed
        The allowed loss.
    """
    normal = NormalDist()
    before = (previous.high - previous.low) / 2 / normal.inv_cdf((1 + interval_confidence) / 2)
    value = metric.gain(previous.value, current.figure.value)
    return PerformanceLoss(
        value,
        value - normal.inv_cdf(confidence) * math.hypot(current.standard_error, before),
        allowed,
    )


def by_slice(
    columns: pl.DataFrame,
    y: Truth,
    output: Floats,
    baseline: Baseline,
    rules: Monitor,
    seed: Sequence[int],
) -> dict[str, list[dict[str, Any]]]:
    """Compare each slice with enough labels with the evaluation, by the first metric.

    The confidence is corrected for the number of slices (C. Bonferroni, 1936).
    """
    metric = baseline.metrics[:1]
    parts = [
        (name, part.value, part.rows)
        for name in columns.columns
        for part in slices(columns[name])
        if len(part.rows) >= rules.min_labels
    ]
    loss_confidence = 1 - (1 - rules.confidence) / max(len(parts), 1)
    entries: dict[str, list[dict[str, Any]]] = {name: [] for name in columns.columns}
    for number, (name, value, rows) in enumerate(parts):
        entry: dict[str, Any] = {"value": value, "rows": len(rows)}
        now = measure_metrics(
            metric,
            y[rows],
            output[rows],
            confidence=_interval_confidence(baseline),
            seed=[*seed, number],
        ).get(metric[0].name)
        if now is not None:
            entry["figure"] = now.figure.to_json()
            then = baseline.slice_figure(name, value, metric[0])
            if then is not None:
                allowed = allowed_loss(baseline, metric[0], rules.tolerance)
                entry["evaluation"] = then.to_json()
                entry["loss"] = compare_with_former(
                    metric[0], now, then, loss_confidence, _interval_confidence(baseline), allowed
                ).to_json()
        entries[name].append(entry)
    return entries


def _interval_confidence(baseline: Baseline) -> float:
    return float(baseline.evaluation.get("confidence", 0.95))


def degraded_slices(parts: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Column and entry of each slice that has lost more than is allowed."""
    for column, entries in parts.items():
        for entry in entries:
            if entry.get("loss", {}).get("degraded"):
                yield column, entry
