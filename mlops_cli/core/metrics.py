"""Metrics by name: a value for one prediction, and a fast path for many weightings of its rows.

scikit-learn's definitions, in plain numpy: a bootstrap asks for the same metric hundreds of times
with other weights, so what doesn't depend on the weights (a sort, a term per row) is worked
out once. Sums are numpy's own, not BLAS's, whose last digits depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from mlops_cli.errors import BadParams, nearest

__all__ = ["METRICS", "Metric", "Statistic", "decide", "default_metrics", "lookup"]

Floats = NDArray[np.float64]
Truth = NDArray[np.generic]

Statistic = Callable[[Floats], float]
"""Weights (n,), at least 0, to the metric's value; NaN where it isn't defined."""


@dataclass(frozen=True)
class Metric:
    """One figure of merit.

    Attributes
    ----------
    name
        As in ``params.yaml``.
    tasks
        The kinds of task that it judges: binary, multiclass, regression.
    maximise
        Whether more is better.
    prepare
        From truth and prediction to a function of the weights alone.
    """

    name: str
    tasks: frozenset[str]
    maximise: bool
    prepare: Callable[[Truth, Floats], Statistic] = field(repr=False)

    def __call__(self, y: Truth, prediction: Floats, weights: Floats | None = None) -> float:
        """Give the metric's value; NaN where it isn't defined (such as a ranking of one class).

        Parameters
        ----------
        y
            Class codes from 0, or values; (n,).
        prediction
            Probabilities (n, k), for a binary task with the positive class in column 1; or
            values (n,).
        weights
            How often each row counts, (n,); by default once.
        """
        if weights is None:
            weights = np.ones(len(y))
        return self.prepare(y, prediction)(np.asarray(weights, dtype=np.float64))

    def gain(self, value: float, reference: float) -> float:
        """How much better ``value`` is than ``reference``, whatever the metric's direction."""
        return value - reference if self.maximise else reference - value

    def reaches(self, value: float, limit: float) -> bool:
        """Whether ``value`` is at least as good as ``limit``."""
        return self.gain(value, limit) >= 0


def decide(prediction: Floats) -> NDArray[np.intp]:
    """Name the most probable class of each row, (n, k) to (n,); the first one where equal."""
    chosen: NDArray[np.intp] = np.argmax(prediction, axis=1)
    return chosen


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("nan")


def _mean(terms: Floats) -> Statistic:
    return lambda w: _ratio(float((w * terms).sum()), float(w.sum()))


def _ranked(score: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows by falling score, and where each run of equal scores starts in that order."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    starts = np.flatnonzero(np.r_[True, falling[1:] != falling[:-1]]) if len(score) else order
    return order, starts


def _auc(positive: NDArray[np.bool_], score: Floats) -> Statistic:
    """Area under the ROC curve as the Mann-Whitney statistic: ties count half."""
    order, starts = _ranked(score)
    positive = positive[order]

    def statistic(w: Floats) -> float:
        if not len(w):
            return float("nan")
        w = w[order]
        up = np.add.reduceat(w * positive, starts)
        down = np.add.reduceat(w * ~positive, starts)
        ranked_below = down.sum() - np.cumsum(down)
        wins = float((up * (ranked_below + down / 2)).sum())
        return _ratio(wins, float(up.sum() * down.sum()))

    return statistic


def _roc_auc(y: Truth, prediction: Floats) -> Statistic:
    return _auc(y == 1, prediction[:, 1])


def _roc_auc_ovr(y: Truth, prediction: Floats) -> Statistic:
    """Mean over the classes, each against the rest, that the weighted rows hold."""
    each = [_auc(y == k, prediction[:, k]) for k in range(prediction.shape[1])]

    def statistic(w: Floats) -> float:
        areas = np.array([auc(w) for auc in each])
        there = ~np.isnan(areas)
        return float(areas[there].mean()) if there.any() else float("nan")

    return statistic


def _average_precision(y: Truth, prediction: Floats) -> Statistic:
    """Sum of precision over the steps of recall, without interpolation."""
    order, starts = _ranked(prediction[:, 1])
    positive = (y == 1)[order]

    def statistic(w: Floats) -> float:
        if not len(w):
            return float("nan")
        w = w[order]
        up = np.add.reduceat(w * positive, starts)
        found = np.cumsum(up)
        taken = np.cumsum(np.add.reduceat(w, starts))
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        return _ratio(float((up * precision).sum()), float(found[-1]))

    return statistic


def _log_loss(y: Truth, prediction: Floats) -> Statistic:
    eps = np.finfo(np.float64).eps
    chosen = prediction[np.arange(len(y)), y.astype(np.intp)]
    return _mean(-np.log(np.clip(chosen, eps, 1 - eps)))


def _brier(y: Truth, prediction: Floats) -> Statistic:
    return _mean((prediction[:, 1] - (y == 1)) ** 2)


def _accuracy(y: Truth, prediction: Floats) -> Statistic:
    return _mean((decide(prediction) == y).astype(np.float64))


def _counts(y: Truth, prediction: Floats) -> Callable[[Floats], tuple[Floats, Floats, Floats]]:
    """By class, (k,) each: weight that is right, that is actual, that is predicted."""
    k, actual, predicted = prediction.shape[1], y.astype(np.intp), decide(prediction)
    right = actual == predicted

    def by_class(code: NDArray[np.intp], w: Floats) -> Floats:
        return np.asarray(np.bincount(code, w, k), dtype=np.float64)

    def count(w: Floats) -> tuple[Floats, Floats, Floats]:
        return by_class(actual, w * right), by_class(actual, w), by_class(predicted, w)

    return count


def _balanced_accuracy(y: Truth, prediction: Floats) -> Statistic:
    """Mean recall over the classes that occur."""
    count = _counts(y, prediction)

    def statistic(w: Floats) -> float:
        right, actual, _ = count(w)
        there = actual > 0
        return float((right[there] / actual[there]).mean()) if there.any() else float("nan")

    return statistic


def _f1(y: Truth, prediction: Floats) -> Statistic:
    count = _counts(y, prediction)

    def statistic(w: Floats) -> float:
        right, actual, predicted = count(w)
        return _ratio(2 * float(right[1]), float(actual[1] + predicted[1]))

    return statistic


def _f1_macro(y: Truth, prediction: Floats) -> Statistic:
    """Mean over the classes that occur or are predicted."""
    count = _counts(y, prediction)

    def statistic(w: Floats) -> float:
        right, actual, predicted = count(w)
        total = actual + predicted
        there = total > 0
        return float((2 * right[there] / total[there]).mean()) if there.any() else float("nan")

    return statistic


def _rmse(y: Truth, prediction: Floats) -> Statistic:
    mean = _mean((y.astype(np.float64) - prediction) ** 2)
    return lambda w: float(np.sqrt(mean(w)))


def _mae(y: Truth, prediction: Floats) -> Statistic:
    return _mean(np.abs(y.astype(np.float64) - prediction))


def _median_absolute_error(y: Truth, prediction: Floats) -> Statistic:
    """Weighted median: where the cumulated weight is just half, the mean of both neighbours."""
    error = np.abs(y.astype(np.float64) - prediction)
    order = np.argsort(error, kind="stable")
    error = error[order]

    def statistic(w: Floats) -> float:
        held = w[order] > 0
        if not held.any():
            return float("nan")
        values, below = error[held], np.cumsum(w[order][held])
        half = below[-1] / 2
        low, high = np.searchsorted(below, half, "left"), np.searchsorted(below, half, "right")
        return float((values[low] + values[min(high, len(values) - 1)]) / 2)

    return statistic


def _r2(y: Truth, prediction: Floats) -> Statistic:
    """Share of the variance explained; not defined where the truth doesn't vary."""
    truth = y.astype(np.float64)
    squared = (truth - prediction) ** 2

    def statistic(w: Floats) -> float:
        centre = _ratio(float((w * truth).sum()), float(w.sum()))
        spread = float((w * (truth - centre) ** 2).sum())
        return 1 - _ratio(float((w * squared).sum()), spread)

    return statistic


_CLASSES = ("binary", "multiclass")
_ALL = (
    ("roc_auc", ("binary",), True, _roc_auc),
    ("average_precision", ("binary",), True, _average_precision),
    ("log_loss", _CLASSES, False, _log_loss),
    ("brier", ("binary",), False, _brier),
    ("accuracy", _CLASSES, True, _accuracy),
    ("balanced_accuracy", _CLASSES, True, _balanced_accuracy),
    ("f1", ("binary",), True, _f1),
    ("f1_macro", _CLASSES, True, _f1_macro),
    ("roc_auc_ovr", ("multiclass",), True, _roc_auc_ovr),
    ("rmse", ("regression",), False, _rmse),
    ("mae", ("regression",), False, _mae),
    ("r2", ("regression",), True, _r2),
    ("median_absolute_error", ("regression",), False, _median_absolute_error),
)

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        name: Metric(name, frozenset(tasks), maximise, prepare)
        for name, tasks, maximise, prepare in _ALL
    }
)
"""Every metric by its name."""

_DEFAULTS = {
    "binary": (
        "roc_auc",
        "average_precision",
        "log_loss",
        "brier",
        "accuracy",
        "balanced_accuracy",
        "f1",
    ),
    "multiclass": ("log_loss", "accuracy", "balanced_accuracy", "f1_macro", "roc_auc_ovr"),
    "regression": ("rmse", "mae", "r2", "median_absolute_error"),
}


def default_metrics(task_type: str) -> tuple[str, ...]:
    """Give the usual metrics of a kind of task; the search goes by the first."""
    return _DEFAULTS[task_type]


def lookup(name: str, task_type: str) -> Metric:
    """Find the metric of that name, if it can judge that kind of task.

    Raises
    ------
    BadParams
        If there is none of that name, or it is for other tasks.
    """
    fit = [m.name for m in METRICS.values() if task_type in m.tasks]
    if name not in METRICS:
        raise BadParams(f"{name!r} is not a known metric (params.yaml)", nearest(name, fit))
    if name not in fit:
        tasks = " and ".join(sorted(METRICS[name].tasks))
        raise BadParams(
            f"the metric {name!r} is for {tasks} tasks, and this one is {task_type} (params.yaml)",
            f"For {task_type} there are: {', '.join(fit)}.",
        )
    return METRICS[name]
