"""Plots of an evaluation: the points of each curve, and the definitions for ``dvc plots``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.metrics.catalog import decide

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mlops_cli.metrics.catalog import Floats, Truth
    from mlops_cli.params.task import Cost, Task

__all__ = [
    "PLOTS",
    "Plot",
    "Points",
    "calibration",
    "confusion",
    "importance",
    "plot_probabilities",
    "precision_recall",
    "residuals",
    "roc",
    "roc_ovr",
    "thresholds",
    "to_text",
]

Points = list[dict[str, Any]]
"""Rows of plain values, as ``dvc plots`` reads them from JSON."""

MAX_POINTS = 200
"""Maximum points of a curve."""
MAX_CONFUSION_ROWS = 1000
"""Maximum rows of a confusion plot; its template counts the rows."""
MAX_SCATTER_ROWS = 1000
"""Maximum rows of a scatter plot."""


@dataclass(frozen=True)
class Plot:
    """One plot of ``dvc plots``: its file in ``Layout.plots``, its columns, and the template."""

    file: str
    x: str
    y: str | tuple[str, ...]
    template: str
    title: str


_CONFUSION = Plot(
    "confusion.json",
    "predicted",
    "actual",
    "confusion",
    f"Confusion (scaled to {MAX_CONFUSION_ROWS} rows)",
)
_IMPORTANCE = Plot(
    "importance.json", "importance", "feature", "bar_horizontal_sorted", "Permutation importance"
)

_SHAP = Plot(
    "shap.json",
    "contribution",
    "feature",
    "bar_horizontal_sorted",
    "Mean contribution to the score",
)

PLOTS: Mapping[str, tuple[Plot, ...]] = MappingProxyType(
    {
        "binary": (
            Plot("roc.json", "false_positive_rate", "true_positive_rate", "simple", "ROC"),
            Plot("precision_recall.json", "recall", "precision", "simple", "Precision and recall"),
            Plot("calibration.json", "predicted", "observed", "simple", "Calibration"),
            Plot(
                "thresholds.json",
                "threshold",
                ("precision", "recall", "relative_cost"),
                "simple",
                "Decisions by threshold",
            ),
            _CONFUSION,
            _IMPORTANCE,
            _SHAP,
        ),
        "multiclass": (
            Plot(
                "roc.json",
                "false_positive_rate",
                ("mean", "worst", "best"),
                "simple",
                "ROC, each class against the rest",
            ),
            Plot(
                "calibration.json",
                "predicted",
                "observed",
                "simple",
                "Calibration of the most probable class",
            ),
            _CONFUSION,
            _IMPORTANCE,
            _SHAP,
        ),
        "regression": (
            Plot("residuals.json", "predicted", "residual", "scatter", "Residuals"),
            _IMPORTANCE,
            _SHAP,
        ),
    }
)
"""Task type -> its plots; the files are always the same, so that ``dvc.yaml`` can list them."""


def roc(positive: Truth, score: Floats) -> Points:
    """Compute the points of the ROC curve; there are none if only one class occurs.

    Parameters
    ----------
    positive
        Whether the label is the positive class, (n,).
    score
        Score of the positive class, (n,).
    """
    false_rates, true_rates = _roc_rates(positive, score)
    keep = _thin(len(false_rates))
    return _points(false_positive_rate=false_rates[keep], true_positive_rate=true_rates[keep])


def roc_ovr(y: Truth, prediction: Floats) -> Points:
    """Compute the mean ROC curve over the classes, and those with the smallest and largest area.

    Each class is compared with the rest, at ``MAX_POINTS`` equal steps of the false positive rate.
    ``y`` holds class codes (n,), ``prediction`` probabilities (n, k). A class that doesn't occur
    has no curve.
    """
    false_rates = np.linspace(0, 1, MAX_POINTS)
    curves = [_roc_rates(y == k, prediction[:, k]) for k in range(prediction.shape[1])]
    true_rates = np.array([np.interp(false_rates, fpr, tpr) for fpr, tpr in curves if len(fpr)])
    if not len(true_rates):
        return []
    area = [np.trapezoid(tpr, fpr) for fpr, tpr in curves if len(fpr)]
    return _points(
        false_positive_rate=false_rates,
        mean=true_rates.mean(axis=0),
        worst=true_rates[np.argmin(area)],
        best=true_rates[np.argmax(area)],
    )


def precision_recall(positive: Truth, score: Floats) -> Points:
    """Compute precision over recall, from the highest threshold to the lowest; see ``roc``."""
    true_positives, selected = _cumulative_counts(positive, score)
    if not len(true_positives) or not true_positives[-1]:
        return []
    keep = _thin(len(true_positives))
    return _points(
        recall=(true_positives / true_positives[-1])[keep],
        precision=(true_positives / selected)[keep],
    )


def thresholds(positive: Truth, score: Floats, cost: Cost) -> Points:
    """Compute precision, recall and cost at each of 99 thresholds.

    The cost is relative to the cheaper of deciding yes or no for all rows: below 1 the model
    saves costs. A threshold above all scores has no precision, and no point.

    Parameters
    ----------
    positive, score
        See ``roc``; here the score is a probability.
    cost
        Cost of each kind of error.
    """
    negated, negated_positives = np.sort(-score), np.sort(-score[positive.astype(bool)])
    grid = np.arange(1, 100) / 100
    selected = np.searchsorted(negated, -grid, side="right")
    hits = np.searchsorted(negated_positives, -grid, side="right")
    positives, rows = len(negated_positives), len(score)
    constant_cost = min(cost.false_positive * (rows - positives), cost.false_negative * positives)
    used = selected > 0
    if not positives or not constant_cost:
        return []
    selected, hits = selected[used].astype(np.float64), hits[used].astype(np.float64)
    total = cost.false_positive * (selected - hits) + cost.false_negative * (positives - hits)
    return _points(
        threshold=grid[used],
        precision=hits / selected,
        recall=hits / positives,
        relative_cost=total / constant_cost,
    )


def calibration(hit: Truth, probability: Floats, bins: int = 10) -> Points:
    """Compare predicted and observed shares in bins of about as many rows (calibration curve).

    Parameters
    ----------
    hit
        Whether the predicted event occurred, (n,).
    probability
        Predicted probability, (n,). Rows of equal probability fall into the same bin.
    bins
        Maximum number of bins.
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of_row = np.searchsorted(edges, probability, side="right")
    rows = np.bincount(bin_of_row)
    filled = rows > 0
    predicted = np.bincount(bin_of_row, probability)[filled] / rows[filled]
    observed = np.bincount(bin_of_row, hit.astype(np.float64))[filled] / rows[filled]
    points = _points(predicted=predicted, observed=observed)
    return [p | {"rows": int(n)} for p, n in zip(points, rows[filled], strict=True)]


def confusion(actual: Truth, predicted: Truth, names: Sequence[str]) -> Points:
    """Make rows of (actual, predicted) class names for a confusion plot.

    There are at most ``MAX_CONFUSION_ROWS``, as the plot's template counts rows. Larger tables are
    scaled down by the largest remainder method, so the counts are as close to proportional as whole
    numbers can be. ``actual`` and ``predicted`` are class codes (n,).
    """
    k = len(names)
    cells = np.bincount(actual.astype(np.intp) * k + predicted.astype(np.intp), minlength=k * k)
    seats = _apportion(cells, min(MAX_CONFUSION_ROWS, int(cells.sum())))
    return [
        {"actual": names[cell // k], "predicted": names[cell % k]}
        for cell in np.repeat(np.arange(k * k), seats).tolist()
    ]


def residuals(y: Floats, prediction: Floats, seed: int | Sequence[int]) -> Points:
    """Give predictions and residuals (label minus prediction), for a sample of the rows.

    ``y`` and ``prediction`` are (n,). At most ``MAX_SCATTER_ROWS`` are sampled; they keep their
    order.
    """
    sample = np.arange(len(y))
    if len(y) > MAX_SCATTER_ROWS:
        sample = np.sort(
            np.random.default_rng(seed).choice(len(y), MAX_SCATTER_ROWS, replace=False)
        )
    return _points(predicted=prediction[sample], residual=(y - prediction)[sample])


def plot_probabilities(task: Task, y: Truth, prediction: Floats) -> dict[str, Points]:
    """Compute points by file name, from class codes (n,) and probabilities (n, k)."""
    if task.type == "multiclass":
        hit = decide(prediction) == y
        return {
            "roc.json": roc_ovr(y, prediction),
            "calibration.json": calibration(hit, prediction.max(axis=1)),
        }
    positive, score = y == 1, prediction[:, 1]
    return {
        "roc.json": roc(positive, score),
        "precision_recall.json": precision_recall(positive, score),
        "calibration.json": calibration(positive, score),
        "thresholds.json": thresholds(positive, score, task.cost),
    }


def importance(figures: Mapping[str, float], column: str = "importance") -> Points:
    """Make the points of an importance plot, in the order of ``figures``."""
    return [{"feature": k, column: round(v, 6) + 0.0} for k, v in figures.items()]


def _cumulative_counts(positive: Truth, score: Floats) -> tuple[Floats, Floats]:
    """Count positives and rows at each distinct threshold or above, highest threshold first."""
    order = np.argsort(-score, kind="stable")
    scores = score[order]
    last = np.r_[np.flatnonzero(np.diff(scores)), len(scores) - 1] if len(scores) else order
    true_positives = np.cumsum(positive[order], dtype=np.float64)[last]
    return true_positives, (last + 1).astype(np.float64)


def _roc_rates(positive: Truth, score: Floats) -> tuple[Floats, Floats]:
    tp, selected = _cumulative_counts(positive, score)
    fp = selected - tp
    if not len(tp) or not tp[-1] or not fp[-1]:
        return np.empty(0), np.empty(0)
    return np.r_[0.0, fp / fp[-1]], np.r_[0.0, tp / tp[-1]]


def _thin(points: int) -> NDArray[np.intp]:
    """Choose the points to keep: at most ``MAX_POINTS``, evenly spaced, with both ends."""
    return np.unique(np.linspace(0, points - 1, min(points, MAX_POINTS)).round().astype(np.intp))


def _apportion(counts: NDArray[np.intp], seats: int) -> NDArray[np.intp]:
    share = counts * (seats / max(int(counts.sum()), 1))
    assigned: NDArray[np.intp] = np.floor(share).astype(np.intp)
    remaining = seats - int(assigned.sum())
    assigned[np.argsort(assigned - share, kind="stable")[:remaining]] += 1
    return assigned


def _points(**columns: Floats) -> Points:
    rows = zip(*(np.round(c, 6).tolist() for c in columns.values()), strict=True)
    return [dict(zip(columns, (v + 0.0 for v in row), strict=True)) for row in rows]


def to_text(points: Points) -> str:
    """Format points as JSON with one line per point, so that a diff is readable."""
    lines = ",\n".join(json.dumps(point, ensure_ascii=False, allow_nan=False) for point in points)
    return f"[\n{lines}\n]\n"
