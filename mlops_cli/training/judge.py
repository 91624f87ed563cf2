"""The metric by which the search compares predictions: the mean over the folds."""

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
    """The metric of a prediction for all deciding rows: the mean over the folds' parts.

    Parameters
    ----------
    metric
        By what to judge.
    y
        Truth of the deciding rows, (n,).
    parts
        The positions in ``y`` of each fold's rows.
    weight
        How much each row counts, (n,); by default once.
    """

    metric: Metric
    y: Truth
    parts: tuple[Ids | slice, ...]
    weight: Floats | None = None

    def __call__(self, prediction: Floats) -> float:
        """The metric's value, NaN where it isn't defined at all."""
        values = [self._of(prediction, part) for part in self.parts]
        if len(values) > 1 and not np.isfinite(values).all():
            # A fold may lack a class; together they have all.
            return self._of(prediction, slice(None))
        return float(np.mean(values))

    def gain(self, prediction: Floats) -> float:
        """The value with the sign that makes larger better; the worst of all where undefined."""
        value = self(prediction)
        if not np.isfinite(value):
            return -np.inf
        return value if self.metric.maximise else -value

    def _of(self, prediction: Floats, part: Ids | slice) -> float:
        weight = None if self.weight is None else self.weight[part]
        return float(self.metric(self.y[part], prediction[part], weight))
