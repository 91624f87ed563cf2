"""Metrics of predicted values."""

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
    """Mean absolute error as a share of the truth; not defined where a truth is 0."""
    truth = y.astype(np.float64)
    known = truth != 0
    return mean_where(known, np.abs(truth - prediction) / np.where(known, np.abs(truth), 1.0))


def rmsle(y: Truth, prediction: Floats) -> Statistic:
    """Root mean squared error of log(1 + value); not defined where one is -1 or less."""
    truth = y.astype(np.float64)
    valid = (truth > -1) & (prediction > -1)
    logs = [np.log1p(np.where(valid, values, 0.0)) for values in (truth, prediction)]
    squared = mean_where(valid, (logs[0] - logs[1]) ** 2)
    return lambda w: float(np.sqrt(squared(w)))


def max_error(y: Truth, prediction: Floats) -> Statistic:
    """The largest absolute error; it has no useful interval."""
    error = np.abs(y.astype(np.float64) - prediction)
    return lambda w: float(error[w > 0].max()) if (w > 0).any() else float("nan")


def poisson_deviance(y: Truth, prediction: Floats) -> Statistic:
    """Mean Poisson deviance, for counts: truth from 0, prediction above 0."""
    truth = y.astype(np.float64)
    valid = (truth >= 0) & (prediction > 0)
    seen, given = np.where(valid, truth, 0.0), np.where(valid, prediction, 1.0)
    logs = np.log(np.where(seen > 0, seen, 1.0) / given)
    return mean_where(valid, 2 * (seen * logs - seen + given))


def gamma_deviance(y: Truth, prediction: Floats) -> Statistic:
    """Mean gamma deviance, for amounts: truth and prediction above 0."""
    truth = y.astype(np.float64)
    valid = (truth > 0) & (prediction > 0)
    seen, given = np.where(valid, truth, 1.0), np.where(valid, prediction, 1.0)
    return mean_where(valid, 2 * (np.log(given / seen) + seen / given - 1))


def pinball(quantile: float) -> Callable[[Truth, Floats], Statistic]:
    """Mean pinball loss: least for the prediction of that quantile (Koenker and Bassett 1978)."""

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        error = y.astype(np.float64) - prediction
        return mean(np.maximum(quantile * error, (quantile - 1) * error))

    return prepare


def median_absolute_error(y: Truth, prediction: Floats) -> Statistic:
    """Weighted median: where the cumulated weight is just half, the mean of both neighbours."""
    return _median(np.abs(y.astype(np.float64) - prediction))


def d2_absolute_error(y: Truth, prediction: Floats) -> Statistic:
    """Share of the absolute error of the median that is explained."""
    truth = y.astype(np.float64)
    error, centre = np.abs(truth - prediction), _median(truth)

    def statistic(w: Floats) -> float:
        spread = float((w * np.abs(truth - centre(w))).sum())
        return 1 - ratio(float((w * error).sum()), spread)

    return statistic


def r2(y: Truth, prediction: Floats) -> Statistic:
    """Share of the variance explained; not defined where the truth doesn't vary."""
    truth = y.astype(np.float64)
    squared = (truth - prediction) ** 2
    return lambda w: 1 - ratio(float((w * squared).sum()), _spread(truth, w))


def explained_variance(y: Truth, prediction: Floats) -> Statistic:
    """The same after the mean error is taken off."""
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
        held = w[order] > 0
        if not held.any():
            return float("nan")
        there, below = values[held], np.cumsum(w[order][held])
        half = below[-1] / 2
        low, high = np.searchsorted(below, half, "left"), np.searchsorted(below, half, "right")
        return float((there[low] + there[min(high, len(there) - 1)]) / 2)

    return statistic
