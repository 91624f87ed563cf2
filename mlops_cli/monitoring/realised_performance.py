"""Performance where labels have come, against the evaluation.

A loss counts when it is surely larger than what is allowed: a share of what the model had gained
over a constant in the evaluation, so that one setting serves every metric. Both figures have an
error of their own; the loss has both.
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
    from mlops_cli.params.monitoring import Monitor

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
_ROWS = 20_000
"""At most so many rows are drawn from, for intervals."""


@dataclass(frozen=True)
class MeasuredMetric:
    """A figure on labelled rows, and its standard error."""

    figure: Interval
    error: float


@dataclass(frozen=True)
class PerformanceLoss:
    """How much worse a figure is than the evaluation's.

    Attributes
    ----------
    value
        In the metric's unit; negative where it is better.
    least
        What it surely is at least (one-sided, at ``monitor.confidence``).
    allowed
        What may be lost.
    """

    value: float
    least: float
    allowed: float

    @property
    def degraded(self) -> bool:
        """Whether more was lost than may be."""
        return self.least > self.allowed

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {k: round(v, 6) for k, v in vars(self).items()} | {"degraded": self.degraded}


def measure_metrics(
    metrics: Sequence[Metric],
    y: Truth,
    output: Floats,
    *,
    confidence: float,
    seed: int | Sequence[int],
) -> dict[str, MeasuredMetric]:
    """Metrics of labelled rows with bootstrap intervals; what isn't defined isn't there."""
    if not len(y):
        return {}
    rng = np.random.default_rng(seed)
    whole = {m.name: m(y, output) for m in metrics}
    few = np.arange(len(y))
    if len(y) > _ROWS:
        few = np.sort(rng.choice(len(y), _ROWS, replace=False))
    statistics = [m.prepare(y[few], output[few]) for m in metrics]
    some = [statistic(np.ones(len(few))) for statistic in statistics]
    drawn = draw(statistics, len(few), resamples=_DRAWS, seed=int(rng.integers(2**31)))
    # Of fewer rows an error is larger, by the root of how many fewer.
    around = (drawn - some) * math.sqrt(len(few) / len(y))
    found = {}
    for m, column in zip(metrics, around.T, strict=True):
        figure = percentile_interval(whole[m.name], whole[m.name] + column, confidence)
        if figure.defined:
            found[m.name] = MeasuredMetric(figure, float(np.nanstd(column)))
    return found


def allowed_loss(basis: Baseline, metric: Metric, tolerance: float) -> float:
    """What may be lost: a share of the evaluation's gain over a constant."""
    ours, constant = basis.figure(metric), basis.figure(metric, "constant")
    if ours is None or constant is None:
        return 0.0
    return tolerance * max(metric.gain(ours.value, constant.value), 0.0)


def compare_with_former(
    metric: Metric, now: MeasuredMetric, then: Interval, confidence: float, width: float, may: float
) -> PerformanceLoss:
    """Compare with a former figure.

    Parameters
    ----------
    then
        The former figure with its interval.
    confidence
        Of the least loss.
    width
        Confidence of the former figure's interval.
    may
        What is allowed.
    """
    normal = NormalDist()
    before = (then.high - then.low) / 2 / normal.inv_cdf((1 + width) / 2)
    value = metric.gain(then.value, now.figure.value)
    return PerformanceLoss(
        value, value - normal.inv_cdf(confidence) * math.hypot(now.error, before), may
    )


def by_slice(
    columns: pl.DataFrame,
    y: Truth,
    output: Floats,
    basis: Baseline,
    rules: Monitor,
    seed: Sequence[int],
) -> dict[str, list[dict[str, Any]]]:
    """Judge each slice with enough labels by the first metric, against the evaluation's.

    As many slices are looked at, each must have lost the more surely (C. Bonferroni, 1936).
    """
    metric = basis.metrics[:1]
    parts = [
        (name, part.value, part.rows)
        for name in columns.columns
        for part in slices(columns[name])
        if len(part.rows) >= rules.min_labels
    ]
    surely = 1 - (1 - rules.confidence) / max(len(parts), 1)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in columns.columns}
    for number, (name, value, rows) in enumerate(parts):
        entry: dict[str, Any] = {"value": value, "rows": len(rows)}
        now = measure_metrics(
            metric,
            y[rows],
            output[rows],
            confidence=_width(basis),
            seed=[*seed, number],
        ).get(metric[0].name)
        if now is not None:
            entry["figure"] = now.figure.rounded()
            then = basis.slice_figure(name, value, metric[0])
            if then is not None:
                may = allowed_loss(basis, metric[0], rules.tolerance)
                entry["evaluation"] = then.rounded()
                entry["loss"] = compare_with_former(
                    metric[0], now, then, surely, _width(basis), may
                ).to_json()
        found[name].append(entry)
    return found


def _width(basis: Baseline) -> float:
    return float(basis.evaluation.get("confidence", 0.95))


def degraded_slices(parts: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Column and entry of each slice that has lost more than is allowed."""
    for column, entries in parts.items():
        for entry in entries:
            if entry.get("loss", {}).get("degraded"):
                yield column, entry
