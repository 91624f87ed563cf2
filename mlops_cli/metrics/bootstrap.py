"""Confidence intervals by the percentile bootstrap.

B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13. A resample of n
rows with replacement is a vector of n counts, so a metric that takes weights needs no copies of
the rows. Predictions that share a resample's counts are compared pairwise: the interval of a
difference doesn't carry the noise that both have in common.
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
    """How an interval is drawn: so many resamples, such as 0.95 of them within it, from a seed."""

    resamples: int
    confidence: float
    seed: int | Sequence[int]


@dataclass(frozen=True)
class Interval:
    """A figure with the ends of its confidence interval."""

    value: float
    low: float
    high: float

    @property
    def defined(self) -> bool:
        """Whether all three are numbers."""
        return not any(math.isnan(x) for x in (self.value, self.low, self.high))

    def rounded(self, digits: int = 6) -> dict[str, float]:
        """Give ``{value, low, high}`` for a report."""
        # Adding zero makes -0.0 into 0.0.
        return {k: round(v, digits) + 0.0 for k, v in vars(self).items()}


@dataclass(frozen=True)
class Comparison:
    """What ``compare`` found, by prediction and metric; what isn't defined isn't there.

    Attributes
    ----------
    figures
        Prediction -> metric -> interval.
    gains
        Other prediction -> metric -> interval of how much better the first prediction is.
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
        How many rows there are, and each resample has.
    resamples
        How many resamples.
    seed
        The same seed gives the same resamples.
    weights
        What each row counts wherever it is drawn, (rows,); by default 1.
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


def percentile_interval(value: float, drawn: Floats, confidence: float) -> Interval:
    """Take the middle ``confidence`` of the resampled values, (resamples,), without NaNs."""
    there = drawn[~np.isnan(drawn)]
    if not len(there):
        return Interval(value, math.nan, math.nan)
    tail = (1 - confidence) / 2
    low, high = np.quantile(there, [tail, 1 - tail])
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
    """Judge predictions of the same rows, and the first one's gain over each other.

    Parameters
    ----------
    metrics
        What to judge by.
    y
        Truth, (n,) with n above 0.
    predictions
        By name, each (n,) or (n, classes).
    weights, report
        See ``draw``.
    """
    statistics = {
        (name, m.name): m.prepare(y, prediction)
        for name, prediction in predictions.items()
        for m in metrics
    }
    whole = np.ones(len(y)) if weights is None else weights
    values = {key: statistic(whole) for key, statistic in statistics.items()}
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
        value, apart = values[ours] - values[theirs], drawn[ours] - drawn[theirs]
        return percentile_interval(sign * value, sign * apart, bootstrap.confidence)

    def defined(name: str, of: Callable[[str, Metric], Interval]) -> dict[str, Interval]:
        found = {m.name: of(name, m) for m in metrics}
        return {k: v for k, v in found.items() if v.defined}

    first, *others = predictions
    return Comparison(
        {name: defined(name, figure) for name in predictions},
        {name: defined(name, gain) for name in others},
    )
