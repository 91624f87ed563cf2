"""Ranking metrics: areas under curves, from probabilities alone."""

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
Positions = NDArray[np.intp]


def roc_auc(y: Truth, prediction: Floats) -> Statistic:
    """Area under the ROC curve as the Mann-Whitney statistic: ties count half."""
    return _roc_area(y == 1, prediction[:, 1])


def roc_auc_ovr(y: Truth, prediction: Floats) -> Statistic:
    """Mean ROC AUC of each class against the rest, over the classes in the weighted rows."""
    return _mean_over_classes(_by_class(_roc_area, y, prediction))


def roc_auc_ovr_weighted(y: Truth, prediction: Floats) -> Statistic:
    """Mean ROC AUC of each class against the rest, weighted by the frequency of the class."""
    statistics = _by_class(_roc_area, y, prediction)
    classes = [y == k for k in range(prediction.shape[1])]

    def statistic(w: Floats) -> float:
        areas = np.array([area(w) for area in statistics])
        shares = np.array([(w * of_class).sum() for of_class in classes])
        defined = ~np.isnan(areas)
        return ratio(float((areas * shares)[defined].sum()), float(shares[defined].sum()))

    return statistic


def average_precision(y: Truth, prediction: Floats) -> Statistic:
    """Sum of precision over the steps of recall, without interpolation."""
    return _precision_area(y == 1, prediction[:, 1])


def average_precision_macro(y: Truth, prediction: Floats) -> Statistic:
    """Mean average precision of each class against the rest, over those in the weighted rows."""
    return _mean_over_classes(_by_class(_precision_area, y, prediction))


def _by_class(
    area: Callable[[Bools, Floats], Statistic], y: Truth, prediction: Floats
) -> list[Statistic]:
    return [area(y == k, prediction[:, k]) for k in range(prediction.shape[1])]


def _mean_over_classes(statistics: Sequence[Statistic]) -> Statistic:
    def statistic(w: Floats) -> float:
        areas = np.array([area(w) for area in statistics])
        defined = ~np.isnan(areas)
        return float(areas[defined].mean()) if defined.any() else float("nan")

    return statistic


def _by_descending_score(
    figure: Callable[[Floats, Bools, Positions], float], positive: Bools, score: Floats
) -> Statistic:
    """Sort rows by descending score, and make a statistic of their weights.

    ``figure`` takes weights and positives in that order, and the starts of runs of equal scores.
    """
    order = np.argsort(-score, kind="stable")
    scores, positive = score[order], positive[order]
    starts = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]]) if len(score) else order
    return lambda w: figure(w[order], positive, starts) if len(w) else float("nan")


def _roc_area(positive: Bools, score: Floats) -> Statistic:
    def figure(w: Floats, positive: Bools, starts: Positions) -> float:
        positives = np.add.reduceat(w * positive, starts)
        negatives = np.add.reduceat(w * ~positive, starts)
        ranked_below = negatives.sum() - np.cumsum(negatives)
        wins = float((positives * (ranked_below + negatives / 2)).sum())
        return ratio(wins, float(positives.sum() * negatives.sum()))

    return _by_descending_score(figure, positive, score)


def _precision_area(positive: Bools, score: Floats) -> Statistic:
    def figure(w: Floats, positive: Bools, starts: Positions) -> float:
        positives = np.add.reduceat(w * positive, starts)
        hits = np.cumsum(positives)
        selected = np.cumsum(np.add.reduceat(w, starts))
        precision = np.divide(hits, selected, out=np.zeros_like(hits), where=selected > 0)
        return ratio(float((positives * precision).sum()), float(hits[-1]))

    return _by_descending_score(figure, positive, score)
