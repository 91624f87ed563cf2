"""Per-row losses that correspond to each metric, for comparisons of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.metrics.catalog import BEST_BY_MEDIAN
from mlops_cli.metrics.classification import decide

if TYPE_CHECKING:
    from mlops_cli.metrics.weighted import Floats, Truth

__all__ = ["row_losses"]

_DECISIONS = ("accuracy", "balanced_accuracy", "f1", "precision", "recall", "jaccard")


def row_losses(metric: str, y: Truth, prediction: Floats) -> tuple[str, Floats]:
    """Compute the loss of each row, (n,), for a metric; return the loss's name, too.

    If the metric is a mean over rows, the losses are its terms. Otherwise they are the log loss,
    or for regression the squared error.
    """
    if prediction.ndim == 1:
        error = y.astype(np.float64) - prediction
        if metric in BEST_BY_MEDIAN:
            return "absolute error", np.abs(error)
        return "squared error", error**2
    codes = y.astype(np.intp)
    if metric.startswith(_DECISIONS):
        return "wrong decisions", (decide(prediction) != codes).astype(np.float64)
    if metric == "brier":
        is_true_class = codes[:, None] == np.arange(prediction.shape[1])
        return "squared error", ((prediction - is_true_class) ** 2).sum(axis=1)
    eps = np.finfo(np.float64).eps
    chosen = prediction[np.arange(len(codes)), codes]
    return "log loss", -np.log(np.clip(chosen, eps, 1 - eps))
