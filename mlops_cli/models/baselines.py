"""Baselines that a model has to beat: a constant, and a linear model with default settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.metrics.catalog import BEST_BY_MEDIAN

if TYPE_CHECKING:
    from mlops_cli.metrics.catalog import Floats, Truth
    from mlops_cli.models.families import FittedModel, TaskInfo

__all__ = ["LINEAR_ROWS", "constant", "linear"]

LINEAR_ROWS = 100_000
"""The linear baseline is fitted on a random sample of at most this number of rows: more rows hardly
change its few coefficients."""


def constant(y: Truth, classes: int, metric: str, rows: int) -> Floats:
    """Predict the same for every row: the best constant for the metric.

    Parameters
    ----------
    y
        Labels of the training rows, (n,).
    classes
        Number of classes; 0 for regression.
    metric
        For regression it decides between the mean and the median.
    rows
        Number of rows to predict.

    Returns
    -------
    numpy.ndarray
        Class shares (rows, classes), or the mean or median (rows,).
    """
    if classes:
        shares = np.bincount(y.astype(np.intp), minlength=classes) / len(y)
        return np.tile(shares, (rows, 1))
    values = y.astype(np.float64)
    centre = np.median(values) if metric in BEST_BY_MEDIAN else values.mean()
    return np.full(rows, float(centre))


def linear(X: Floats, y: Truth, task: TaskInfo, seed: int) -> FittedModel:
    """Fit the linear family with its default settings on at most ``LINEAR_ROWS`` rows.

    ``X`` is (n, features), ``y`` (n,) class codes or values.
    """
    from mlops_cli.models.families import FAMILIES, FitRequest

    if len(X) > LINEAR_ROWS:
        rows = np.random.default_rng(seed).choice(len(X), LINEAR_ROWS, replace=False)
        rows.sort()
        X, y = X[rows], y[rows]
    return FAMILIES["linear"].fit(FitRequest(X, y, task, {}, seed=seed))
