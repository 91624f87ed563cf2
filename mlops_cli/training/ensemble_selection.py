"""Which models together: greedy selection over predictions that none of them was taught by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.training.judge import CvScorer

__all__ = ["select"]

_STEPS = 25
_LEAST_GAIN = 1e-6
"""A smaller relative gain is rounding, not a better ensemble."""


def select(
    predictions: Sequence[npt.NDArray[np.floating[Any]]],
    costs: Sequence[float],
    judge: CvScorer,
    *,
    members: int,
    cost: float,
) -> dict[int, float]:
    """Add the model that makes the mean best, again and again, with replacement.

    R. Caruana et al., "Ensemble selection from libraries of models", ICML 2004. It begins with
    the best single model, and keeps the step at which the mean was best.

    Parameters
    ----------
    predictions
        Of each model for the same rows, the best model first.
    costs
        What each model adds to the time of a prediction.
    judge
        By what a mean is judged.
    members
        The most different models.
    cost
        The most that they may cost together; the first model is taken whatever it costs.

    Returns
    -------
    dict of int to float
        Number of a model -> its weight; weights are positive and sum to 1.
    """
    counts = {0: 1}
    total = np.array(predictions[0], dtype=np.float64)
    best, kept = judge.gain(total), dict(counts)
    for step in range(2, _STEPS + 1):
        models = range(len(predictions))
        open_to = [i for i in models if i in counts or _fits(i, counts, costs, members, cost)]
        gains = [judge.gain((total + predictions[i]) / step) for i in open_to]
        chosen = int(np.argmax(gains))
        number = open_to[chosen]
        counts[number] = counts.get(number, 0) + 1
        total += predictions[number]
        if gains[chosen] > best + _LEAST_GAIN * abs(best):
            best, kept = gains[chosen], dict(counts)
    steps = sum(kept.values())
    return {i: kept[i] / steps for i in sorted(kept, key=lambda i: (-kept[i], i))}


def _fits(
    number: int, counts: dict[int, int], costs: Sequence[float], members: int, cost: float
) -> bool:
    return len(counts) < members and sum(costs[i] for i in counts) + costs[number] <= cost
