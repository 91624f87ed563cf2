"""What is plotted of an evaluation: points of curves, and how ``dvc plots`` shows them."""

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
    from mlops_cli.params.modelling import Cost, Task

__all__ = [
    "PLOTS",
    "Plot",
    "Points",
    "calibration",
    "confusion",
    "importance",
    "of_probabilities",
    "precision_recall",
    "residuals",
    "roc",
    "roc_ovr",
    "thresholds",
    "to_text",
]

Points = list[dict[str, Any]]
"""Rows of plain values, as ``dvc plots`` reads them from JSON."""

POINTS = 200
"""At most so many points to a curve."""
ROWS = 1000
"""At most so many rows in a confusion plot, whose template counts rows by itself."""
DOTS = 1000
"""At most so many rows in a scatter plot."""


@dataclass(frozen=True)
class Plot:
    """One plot of ``dvc plots``: a file of ``Layout.plots``, its columns, and the template."""

    file: str
    x: str
    y: str | tuple[str, ...]
    template: str
    title: str


_CONFUSION = Plot(
    "confusion.json", "predicted", "actual", "confusion", f"Confusion (scaled to {ROWS} rows)"
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
"""Task type -> its plots: always the same files, so that ``dvc.yaml`` can list them."""


def roc(positive: Truth, score: Floats) -> Points:
    """Draw the ROC curve; no points where there is only one class.

    Parameters
    ----------
    positive
        Whether the row is of the positive class, (n,).
    score
        The higher, the more positive, (n,).
    """
    false, true = _roc(positive, score)
    keep = _thin(len(false))
    return _points(false_positive_rate=false[keep], true_positive_rate=true[keep])


def roc_ovr(y: Truth, prediction: Floats) -> Points:
    """Draw the ROC curve of the mean over classes, and of the classes of least and most area.

    Each class against the rest, at ``POINTS`` equal steps of the false positive rate; ``y``
    (n,) class codes, ``prediction`` (n, k). Classes that don't occur have no curve.
    """
    grid = np.linspace(0, 1, POINTS)
    curves = [_roc(y == k, prediction[:, k]) for k in range(prediction.shape[1])]
    heights = np.array([np.interp(grid, false, true) for false, true in curves if len(false)])
    if not len(heights):
        return []
    area = [np.trapezoid(true, false) for false, true in curves if len(false)]
    return _points(
        false_positive_rate=grid,
        mean=heights.mean(axis=0),
        worst=heights[np.argmin(area)],
        best=heights[np.argmax(area)],
    )


def precision_recall(positive: Truth, score: Floats) -> Points:
    """Draw precision over recall, from the strictest threshold to the laxest; see ``roc``."""
    found, taken = _cumulated(positive, score)
    if not len(found) or not found[-1]:
        return []
    keep = _thin(len(found))
    return _points(recall=(found / found[-1])[keep], precision=(found / taken)[keep])


def thresholds(positive: Truth, score: Floats, cost: Cost) -> Points:
    """Give precision, recall and cost of deciding yes from each of 99 thresholds on.

    The cost is relative to the cheaper of deciding yes or no for all rows: below 1 the model is
    worth something. Where nothing is decided yes there is no precision, and no point.

    Parameters
    ----------
    positive, score
        See ``roc``; the score is a probability.
    cost
        Of each kind of error.
    """
    falling, hits = np.sort(-score), np.sort(-score[positive.astype(bool)])
    grid = np.arange(1, 100) / 100
    taken = np.searchsorted(falling, -grid, side="right")
    found = np.searchsorted(hits, -grid, side="right")
    all_, rows = len(hits), len(score)
    constant = min(cost.false_positive * (rows - all_), cost.false_negative * all_)
    there = taken > 0
    if not all_ or not constant:
        return []
    taken, found = taken[there].astype(np.float64), found[there].astype(np.float64)
    wrong = cost.false_positive * (taken - found) + cost.false_negative * (all_ - found)
    return _points(
        threshold=grid[there],
        precision=found / taken,
        recall=found / all_,
        relative_cost=wrong / constant,
    )


def calibration(hit: Truth, probability: Floats, bins: int = 10) -> Points:
    """Compare predicted with observed shares, in bins of nearly equal numbers of rows.

    Parameters
    ----------
    hit
        Whether what was given the probability came true, (n,).
    probability
        (n,). Rows of equal probability fall into the same bin.
    bins
        How many bins at most.
    """
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1]))
    number = np.searchsorted(edges, probability, side="right")
    rows = np.bincount(number)
    there = rows > 0
    predicted = np.bincount(number, probability)[there] / rows[there]
    observed = np.bincount(number, hit.astype(np.float64))[there] / rows[there]
    points = _points(predicted=predicted, observed=observed)
    return [p | {"rows": int(n)} for p, n in zip(points, rows[there], strict=True)]


def confusion(actual: Truth, predicted: Truth, names: Sequence[str]) -> Points:
    """Give rows of (actual, predicted) class names, scaled to at most ``ROWS`` rows.

    The plot's template counts rows. Seats go to cells by largest remainders, so the scaled
    counts are as near to proportional as whole numbers can be. ``actual`` and ``predicted``
    are class codes (n,).
    """
    k = len(names)
    cells = np.bincount(actual.astype(np.intp) * k + predicted.astype(np.intp), minlength=k * k)
    seats = _apportion(cells, min(ROWS, int(cells.sum())))
    return [
        {"actual": names[cell // k], "predicted": names[cell % k]}
        for cell in np.repeat(np.arange(k * k), seats).tolist()
    ]


def residuals(y: Floats, prediction: Floats, seed: int | Sequence[int]) -> Points:
    """Give predicted value and residual (truth less prediction) of at most ``DOTS`` rows, drawn.

    ``y`` and ``prediction`` are (n,); the drawn rows keep their order.
    """
    rows = np.arange(len(y))
    if len(y) > DOTS:
        rows = np.sort(np.random.default_rng(seed).choice(len(y), DOTS, replace=False))
    return _points(predicted=prediction[rows], residual=(y - prediction)[rows])


def of_probabilities(task: Task, y: Truth, prediction: Floats) -> dict[str, Points]:
    """Points by file name, of class codes (n,) and probabilities (n, k)."""
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
    """Give features and their importance, in the order given."""
    return [{"feature": k, column: round(v, 6) + 0.0} for k, v in figures.items()]


def _cumulated(positive: Truth, score: Floats) -> tuple[Floats, Floats]:
    """Count positives and rows above each distinct threshold, by falling threshold."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    last = np.r_[np.flatnonzero(np.diff(falling)), len(falling) - 1] if len(falling) else order
    found = np.cumsum(positive[order], dtype=np.float64)[last]
    return found, (last + 1).astype(np.float64)


def _roc(positive: Truth, score: Floats) -> tuple[Floats, Floats]:
    true, taken = _cumulated(positive, score)
    false = taken - true
    if not len(true) or not true[-1] or not false[-1]:
        return np.empty(0), np.empty(0)
    return np.r_[0.0, false / false[-1]], np.r_[0.0, true / true[-1]]


def _thin(points: int) -> NDArray[np.intp]:
    """Number the points to keep: at most ``POINTS``, evenly, with both ends."""
    return np.unique(np.linspace(0, points - 1, min(points, POINTS)).round().astype(np.intp))


def _apportion(counts: NDArray[np.intp], seats: int) -> NDArray[np.intp]:
    share = counts * (seats / max(int(counts.sum()), 1))
    whole: NDArray[np.intp] = np.floor(share).astype(np.intp)
    left = seats - int(whole.sum())
    whole[np.argsort(whole - share, kind="stable")[:left]] += 1
    return whole


def _points(**columns: Floats) -> Points:
    rows = zip(*(np.round(c, 6).tolist() for c in columns.values()), strict=True)
    return [dict(zip(columns, (v + 0.0 for v in row), strict=True)) for row in rows]


def to_text(points: Points) -> str:
    """JSON with a line per point, so that the diff of a thousand points is readable."""
    lines = ",\n".join(json.dumps(point, ensure_ascii=False, allow_nan=False) for point in points)
    return f"[\n{lines}\n]\n"
