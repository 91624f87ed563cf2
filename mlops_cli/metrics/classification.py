"""Metrics of classes: of decisions by the most probable class, and of the probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlops_cli.metrics.weighted import Floats, Statistic, Truth, mean, ratio

__all__ = [
    "accuracy",
    "balanced_accuracy",
    "brier",
    "cohen_kappa",
    "cost",
    "decide",
    "log_loss",
    "matthews_corrcoef",
    "of_positive",
    "over_classes",
    "top_accuracy",
]

Prepare = Callable[[Truth, Floats], Statistic]


@dataclass(frozen=True)
class _Counts:
    """By class, (k,) each: weight that is right, that is actual, that is predicted."""

    right: Floats
    actual: Floats
    predicted: Floats

    def precision(self) -> Floats:
        return _parts(self.right, self.predicted)

    def recall(self) -> Floats:
        return _parts(self.right, self.actual)

    def f1(self) -> Floats:
        return _parts(2 * self.right, self.actual + self.predicted)

    def jaccard(self) -> Floats:
        return _parts(self.right, self.actual + self.predicted - self.right)


_OF_CLASS: dict[str, Callable[[_Counts], Floats]] = {
    "precision": _Counts.precision,
    "recall": _Counts.recall,
    "f1": _Counts.f1,
    "jaccard": _Counts.jaccard,
}


def decide(prediction: Floats) -> NDArray[np.intp]:
    """Name the most probable class of each row, (n, k) to (n,); the first one where equal."""
    chosen: NDArray[np.intp] = np.argmax(prediction, axis=1)
    return chosen


def log_loss(y: Truth, prediction: Floats) -> Statistic:
    """Negative mean logarithm of the probability of what came true."""
    eps = np.finfo(np.float64).eps
    chosen = prediction[np.arange(len(y)), y.astype(np.intp)]
    return mean(-np.log(np.clip(chosen, eps, 1 - eps)))


def brier(y: Truth, prediction: Floats) -> Statistic:
    """Mean squared error of the probability; summed over the classes where there are over two."""
    k = prediction.shape[1]
    if k == 2:  # noqa: PLR2004
        return mean((prediction[:, 1] - (y == 1)) ** 2)
    came_true = y.astype(np.intp)[:, None] == np.arange(k)
    return mean(((prediction - came_true) ** 2).sum(axis=1))


def accuracy(y: Truth, prediction: Floats) -> Statistic:
    """Share of right decisions."""
    return mean((decide(prediction) == y).astype(np.float64))


def top_accuracy(top: int) -> Prepare:
    """Share of rows whose class is among the ``top`` most probable ones."""

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        # Of equal probabilities the later class comes first, as in scikit-learn.
        order = np.argsort(prediction, axis=1, kind="stable")[:, ::-1][:, :top]
        return mean((order == y.astype(np.intp)[:, None]).any(axis=1).astype(np.float64))

    return prepare


def balanced_accuracy(y: Truth, prediction: Floats) -> Statistic:
    """Mean recall over the classes that occur."""
    count = _counting(y, prediction)

    def statistic(w: Floats) -> float:
        c = count(w)
        there = c.actual > 0
        return float(c.recall()[there].mean()) if there.any() else float("nan")

    return statistic


def of_positive(name: str) -> Prepare:
    """Precision, recall, f1 or jaccard of the positive class; NaN where it never comes up."""
    of_class = _OF_CLASS[name]

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        count = _counting(y, prediction)

        def statistic(w: Floats) -> float:
            c = count(w)
            seen = c.actual[1] + c.predicted[1] > 0
            return float(of_class(c)[1]) if seen else float("nan")

        return statistic

    return prepare


def over_classes(name: str, average: str) -> Prepare:
    """Mean of precision, recall, f1 or jaccard over the classes that occur or are predicted.

    ``average`` is ``macro`` (each class counts the same) or ``weighted`` (by how frequent it is).
    """
    of_class = _OF_CLASS[name]

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        count = _counting(y, prediction)

        def statistic(w: Floats) -> float:
            c = count(w)
            there = c.actual + c.predicted > 0
            parts = there.astype(np.float64) if average == "macro" else c.actual
            return ratio(float((of_class(c) * parts)[there].sum()), float(parts.sum()))

        return statistic

    return prepare


def matthews_corrcoef(y: Truth, prediction: Floats) -> Statistic:
    """Correlation of truth and decision; 0 where all is decided alike.

    J. Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
    Computational Biology and Chemistry 28 (2004).
    """
    count = _counting(y, prediction)

    def statistic(w: Floats) -> float:
        c = count(w)
        total = float(c.actual.sum())
        both = float(c.right.sum()) * total - float((c.actual * c.predicted).sum())
        of_truth = total**2 - float((c.actual**2).sum())
        of_decision = total**2 - float((c.predicted**2).sum())
        if of_truth <= 0:
            return float("nan")
        return both / float(np.sqrt(of_truth * of_decision)) if of_decision > 0 else 0.0

    return statistic


def cohen_kappa(y: Truth, prediction: Floats) -> Statistic:
    """How far the agreement is above that of chance (Cohen 1960)."""
    count = _counting(y, prediction)

    def statistic(w: Floats) -> float:
        c = count(w)
        total = float(c.actual.sum())
        chance = ratio(float((c.actual * c.predicted).sum()), total**2)
        return ratio(ratio(float(c.right.sum()), total) - chance, 1 - chance)

    return statistic


def cost(matrix: Floats | None = None) -> Prepare:
    """Mean cost of the decisions that promise to cost least (Elkan 2001).

    Parameters
    ----------
    matrix
        (k, k): what it costs to decide for the column's class where the row's is true; by
        default 1 for every error.
    """

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        k = prediction.shape[1]
        costs = 1.0 - np.eye(k) if matrix is None else matrix
        # Not BLAS: its last digits depend on the number of cores.
        expected = np.einsum("ij,jk->ik", prediction, costs, optimize=False)
        # Of equally cheap decisions the later class: yes at the threshold and above.
        decided = k - 1 - np.argmin(expected[:, ::-1], axis=1)
        return mean(costs[y.astype(np.intp), decided])

    return prepare


def _parts(above: Floats, below: Floats) -> Floats:
    """Divide; 0 where nothing is below, as in scikit-learn."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _counting(y: Truth, prediction: Floats) -> Callable[[Floats], _Counts]:
    k, actual, predicted = prediction.shape[1], y.astype(np.intp), decide(prediction)
    right = actual == predicted

    def by_class(code: NDArray[np.intp], w: Floats) -> Floats:
        return np.asarray(np.bincount(code, w, k), dtype=np.float64)

    def count(w: Floats) -> _Counts:
        return _Counts(by_class(actual, w * right), by_class(actual, w), by_class(predicted, w))

    return count
