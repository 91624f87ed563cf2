"""Costs of decisions: cost matrix, confusion counts, and the threshold against alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.errors import BadParams, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_cli.metrics.catalog import Floats, Truth
    from mlops_cli.params.task import Cost, Task

__all__ = ["Label", "confusion_counts", "cost_matrix", "weigh_threshold"]

Label = bool | int | float | str
"""A class, as written in `params.yaml` and in the data."""


def cost_matrix(task: Task, classes: Sequence[Label]) -> Floats | None:
    """Build the cost matrix, (k, k): true classes in rows, decisions in columns.

    Parameters
    ----------
    classes
        Classes in the order of their codes; empty for regression, then the result is None.

    Raises
    ------
    BadParams
        If ``task.costs`` names an unknown class.
    """
    if not classes:
        return None
    matrix = 1.0 - np.eye(len(classes))
    if task.type == "binary":
        matrix[0, 1], matrix[1, 0] = task.cost.false_positive, task.cost.false_negative
    names = [str(c) for c in classes]
    for actual, row in task.costs.items():
        for decided, cost in row.items():
            for name in (actual, decided):
                if name not in names:
                    raise BadParams(
                        f"task.costs names {name!r}, which is no class of the target (params.yaml)",
                        nearest(name, names),
                    )
            matrix[names.index(actual), names.index(decided)] = cost
    return matrix


def confusion_counts(y: Truth, decisions: Truth, weights: Floats | None = None) -> dict[str, float]:
    """Count the outcomes of ``decisions`` (n,) for class codes ``y`` (n,), 1 is positive."""
    cells = np.bincount(
        2 * (y == 1).astype(np.intp) + decisions.astype(np.intp), weights, minlength=4
    )
    names = ("true_negative", "false_positive", "false_negative", "true_positive")
    return dict(zip(names, cells.tolist(), strict=True))


def _rates(counts: dict[str, float]) -> dict[str, float]:
    """Compute the rates that are defined, from the confusion counts."""
    tp, fn = counts["true_positive"], counts["false_negative"]
    fp, tn = counts["false_positive"], counts["true_negative"]
    fractions = {
        "precision": (tp, tp + fp),
        "recall": (tp, tp + fn),
        "specificity": (tn, tn + fp),
        "prevalence": (tp + fn, sum(counts.values())),
        "decided_positive": (tp + fp, sum(counts.values())),
    }
    return {
        name: round(numerator / denominator, 6)
        for name, (numerator, denominator) in fractions.items()
        if denominator
    }


def weigh_threshold(
    y: Truth, probability: Floats, threshold: float, cost: Cost, weights: Floats | None = None
) -> dict[str, Any]:
    """Compute the mean cost per row of a threshold, and of the obvious alternatives.

    Decisions are positive at the threshold and above.

    Parameters
    ----------
    y
        Class codes (n,), 1 is positive.
    probability
        Probability of the positive class, (n,).
    threshold
        Threshold in use.
    cost
        Cost of each kind of error.
    weights
        Weight of each row, (n,); by default 1.
    """
    rows = len(y) if weights is None else float(weights.sum())

    def count(decisions: Truth) -> dict[str, float]:
        return confusion_counts(y, decisions, weights)

    def per_row(counts: dict[str, float]) -> float:
        total = (
            counts["false_positive"] * cost.false_positive
            + counts["false_negative"] * cost.false_negative
        )
        return round(total / rows, 6)

    at_threshold = count(probability >= threshold)
    return {
        "threshold": round(threshold, 6),
        "cost_per_row": {
            "at_threshold": per_row(at_threshold),
            "at_half": per_row(count(probability >= 0.5)),  # noqa: PLR2004
            "always_positive": per_row(count(np.ones(len(y)))),
            "always_negative": per_row(count(np.zeros(len(y)))),
        },
        "confusion": {name: round(value, 6) for name, value in at_threshold.items()},
        "rates": _rates(at_threshold),
    }
