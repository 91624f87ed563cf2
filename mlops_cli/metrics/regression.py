"""Regression metrics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlops_cli.metrics.weighted import Floats, Statistic, Truth, mean, mean_where, ratio

__all__ = [
    "d2_absolute_error",
    "explained_variance",
    "gamma_deviance",
    "mae",
    "mape",
    "max_error",
    "median_absolute_error",
    "mse",
    "pinball",
    "poisson_deviance",
    "r2",
    "rmse",
    "rmsle",
]


def mse(y: Truth, prediction: Floats) -> Statistic:
    """Mean squared error."""
    return mean((y.astype(np.float64) - prediction) ** 2)


def rmse(y: Truth, prediction: Floats) -> Statistic:
    """Root of the mean squared error."""
    squared = mse(y, prediction)
    return lambda w: float(np.sqrt(squared(w)))


def mae(y: Truth, prediction: Floats) -> Statistic:
    """Mean absolute error."""
    return mean(np.abs(y.astype(np.float64) - prediction))


def mape(y: Truth, prediction: Floats) -> Statistic:
    """Mean absolute error as a share of the label; not defined if a label is 0."""
    truth = y.astype(np.float64)
    nonzero = truth != 0
    return mean_where(nonzero, np.abs(truth - prediction) / np.where(nonzero, np.abs(truth), 1.0))


def rmsle(y: Truth, prediction: Floats) -> Statistic:
    """Root mean squared error of log(1 + value); not defined if a value is -1 or less."""
    truth = y.astype(np.float64)
    valid = (truth > -1) & (prediction > -1)
    logs = [np.log1p(np.where(valid, values, 0.0)) for values in (truth, prediction)]
    squared = mean_where(valid, (logs[0] - logs[1]) ** 2)
    return lambda w: float(np.sqrt(squared(w)))


def max_error(y: Truth, prediction: Floats) -> Statistic:
    """Largest absolute error; its bootstrap interval is not useful."""
    error = np.abs(y.astype(np.float64) - prediction)
    return lambda w: float(error[w > 0].max()) if (w > 0).any() else float("nan")


def poisson_deviance(y: Truth, prediction: Floats) -> Statistic:
    """Mean Poisson deviance, for counts: labels from 0, predictions above 0."""
    truth = y.astype(np.float64)
    valid = (truth >= 0) & (prediction > 0)
    actual, predicted = np.where(valid, truth, 0.0), np.where(valid, prediction, 1.0)
    logs = np.log(np.where(actual > 0, actual, 1.0) / predicted)
    return mean_where(valid, 2 * (actual * logs - actual + predicted))


def gamma_deviance(y: Truth, prediction: Floats) -> Statistic:
    """Mean gamma deviance, for amounts: labels and predictions above 0."""
    truth = y.astype(np.float64)
    valid = (truth > 0) & (prediction > 0)
    actual, predicted = np.where(valid, truth, 1.0), np.where(valid, prediction, 1.0)
    return mean_where(valid, 2 * (np.log(predicted / actual) + actual / predicted - 1))


def pinball(quantile: float) -> Callable[[Truth, Floats], Statistic]:
    """Mean pinball loss, minimal for predictions of that quantile (Koenker and Bassett 1978)."""

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        error = y.astype(np.float64) - prediction
        return mean(np.maximum(quantile * error, (quantile - 1) * error))

    return prepare


def median_absolute_error(y: Truth, prediction: Floats) -> Statistic:
    """Weighted median of absolute errors; at exactly half the weight, the mean of both values."""
    return _median(np.abs(y.astype(np.float64) - prediction))


def d2_absolute_error(y: Truth, prediction: Floats) -> Statistic:
    """Share of the median's absolute error that is explained."""
    truth = y.astype(np.float64)
    error, centre = np.abs(truth - prediction), _median(truth)

    def statistic(w: Floats) -> float:
        spread = float((w * np.abs(truth - centre(w))).sum())
        return 1 - ratio(float((w * error).sum()), spread)

    return statistic


def r2(y: Truth, prediction: Floats) -> Statistic:
    """Share of the variance that is explained; not defined if all labels are equal."""
    truth = y.astype(np.float64)
    squared = (truth - prediction) ** 2
    return lambda w: 1 - ratio(float((w * squared).sum()), _spread(truth, w))


def explained_variance(y: Truth, prediction: Floats) -> Statistic:
    """Share of the variance that is explained, after the mean error is subtracted."""
    truth = y.astype(np.float64)
    error = truth - prediction
    return lambda w: 1 - ratio(_spread(error, w), _spread(truth, w))


def _spread(values: Floats, w: Floats) -> float:
    centre = ratio(float((w * values).sum()), float(w.sum()))
    return float((w * (values - centre) ** 2).sum())


def _median(values: Floats) -> Statistic:
    order = np.argsort(values, kind="stable")
    values = values[order]

    def statistic(w: Floats) -> float:
        counts = w[order] > 0
        if not counts.any():
            return float("nan")
        ordered, sums = values[counts], np.cumsum(w[order][counts])
        half = sums[-1] / 2
        low, high = np.searchsorted(sums, half, "left"), np.searchsorted(sums, half, "right")
        return float((ordered[low] + ordered[min(high, len(ordered) - 1)]) / 2)

    return statistic
