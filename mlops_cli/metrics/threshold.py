"""Where to put the line between yes and no, by what each kind of error costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from mlops_cli.params.modelling import Cost

__all__ = ["best_threshold"]


def best_threshold(y: npt.NDArray[Any], p: npt.NDArray[np.float64], cost: Cost) -> float:
    """The threshold in [0, 1] that costs least, deciding yes at it and above.

    Of equally cheap ones, that nearest to ``fp / (fp + fn)``, the best for perfectly calibrated
    probabilities (Elkan 2001). It stands halfway between two probabilities that were seen.

    Parameters
    ----------
    y
        Codes (n,), 1 is positive.
    p
        Probability of the positive class (n,).
    cost
        Of each kind of error.
    """
    ideal = 0.5
    if cost.false_positive + cost.false_negative > 0:
        ideal = cost.false_positive / (cost.false_positive + cost.false_negative)
    values, group = np.unique(p, return_inverse=True)
    positives = np.bincount(group, weights=(y == 1), minlength=len(values))
    negatives = np.bincount(group, weights=(y != 1), minlength=len(values))
    # At cut i, the groups from i on are decided yes; at the last cut, none is.
    missed = np.concatenate([[0.0], np.cumsum(positives)])
    false_alarms = negatives.sum() - np.concatenate([[0.0], np.cumsum(negatives)])
    costs = cost.false_positive * false_alarms + cost.false_negative * missed
    edges = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [(values[-1] + 1.0) / 2]])
    if values[-1] >= 1.0:
        costs = costs[:-1]  # nothing in [0, 1] decides no for a probability of 1
        edges = edges[:-1]
    cheapest = np.flatnonzero(costs == costs.min())
    lower, upper = _span(values, cheapest)
    # Within a cut any threshold does the same, so the ideal itself is taken if it lies in one.
    inside = cheapest[(lower < ideal) & (ideal <= upper)]
    if len(inside):
        return float(ideal)
    return float(edges[cheapest[np.argmin(np.abs(edges[cheapest] - ideal))]])


def _span(
    values: npt.NDArray[np.float64], cuts: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The open-closed interval of thresholds that each cut stands for."""
    ends = np.concatenate([[-1.0], values, [1.0]])
    return ends[cuts], ends[cuts + 1]
