"""Decision threshold with the lowest cost of errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mlops_cli.params.task import Cost

__all__ = ["best_threshold"]


def best_threshold(y: npt.NDArray[Any], p: npt.NDArray[np.float64], cost: Cost) -> float:
    """Find the threshold in [0, 1] with the lowest cost; it and above mean positive.

    Among equally cheap thresholds, the one nearest to ``fp / (fp + fn)`` is chosen, the optimum
    for perfectly calibrated probabilities (Elkan 2001). If that one isn't among them, the
    threshold lies halfway between two adjacent probabilities.

    Parameters
    ----------
    y
        Class codes (n,), 1 is positive.
    p
        Probability of the positive class (n,).
    cost
        Cost of each kind of error.
    """
    ideal = 0.5
    if cost.false_positive + cost.false_negative > 0:
        ideal = cost.false_positive / (cost.false_positive + cost.false_negative)
    values, group = np.unique(p, return_inverse=True)
    positives = np.bincount(group, weights=(y == 1), minlength=len(values))
    negatives = np.bincount(group, weights=(y != 1), minlength=len(values))
    # At cut i, the groups from i on are decided positive; at the last cut, none is.
    false_negatives = np.concatenate([[0.0], np.cumsum(positives)])
    false_positives = negatives.sum() - np.concatenate([[0.0], np.cumsum(negatives)])
    costs = cost.false_positive * false_positives + cost.false_negative * false_negatives
    edges = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [(values[-1] + 1.0) / 2]])
    if values[-1] >= 1.0:
        costs = costs[:-1]  # no threshold in [0, 1] is above a probability of 1
        edges = edges[:-1]
    cheapest = np.flatnonzero(costs == costs.min())
    lower, upper = _threshold_ranges(values, cheapest)
    # All thresholds of a cut decide the same, so the ideal itself is taken if it lies in one.
    containing = cheapest[(lower < ideal) & (ideal <= upper)]
    if len(containing):
        return float(ideal)
    return float(edges[cheapest[np.argmin(np.abs(edges[cheapest] - ideal))]])


def _threshold_ranges(
    values: npt.NDArray[np.float64], cuts: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Compute the thresholds of each cut, as a half-open interval (low, high]."""
    ends = np.concatenate([[-1.0], values, [1.0]])
    return ends[cuts], ends[cuts + 1]
