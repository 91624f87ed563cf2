"""Scorer with which the search compares predictions: a metric's mean over the folds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mlops_cli.metrics.catalog import Floats, Metric, Truth

    Ids = npt.NDArray[np.int64]

__all__ = ["CvScorer"]


@dataclass(frozen=True)
class CvScorer:
    """Scores a prediction for all validation rows: the mean of the metric over the folds.

    Parameters
    ----------
    metric
        The metric.
    y
        Labels of the validation rows, (n,).
    fold_rows
        Positions in ``y`` of each fold's validation rows.
    weight
        Weight of each row, (n,); None: all rows count the same.
    """

    metric: Metric
    y: Truth
    fold_rows: tuple[Ids | slice, ...]
    weight: Floats | None = None

    def __call__(self, prediction: Floats) -> float:
        """The metric's value; NaN if it isn't defined."""
        values = [self._score_part(prediction, part) for part in self.fold_rows]
        if len(values) > 1 and not np.isfinite(values).all():
            # A fold may lack a class, but all folds together have every class.
            return self._score_part(prediction, slice(None))
        return float(np.mean(values))

    def gain(self, prediction: Floats) -> float:
        """The metric's value with larger being better; minus infinity if it isn't defined."""
        value = self(prediction)
        if not np.isfinite(value):
            return -np.inf
        return value if self.metric.maximise else -value

    def _score_part(self, prediction: Floats, part: Ids | slice) -> float:
        weight = None if self.weight is None else self.weight[part]
        return float(self.metric(self.y[part], prediction[part], weight))
