"""What a binary decision costs: the threshold in use against the obvious alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.errors import BadParams, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_cli.metrics.catalog import Floats, Truth
    from mlops_cli.params.modelling import Cost, Task

__all__ = ["Label", "confusion_counts", "cost_matrix", "weigh_threshold"]

Label = bool | int | float | str
"""A class, as `params.yaml` and the data have it."""


def cost_matrix(task: Task, classes: Sequence[Label]) -> Floats | None:
    """What it costs to decide for the column's class where the row's is true, (k, k).

    Parameters
    ----------
    classes
        In the order of their codes; none for regression, which gives None.

    Raises
    ------
    BadParams
        If ``task.costs`` names a class that isn't there.
    """
    if not classes:
        return None
    matrix = 1.0 - np.eye(len(classes))
    if task.type == "binary":
        matrix[0, 1], matrix[1, 0] = task.cost.false_positive, task.cost.false_negative
    names = [str(c) for c in classes]
    for actual, row in task.costs.items():
        for decided, price in row.items():
            for name in (actual, decided):
                if name not in names:
                    raise BadParams(
                        f"task.costs names {name!r}, which is no class of the target (params.yaml)",
                        nearest(name, names),
                    )
            matrix[names.index(actual), names.index(decided)] = price
    return matrix


def confusion_counts(y: Truth, yes: Truth, weights: Floats | None = None) -> dict[str, float]:
    """Count the four outcomes; ``y`` codes (n,) with 1 positive, ``yes`` the decision (n,)."""
    cells = np.bincount(2 * (y == 1).astype(np.intp) + yes.astype(np.intp), weights, minlength=4)
    names = ("true_negative", "false_positive", "false_negative", "true_positive")
    return dict(zip(names, cells.tolist(), strict=True))


def _rates(counts: dict[str, float]) -> dict[str, float]:
    """Figures of the decision that are defined, from the four outcomes."""
    right, missed = counts["true_positive"], counts["false_negative"]
    alarms, quiet = counts["false_positive"], counts["true_negative"]
    parts = {
        "precision": (right, right + alarms),
        "recall": (right, right + missed),
        "specificity": (quiet, quiet + alarms),
        "prevalence": (right + missed, sum(counts.values())),
        "decided_positive": (right + alarms, sum(counts.values())),
    }
    return {name: round(above / below, 6) for name, (above, below) in parts.items() if below}


def weigh_threshold(
    y: Truth, probability: Floats, threshold: float, cost: Cost, weights: Floats | None = None
) -> dict[str, Any]:
    """Give the mean cost per row of deciding yes at ``threshold`` and above, and of alternatives.

    Parameters
    ----------
    y
        Codes (n,), 1 is positive.
    probability
        Of the positive class, (n,).
    threshold
        The one in use.
    cost
        Of each kind of error.
    weights
        What each row counts, (n,); by default 1.
    """
    rows = len(y) if weights is None else float(weights.sum())

    def count(yes: Truth) -> dict[str, float]:
        return confusion_counts(y, yes, weights)

    def per_row(counts: dict[str, float]) -> float:
        total = (
            counts["false_positive"] * cost.false_positive
            + counts["false_negative"] * cost.false_negative
        )
        return round(total / rows, 6)

    decided = count(probability >= threshold)
    return {
        "threshold": round(threshold, 6),
        "cost_per_row": {
            "at_threshold": per_row(decided),
            "at_half": per_row(count(probability >= 0.5)),  # noqa: PLR2004
            "always_positive": per_row(count(np.ones(len(y)))),
            "always_negative": per_row(count(np.zeros(len(y)))),
        },
        "confusion": {name: round(value, 6) for name, value in decided.items()},
        "rates": _rates(decided),
    }
