"""Metrics of a ranking: areas under curves, from probabilities alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mlops_cli.metrics.weighted import Floats, Statistic, Truth, ratio

__all__ = [
    "average_precision",
    "average_precision_macro",
    "roc_auc",
    "roc_auc_ovr",
    "roc_auc_ovr_weighted",
]

Bools = NDArray[np.bool_]
Places = NDArray[np.intp]


def roc_auc(y: Truth, prediction: Floats) -> Statistic:
    """Area under the ROC curve as the Mann-Whitney statistic: ties count half."""
    return _area(y == 1, prediction[:, 1])


def roc_auc_ovr(y: Truth, prediction: Floats) -> Statistic:
    """Mean over the classes, each against the rest, that the weighted rows hold."""
    return _plain_mean(_each(_area, y, prediction))


def roc_auc_ovr_weighted(y: Truth, prediction: Floats) -> Statistic:
    """The same, each class by how frequent it is."""
    each = _each(_area, y, prediction)
    classes = [y == k for k in range(prediction.shape[1])]

    def statistic(w: Floats) -> float:
        areas = np.array([area(w) for area in each])
        shares = np.array([(w * held).sum() for held in classes])
        there = ~np.isnan(areas)
        return ratio(float((areas * shares)[there].sum()), float(shares[there].sum()))

    return statistic


def average_precision(y: Truth, prediction: Floats) -> Statistic:
    """Sum of precision over the steps of recall, without interpolation."""
    return _precision_area(y == 1, prediction[:, 1])


def average_precision_macro(y: Truth, prediction: Floats) -> Statistic:
    """Mean over the classes, each against the rest, that the weighted rows hold."""
    return _plain_mean(_each(_precision_area, y, prediction))


def _each(
    area: Callable[[Bools, Floats], Statistic], y: Truth, prediction: Floats
) -> list[Statistic]:
    return [area(y == k, prediction[:, k]) for k in range(prediction.shape[1])]


def _plain_mean(each: Sequence[Statistic]) -> Statistic:
    def statistic(w: Floats) -> float:
        areas = np.array([area(w) for area in each])
        there = ~np.isnan(areas)
        return float(areas[there].mean()) if there.any() else float("nan")

    return statistic


def _over_ranks(
    figure: Callable[[Floats, Bools, Places], float], positive: Bools, score: Floats
) -> Statistic:
    """A figure of the weights and of what is positive, by falling score.

    Its third argument is where each run of equal scores starts in that order.
    """
    order = np.argsort(-score, kind="stable")
    falling, positive = score[order], positive[order]
    starts = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]]) if len(score) else order
    return lambda w: figure(w[order], positive, starts) if len(w) else float("nan")


def _area(positive: Bools, score: Floats) -> Statistic:
    def figure(w: Floats, positive: Bools, starts: Places) -> float:
        up = np.add.reduceat(w * positive, starts)
        down = np.add.reduceat(w * ~positive, starts)
        ranked_below = down.sum() - np.cumsum(down)
        wins = float((up * (ranked_below + down / 2)).sum())
        return ratio(wins, float(up.sum() * down.sum()))

    return _over_ranks(figure, positive, score)


def _precision_area(positive: Bools, score: Floats) -> Statistic:
    def figure(w: Floats, positive: Bools, starts: Places) -> float:
        up = np.add.reduceat(w * positive, starts)
        found = np.cumsum(up)
        taken = np.cumsum(np.add.reduceat(w, starts))
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        return ratio(float((up * precision).sum()), float(found[-1]))

    return _over_ranks(figure, positive, score)
