"""Greedy ensemble selection on validation predictions (Caruana et al. 2004)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.training.cv_scorer import CvScorer

__all__ = ["select"]

_STEPS = 25
_MIN_GAIN = 1e-6
"""Minimum relative gain; a smaller one is a rounding error."""


def select(
    predictions: Sequence[npt.NDArray[np.floating[Any]]],
    costs: Sequence[float],
    scorer: CvScorer,
    *,
    max_members: int,
    max_cost: float,
) -> dict[int, float]:
    """Add the model that improves the mean prediction most, repeatedly and with replacement.

    The method is that of R. Caruana et al., "Ensemble selection from libraries of models", ICML
    2004. It starts with the best single model, and returns the step with the best mean.

    Parameters
    ----------
    predictions
        Predictions of each model for the same validation rows, the best model first.
    costs
        Prediction time that each model adds.
    scorer
        Scorer of the mean prediction.
    max_members
        Maximum number of different models.
    max_cost
        Maximum total cost; the first model is included whatever its cost.

    Returns
    -------
    dict of int to float
        Index of a model -> its weight. Weights are positive and sum to 1.
    """
    counts = {0: 1}
    total = np.array(predictions[0], dtype=np.float64)
    best, best_counts = scorer.gain(total), dict(counts)
    for step in range(2, _STEPS + 1):
        models = range(len(predictions))
        allowed = [
            i for i in models if i in counts or _is_allowed(i, counts, costs, max_members, max_cost)
        ]
        gains = [scorer.gain((total + predictions[i]) / step) for i in allowed]
        chosen = int(np.argmax(gains))
        number = allowed[chosen]
        counts[number] = counts.get(number, 0) + 1
        total += predictions[number]
        if gains[chosen] > best + _MIN_GAIN * abs(best):
            best, best_counts = gains[chosen], dict(counts)
    steps = sum(best_counts.values())
    return {
        i: best_counts[i] / steps for i in sorted(best_counts, key=lambda i: (-best_counts[i], i))
    }


def _is_allowed(
    number: int, counts: dict[int, int], costs: Sequence[float], max_members: int, max_cost: float
) -> bool:
    return len(counts) < max_members and sum(costs[i] for i in counts) + costs[number] <= max_cost
