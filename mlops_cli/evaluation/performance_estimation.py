"""Performance where labels haven't come, as far as the predictions themselves tell.

Classes: confidence-based estimation (J. Bialek, W. Kuberski, N. Perrakis and A. Bifet, "Estimating
Model Performance Under Covariate Shift Without Labels", 2024, arXiv 2401.08348). If probabilities
are right, a row is of each class with that class's probability; a metric over the rows, each
standing once for every class with its probability as weight, is what is to be expected. It holds
while what the features say of the label stays as it was: a change of that is not seen.

How much it may be off for that reason is taken from the evaluation: there, parts of time are
estimated without their labels, and by how much the errors scatter beyond chance is kept.

Values: the mean error that went with such predicted values in the evaluation, after the idea of
direct loss estimation (NannyML), with the predicted value as the only feature.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from mlops_cli.evaluation.reliability import expected_error, recalibrate
from mlops_cli.metrics.bootstrap import Interval, percentile_interval
from mlops_cli.metrics.catalog import Metric
from mlops_cli.metrics.weighted import Floats, Truth

__all__ = [
    "LEAST_ROWS",
    "PARTS",
    "BacktestedEstimate",
    "Estimate",
    "estimate_metrics",
    "expected_metric",
    "validate_estimates",
]

PARTS = 8
"""An evaluation is cut into so many."""
_LEAST = 200
"""Rows of a part."""
LEAST_ROWS = 2 * _LEAST
"""Of an evaluation that can tell how far off estimates are: of one part there is no scatter."""
_DRAWS = 100
_ROWS = 20_000
"""At most so many rows are drawn from, for intervals."""
_CELLS = 4_000_000
"""At most so many weights: of more rows times classes, some rows are drawn."""
_ERRORS = {"mae": "absolute", "mse": "squared", "rmse": "squared"}


@dataclass(frozen=True)
class Estimate:
    """An expected figure.

    Attributes
    ----------
    figure
        With the interval in which the realised one should lie.
    chance
        Standard error if probabilities are right: labels are drawn from them. The rows are as
        they are.
    """

    figure: Interval
    chance: float

    def widened(self, more: float, parts: int, confidence: float) -> Estimate:
        """With a further standard error, measured on so many ``parts`` (``BacktestedEstimate``)."""
        normal = NormalDist().inv_cdf((1 + confidence) / 2)
        figure, own = self.figure, self.chance * normal
        add = math.hypot(own, more * _student(normal, parts)) - own
        return Estimate(Interval(figure.value, figure.low - add, figure.high + add), self.chance)


def _student(z: float, freedom: int) -> float:
    """Student's quantile from the normal one, by Cornish and Fisher's expansion."""
    first = (z**3 + z) / (4 * freedom)
    return z + first + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


@dataclass(frozen=True)
class BacktestedEstimate:
    """How an estimate did where the truth is known.

    Attributes
    ----------
    realised, expected
        On all rows.
    scatter
        Standard deviation of the errors of single parts, beyond what chance would give.
    parts
        How many parts, of equal numbers of rows in order of time.
    """

    realised: float
    expected: float
    scatter: float
    parts: int

    @property
    def error(self) -> float:
        """Expected less realised."""
        return self.expected - self.realised

    def to_json(self) -> dict[str, float]:
        """As plain values."""
        return {k: round(v, 6) for k, v in vars(self).items()}

    def spread(self, lengths: float) -> float:
        """Standard error of an estimate for a window that is so many parts long.

        What is off in one part isn't in the next, so it evens out with the root of their number.
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
    """Expect metrics of predictions without labels; what can't be expected isn't there.

    Parameters
    ----------
    metrics
        Of the task.
    prediction
        Probabilities (n, k), or values (n,); n above 0.
    curves
        What came true in the evaluation (``reliability.curves_of``); without them probabilities
        are believed as they are, and nothing can be said of values.
    draws
        For the interval.
    """
    rng = np.random.default_rng(seed)
    if prediction.ndim == 1:
        return _of_values(metrics, prediction, curves, confidence, rng, draws)
    n, k = prediction.shape
    most = max(_CELLS // k, 1)
    if n > most:
        prediction = prediction[np.sort(rng.choice(n, most, replace=False))]
    p = recalibrate(prediction, curves)
    whole = {m.name: expected_metric(m, prediction, p) for m in metrics}
    few = np.arange(len(p))
    if len(p) > _ROWS:
        few = np.sort(rng.choice(len(p), _ROWS, replace=False))
    some = {m.name: expected_metric(m, prediction[few], p[few]) for m in metrics}
    drawn = _drawn(metrics, prediction[few], p[few], rng, draws)
    shrink = float(np.sqrt(len(few) / n))
    found = {}
    for m, column in zip(metrics, drawn.T, strict=True):
        around = whole[m.name] + (column - some[m.name]) * shrink
        interval = percentile_interval(whole[m.name], around, confidence)
        if interval.defined:
            found[m.name] = Estimate(interval, float(np.nanstd(around)))
    return found


def validate_estimates(
    metrics: Sequence[Metric],
    y: Truth,
    prediction: Floats,
    curves: Sequence[Mapping[str, Any]],
    *,
    seed: int | Sequence[int],
) -> dict[str, BacktestedEstimate]:
    """Estimate rows whose truth is known, as a whole and in parts; see ``estimate_metrics``.

    Parameters
    ----------
    y
        Class codes or values, (n,), in order of time.
    """
    if len(y) < LEAST_ROWS:
        return {}
    count = min(PARTS, len(y) // _LEAST)
    every = [np.arange(len(y)), *np.array_split(np.arange(len(y)), count)]
    guesses = [
        estimate_metrics(metrics, prediction[rows], curves, confidence=0.95, seed=seed, draws=50)
        for rows in every
    ]
    found = {}
    for m in metrics:
        real = [m(y[rows], prediction[rows]) for rows in every]
        both = [
            (guess[m.name], figure)
            for guess, figure in zip(guesses, real, strict=True)
            if m.name in guess and not math.isnan(figure)
        ]
        if len(both) < len(every):
            continue
        errors = np.array([guess.figure.value - figure for guess, figure in both])
        chance = np.mean([guess.chance**2 for guess, _ in both[1:]])
        # Around nothing, not around their mean: an estimate that is always too high is off.
        scatter = math.sqrt(max(float(np.mean(errors[1:] ** 2) - chance), 0.0))
        found[m.name] = BacktestedEstimate(real[0], both[0][0].figure.value, scatter, count)
    return found


def expected_metric(metric: Metric, prediction: Floats, p: Floats) -> float:
    """Expect a metric of predictions (n, k) if their probabilities are ``p`` (n, k)."""
    n, k = p.shape
    truth, rows = np.tile(np.arange(k), n), np.repeat(prediction, k, axis=0)
    return metric.prepare(truth, rows)(p.ravel())


def _drawn(
    metrics: Sequence[Metric], prediction: Floats, p: Floats, rng: np.random.Generator, draws: int
) -> Floats:
    """Metrics (draws, metrics) of labels drawn by their probabilities."""
    n, k = p.shape
    truth, rows = np.tile(np.arange(k), n), np.repeat(prediction, k, axis=0)
    statistics = [m.prepare(truth, rows) for m in metrics]
    steps = p.cumsum(axis=1)
    steps /= steps[:, -1:]
    drawn = np.empty((draws, len(metrics)))
    for i in range(draws):
        label = (rng.random((n, 1)) > steps).sum(axis=1)
        weights = np.zeros((n, k))
        weights[np.arange(n), label] = 1.0
        drawn[i] = [statistic(weights.ravel()) for statistic in statistics]
    return drawn


def _of_values(
    metrics: Sequence[Metric],
    prediction: Floats,
    curves: Sequence[Mapping[str, Any]],
    confidence: float,
    rng: np.random.Generator,
    draws: int,
) -> dict[str, Estimate]:
    found = {}
    for m in metrics:
        if m.name not in _ERRORS or not curves:
            continue
        terms = expected_error(prediction, curves, _ERRORS[m.name])
        spread = _spread(prediction, curves, _ERRORS[m.name])
        # What is expected was measured on rows that scattered as well.
        known = sum(point["rows"] for point in curves[0]["points"])
        noise = rng.normal(0, spread * np.sqrt(1 / len(terms) + 1 / known), draws)
        means = np.maximum(terms.mean() + noise, 0.0)
        root = np.sqrt if m.name == "rmse" else np.asarray
        interval = percentile_interval(float(root(terms.mean())), root(means), confidence)
        found[m.name] = Estimate(interval, float(np.std(root(means))))
    return found


def _spread(prediction: Floats, curves: Sequence[Mapping[str, Any]], which: str) -> float:
    """The standard deviation of single errors around what is expected of them."""
    squared = expected_error(prediction, curves, "squared")
    if which == "absolute":
        absolute = expected_error(prediction, curves, "absolute")
        return float(np.sqrt(np.maximum(squared - absolute**2, 0).mean()))
    # Squared errors of a normal distribution scatter by the root of two times their mean.
    return float(np.sqrt(2 * (squared**2).mean()))
