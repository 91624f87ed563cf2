"""What a binary decision costs: the threshold in use against the obvious alternatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlops_cli.core.metrics import Floats, Truth
    from mlops_cli.params.modelling import Cost

__all__ = ["confusion_counts", "weigh_threshold"]


def confusion_counts(y: Truth, yes: Truth) -> dict[str, int]:
    """Count the four outcomes; ``y`` codes (n,) with 1 positive, ``yes`` the decision (n,)."""
    cells = np.bincount(2 * (y == 1).astype(np.intp) + yes.astype(np.intp), minlength=4)
    names = ("true_negative", "false_positive", "false_negative", "true_positive")
    return dict(zip(names, cells.tolist(), strict=True))


def weigh_threshold(y: Truth, probability: Floats, threshold: float, cost: Cost) -> dict[str, Any]:
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
    """

    def per_row(counts: dict[str, int]) -> float:
        total = (
            counts["false_positive"] * cost.false_positive
            + counts["false_negative"] * cost.false_negative
        )
        return round(total / len(y), 6)

    decided = confusion_counts(y, probability >= threshold)
    return {
        "threshold": round(threshold, 6),
        "cost_per_row": {
            "at_threshold": per_row(decided),
            "at_half": per_row(confusion_counts(y, probability >= 0.5)),  # noqa: PLR2004
            "always_positive": per_row(confusion_counts(y, np.ones(len(y)))),
            "always_negative": per_row(confusion_counts(y, np.zeros(len(y)))),
        },
        "confusion": decided,
    }
