"""Performance estimation without labels, from the predictions alone.

Classification: confidence-based estimation (J. Bialek, W. Kuberski, N. Perrakis and A. Bifet,
"Estimating Model Performance Under Covariate Shift Without Labels", 2024, arXiv 2401.08348). If
probabilities are right, a row is of each class with that class's probability. So the expected
metric is the metric over rows that are repeated once for each class, with its probability as
weight. The estimate is valid under covariate shift; it doesn't see concept drift (a change in how
the label depends on the features).

How far estimates are off beyond chance is measured by the evaluation: it estimates consecutive
parts of the test rows without their labels, and keeps the scatter of the errors.

Regression: the mean error that went with such predicted values in the evaluation, after the idea
of direct loss estimation (NannyML), with the predicted value as the only feature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops_cli.evaluation.reliability import expected_error, recalibrate
from mlops_cli.metrics.bootstrap import Interval, percentile_interval
from mlops_cli.metrics.catalog import Metric
from mlops_cli.metrics.weighted import Floats, Truth

__all__ = [
    "MAX_PARTS",
    "MIN_ROWS",
    "BacktestedEstimate",
    "Estimate",
    "estimate_metrics",
    "expected_metric",
    "validate_estimates",
]

MAX_PARTS = 8
"""Maximum parts into which the rows of an evaluation are cut."""
_PART_ROWS = 200
"""Minimum rows of a part."""
MIN_ROWS = 2 * _PART_ROWS
"""Minimum rows to validate estimates: a single part has no scatter."""
_DRAWS = 100
"""Number of resamples of the labels."""
_MAX_ROWS = 20_000
"""Maximum rows that are resampled, for intervals."""
_MAX_CELLS = 4_000_000
"""Maximum rows times classes; more rows are sampled."""
_ERRORS = {"mae": "absolute", "mse": "squared", "rmse": "squared"}


@dataclass(frozen=True)
class Estimate:
    """Estimate of a metric.

    Attributes
    ----------
    interval
        Expected value, and the interval in which the realised value should lie.
    sampling_error
        Standard error of the realised value if probabilities are right. Labels are resampled by
        their probabilities; the rows are fixed.
    """

    interval: Interval
    sampling_error: float

    def widen(self, standard_error: float, parts: int, confidence: float) -> Estimate:
        """Widen the interval by a standard error that was measured on ``parts`` parts."""
        from scipy.special import ndtri, stdtrit

        level = (1 + confidence) / 2
        interval, own_error = self.interval, self.sampling_error * float(ndtri(level))
        margin = math.hypot(own_error, standard_error * float(stdtrit(parts, level))) - own_error
        return Estimate(
            Interval(interval.value, interval.low - margin, interval.high + margin),
            self.sampling_error,
        )


@dataclass(frozen=True)
class BacktestedEstimate:
    """Accuracy of an estimate where labels are known.

    Attributes
    ----------
    realised, expected
        Metric on all rows, and its estimate.
    scatter
        Standard deviation of the errors of single parts, beyond that of chance.
    parts
        Number of parts, with equal numbers of rows in order of time.
    """

    realised: float
    expected: float
    scatter: float
    parts: int

    @property
    def error(self) -> float:
        """Expected minus realised value."""
        return self.expected - self.realised

    def to_json(self) -> dict[str, float]:
        """Convert to plain values."""
        return {k: round(v, 6) for k, v in vars(self).items()}

    def standard_error(self, lengths: float) -> float:
        """Standard error of an estimate for a window of ``lengths`` times the rows of a part.

        Errors of different parts count as independent, so they average out with the root of
        their number.
        """
        return self.scatter / math.sqrt(max(lengths, 1.0))


def estimate_metrics(
    metrics: Sequence[Metric],
    prediction: Floats,
    curves: Sequence[Mapping[str, Any]],
    *,
    confidence: float,
    seed: int | Sequence[int],
    draws: int = _DRAWS,
) -> dict[str, Estimate]:
    """Estimate metrics of predictions without labels; those that can't be estimated are left out.

    Parameters
    ----------
    metrics
        Metrics of the task.
    prediction
        Probabilities (n, k), or values (n,); n above 0.
    curves
        Reliability curves of the evaluation (``reliability.reliability_curves``). Without them,
        probabilities are taken as they are, and regression metrics can't be estimated.
    draws
        Number of resamples for the interval.
    """
    rng = np.random.default_rng(seed)
    if prediction.ndim == 1:
        return _estimate_errors(metrics, prediction, curves, confidence, rng, draws)
    n, k = prediction.shape
    max_rows = max(_MAX_CELLS // k, 1)
    if n > max_rows:
        prediction = prediction[np.sort(rng.choice(n, max_rows, replace=False))]
    p = recalibrate(prediction, curves)
    expected = {m.name: expected_metric(m, prediction, p) for m in metrics}
    sample = np.arange(len(p))
    if len(p) > _MAX_ROWS:
        sample = np.sort(rng.choice(len(p), _MAX_ROWS, replace=False))
    sample_expected = {m.name: expected_metric(m, prediction[sample], p[sample]) for m in metrics}
    resampled = _resample_metrics(metrics, prediction[sample], p[sample], rng, draws)
    shrink = float(np.sqrt(len(sample) / n))
    estimates = {}
    for m, column in zip(metrics, resampled.T, strict=True):
        distribution = expected[m.name] + (column - sample_expected[m.name]) * shrink
        interval = percentile_interval(expected[m.name], distribution, confidence)
        if interval.defined:
            estimates[m.name] = Estimate(interval, float(np.nanstd(distribution)))
    return estimates


def validate_estimates(
    metrics: Sequence[Metric],
    y: Truth,
    prediction: Floats,
    curves: Sequence[Mapping[str, Any]],
    *,
    seed: int | Sequence[int],
) -> dict[str, BacktestedEstimate]:
    """Validate estimates on labelled rows, on all and in parts; see ``estimate_metrics``.

    Parameters
    ----------
    y
        Class codes or values, (n,), in order of time.
    """
    if len(y) < MIN_ROWS:
        return {}
    count = min(MAX_PARTS, len(y) // _PART_ROWS)
    row_sets = [np.arange(len(y)), *np.array_split(np.arange(len(y)), count)]
    estimates = [
        estimate_metrics(metrics, prediction[rows], curves, confidence=0.95, seed=seed, draws=50)
        for rows in row_sets
    ]
    results = {}
    for m in metrics:
        realised = [m(y[rows], prediction[rows]) for rows in row_sets]
        pairs = [
            (estimate[m.name], figure)
            for estimate, figure in zip(estimates, realised, strict=True)
            if m.name in estimate and not math.isnan(figure)
        ]
        if len(pairs) < len(row_sets):
            continue
        errors = np.array([estimate.interval.value - figure for estimate, figure in pairs])
        chance = np.mean([estimate.sampling_error**2 for estimate, _ in pairs[1:]])
        # Around zero, not around their mean: an estimate that is always too high is off, too.
        scatter = math.sqrt(max(float(np.mean(errors[1:] ** 2) - chance), 0.0))
        results[m.name] = BacktestedEstimate(
            realised[0], pairs[0][0].interval.value, scatter, count
        )
    return results


def expected_metric(metric: Metric, prediction: Floats, p: Floats) -> float:
    """Compute the expected metric of predictions (n, k) if probabilities are ``p`` (n, k)."""
    n, k = p.shape
    labels, repeated = np.tile(np.arange(k), n), np.repeat(prediction, k, axis=0)
    return metric.prepare(labels, repeated)(p.ravel())


def _resample_metrics(
    metrics: Sequence[Metric], prediction: Floats, p: Floats, rng: np.random.Generator, draws: int
) -> Floats:
    """Compute metrics (draws, metrics) of labels that are drawn by their probabilities."""
    n, k = p.shape
    labels, repeated = np.tile(np.arange(k), n), np.repeat(prediction, k, axis=0)
    statistics = [m.prepare(labels, repeated) for m in metrics]
    cumulative = p.cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    resampled = np.empty((draws, len(metrics)))
    for i in range(draws):
        code = (rng.random((n, 1)) > cumulative).sum(axis=1)
        weights = np.zeros((n, k))
        weights[np.arange(n), code] = 1.0
        resampled[i] = [statistic(weights.ravel()) for statistic in statistics]
    return resampled


def _estimate_errors(
    metrics: Sequence[Metric],
    prediction: Floats,
    curves: Sequence[Mapping[str, Any]],
    confidence: float,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Estimate]:
    estimates = {}
    for m in metrics:
        if m.name not in _ERRORS or not curves:
            continue
        errors = expected_error(prediction, curves, _ERRORS[m.name])
        deviation = _error_deviation(prediction, curves, _ERRORS[m.name])
        # The expected error is itself a mean over the rows of the evaluation, with its own noise.
        evaluated_rows = sum(point["rows"] for point in curves[0]["points"])
        noise = rng.normal(0, deviation * np.sqrt(1 / len(errors) + 1 / evaluated_rows), draws)
        means = np.maximum(errors.mean() + noise, 0.0)
        root = np.sqrt if m.name == "rmse" else np.asarray
        interval = percentile_interval(float(root(errors.mean())), root(means), confidence)
        estimates[m.name] = Estimate(interval, float(np.std(root(means))))
    return estimates


def _error_deviation(
    prediction: Floats, curves: Sequence[Mapping[str, Any]], error_kind: str
) -> float:
    """Estimate the standard deviation of single errors around the expected error."""
    squared = expected_error(prediction, curves, "squared")
    if error_kind == "absolute":
        absolute = expected_error(prediction, curves, "absolute")
        return float(np.sqrt(np.maximum(squared - absolute**2, 0).mean()))
    # The squared error of a normal distribution has a variance of two times its squared mean.
    return float(np.sqrt(2 * (squared**2).mean()))
