"""Confidence intervals by the percentile bootstrap.

B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. A resample of n
rows with replacement is a vector of n counts, so a metric that takes weights needs no copies of
the rows. Predictions are compared on the same resamples (paired): the interval of a difference
doesn't contain the noise that both have in common.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlops_cli.metrics.catalog import Floats, Metric, Statistic, Truth

__all__ = ["Bootstrap", "Comparison", "Interval", "compare", "draw", "percentile_interval"]


@dataclass(frozen=True)
class Bootstrap:
    """Settings of a bootstrap interval: number of resamples, confidence (such as 0.95), seed."""

    resamples: int
    confidence: float
    seed: int | Sequence[int]


@dataclass(frozen=True)
class Interval:
    """A figure with its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def defined(self) -> bool:
        """Whether all three are numbers."""
        return not any(math.isnan(x) for x in (self.value, self.low, self.high))

    def to_json(self, digits: int = 6) -> dict[str, float]:
        """Give ``{value, low, high}`` for a report."""
        # Adding zero turns -0.0 into 0.0.
        return {k: round(v, digits) + 0.0 for k, v in vars(self).items()}


@dataclass(frozen=True)
class Comparison:
    """Result of ``compare`` by prediction and metric, without undefined figures.

    Attributes
    ----------
    figures
        Prediction -> metric -> interval.
    gains
        Other prediction -> metric -> interval of the first prediction's gain over it.
    """

    figures: Mapping[str, Mapping[str, Interval]]
    gains: Mapping[str, Mapping[str, Interval]]


def draw(
    statistics: Sequence[Statistic],
    rows: int,
    *,
    resamples: int,
    seed: int | Sequence[int],
    weights: Floats | None = None,
    report: Callable[[int], None] | None = None,
) -> Floats:
    """Evaluate statistics on the same bootstrap resamples.

    Parameters
    ----------
    statistics
        Functions of weights (rows,).
    rows
        Number of rows, also of each resample.
    resamples
        Number of resamples.
    seed
        The same seed gives the same resamples.
    weights
        Weight of each row, whenever it is drawn, (rows,); by default 1.
    report
        Called with the number of resamples done.

    Returns
    -------
    numpy.ndarray
        (resamples, statistics); NaN where a statistic isn't defined on a resample.
    """
    rng = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(statistics)))
    for i in range(resamples):
        counts = np.bincount(rng.integers(0, rows, rows), minlength=rows).astype(np.float64)
        if weights is not None:
            counts *= weights
        drawn[i] = [statistic(counts) for statistic in statistics]
        if report is not None:
            report(i + 1)
    return drawn


def percentile_interval(value: float, resampled: Floats, confidence: float) -> Interval:
    """Compute the central ``confidence`` interval of resampled values (resamples,), without NaN."""
    defined = resampled[~np.isnan(resampled)]
    if not len(defined):
        return Interval(value, math.nan, math.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def compare(
    metrics: Sequence[Metric],
    y: Truth,
    predictions: Mapping[str, Floats],
    bootstrap: Bootstrap,
    *,
    weights: Floats | None = None,
    report: Callable[[int], None] | None = None,
) -> Comparison:
    """Compute metrics of predictions, and the gain of the first one over each other one.

    Parameters
    ----------
    metrics
        Metrics to compute.
    y
        Labels of the rows, (n,) with n above 0.
    predictions
        Predictions of the same rows by name, each (n,) or (n, classes).
    weights, report
        See ``draw``.
    """
    statistics = {
        (name, m.name): m.prepare(y, prediction)
        for name, prediction in predictions.items()
        for m in metrics
    }
    row_weights = np.ones(len(y)) if weights is None else weights
    values = {key: statistic(row_weights) for key, statistic in statistics.items()}
    table = draw(
        list(statistics.values()),
        len(y),
        resamples=bootstrap.resamples,
        seed=bootstrap.seed,
        weights=weights,
        report=report,
    )
    drawn = dict(zip(statistics, table.T, strict=True))

    def figure(name: str, metric: Metric) -> Interval:
        key = (name, metric.name)
        return percentile_interval(values[key], drawn[key], bootstrap.confidence)

    def gain(name: str, metric: Metric) -> Interval:
        ours, theirs = (first, metric.name), (name, metric.name)
        sign = 1 if metric.maximise else -1
        value, differences = values[ours] - values[theirs], drawn[ours] - drawn[theirs]
        return percentile_interval(sign * value, sign * differences, bootstrap.confidence)

    def keep_defined(
        name: str, make_interval: Callable[[str, Metric], Interval]
    ) -> dict[str, Interval]:
        intervals = {m.name: make_interval(name, m) for m in metrics}
        return {k: v for k, v in intervals.items() if v.defined}

    first, *others = predictions
    return Comparison(
        {name: keep_defined(name, figure) for name in predictions},
        {name: keep_defined(name, gain) for name in others},
    )
