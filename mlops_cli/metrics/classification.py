"""Classification metrics: of decisions (the most probable class) and of probabilities."""

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
    "over_classes",
    "score_positive",
    "top_accuracy",
]

Prepare = Callable[[Truth, Floats], Statistic]


@dataclass(frozen=True)
class _Counts:
    """Weights by class, (k,) each: rightly predicted rows, actual rows, predicted rows."""

    correct: Floats
    actual: Floats
    predicted: Floats

    def precision(self) -> Floats:
        return _divide(self.correct, self.predicted)

    def recall(self) -> Floats:
        return _divide(self.correct, self.actual)

    def f1(self) -> Floats:
        return _divide(2 * self.correct, self.actual + self.predicted)

    def jaccard(self) -> Floats:
        return _divide(self.correct, self.actual + self.predicted - self.correct)


_CLASS_FIGURES: dict[str, Callable[[_Counts], Floats]] = {
    "precision": _Counts.precision,
    "recall": _Counts.recall,
    "f1": _Counts.f1,
    "jaccard": _Counts.jaccard,
}


def decide(prediction: Floats) -> NDArray[np.intp]:
    """Choose the most probable class of each row, (n, k) to (n,); the first one of equals."""
    chosen: NDArray[np.intp] = np.argmax(prediction, axis=1)
    return chosen


def log_loss(y: Truth, prediction: Floats) -> Statistic:
    """Negative mean logarithm of the true class's probability."""
    eps = np.finfo(np.float64).eps
    chosen = prediction[np.arange(len(y)), y.astype(np.intp)]
    return mean(-np.log(np.clip(chosen, eps, 1 - eps)))


def brier(y: Truth, prediction: Floats) -> Statistic:
    """Mean squared error of probabilities, summed over the classes if there are more than two."""
    k = prediction.shape[1]
    if k == 2:  # noqa: PLR2004
        return mean((prediction[:, 1] - (y == 1)) ** 2)
    is_true_class = y.astype(np.intp)[:, None] == np.arange(k)
    return mean(((prediction - is_true_class) ** 2).sum(axis=1))


def accuracy(y: Truth, prediction: Floats) -> Statistic:
    """Share of right decisions."""
    return mean((decide(prediction) == y).astype(np.float64))


def top_accuracy(top: int) -> Prepare:
    """Share of rows whose true class is among the ``top`` most probable ones."""

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        # Among equal probabilities, the later class comes first, as in scikit-learn.
        order = np.argsort(prediction, axis=1, kind="stable")[:, ::-1][:, :top]
        return mean((order == y.astype(np.intp)[:, None]).any(axis=1).astype(np.float64))

    return prepare


def balanced_accuracy(y: Truth, prediction: Floats) -> Statistic:
    """Mean recall over the classes that occur."""
    count = _class_counter(y, prediction)

    def statistic(w: Floats) -> float:
        c = count(w)
        occurs = c.actual > 0
        return float(c.recall()[occurs].mean()) if occurs.any() else float("nan")

    return statistic


def score_positive(name: str) -> Prepare:
    """Precision, recall, f1 or jaccard of the positive class; NaN where it never occurs."""
    figure = _CLASS_FIGURES[name]

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        count = _class_counter(y, prediction)

        def statistic(w: Floats) -> float:
            c = count(w)
            occurs = c.actual[1] + c.predicted[1] > 0
            return float(figure(c)[1]) if occurs else float("nan")

        return statistic

    return prepare


def over_classes(name: str, average: str) -> Prepare:
    """Mean of precision, recall, f1 or jaccard over the classes that occur or are predicted.

    ``average`` is ``macro`` (classes have equal weights) or ``weighted`` (by their frequencies).
    """
    figure = _CLASS_FIGURES[name]

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        count = _class_counter(y, prediction)

        def statistic(w: Floats) -> float:
            c = count(w)
            occurs = c.actual + c.predicted > 0
            shares = occurs.astype(np.float64) if average == "macro" else c.actual
            return ratio(float((figure(c) * shares)[occurs].sum()), float(shares.sum()))

        return statistic

    return prepare


def matthews_corrcoef(y: Truth, prediction: Floats) -> Statistic:
    """Correlation of labels and decisions; 0 if all decisions are the same.

    J. Gorodkin, "Comparing two K-category assignments by a K-category correlation coefficient",
    Computational Biology and Chemistry 28 (2004).
    """
    count = _class_counter(y, prediction)

    def statistic(w: Floats) -> float:
        c = count(w)
        total = float(c.actual.sum())
        covariance = float(c.correct.sum()) * total - float((c.actual * c.predicted).sum())
        var_truth = total**2 - float((c.actual**2).sum())
        var_decision = total**2 - float((c.predicted**2).sum())
        if var_truth <= 0:
            return float("nan")
        return covariance / float(np.sqrt(var_truth * var_decision)) if var_decision > 0 else 0.0

    return statistic


def cohen_kappa(y: Truth, prediction: Floats) -> Statistic:
    """Agreement of labels and decisions beyond chance (Cohen 1960)."""
    count = _class_counter(y, prediction)

    def statistic(w: Floats) -> float:
        c = count(w)
        total = float(c.actual.sum())
        chance = ratio(float((c.actual * c.predicted).sum()), total**2)
        return ratio(ratio(float(c.correct.sum()), total) - chance, 1 - chance)

    return statistic


def cost(matrix: Floats | None = None) -> Prepare:
    """Mean cost of the decisions with the lowest expected cost (Elkan 2001).

    Parameters
    ----------
    matrix
        Cost matrix (k, k): true classes in rows, decisions in columns; by default every error
        costs 1.
    """

    def prepare(y: Truth, prediction: Floats) -> Statistic:
        k = prediction.shape[1]
        costs = 1.0 - np.eye(k) if matrix is None else matrix
        # Without BLAS, whose last digits depend on the number of cores.
        expected = np.einsum("ij,jk->ik", prediction, costs, optimize=False)
        # Among equally cheap decisions, the later class: positive at the threshold and above.
        decided = k - 1 - np.argmin(expected[:, ::-1], axis=1)
        return mean(costs[y.astype(np.intp), decided])

    return prepare


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide; the result is 0 where the denominator is 0, as in scikit-learn."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def _class_counter(y: Truth, prediction: Floats) -> Callable[[Floats], _Counts]:
    k, actual, predicted = prediction.shape[1], y.astype(np.intp), decide(prediction)
    correct = actual == predicted

    def by_class(code: NDArray[np.intp], w: Floats) -> Floats:
        return np.asarray(np.bincount(code, w, k), dtype=np.float64)

    def count(w: Floats) -> _Counts:
        return _Counts(by_class(actual, w * correct), by_class(actual, w), by_class(predicted, w))

    return count
