"""From a model's raw scores to what ``FittedModel`` promises: probabilities, values, shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.fit_request import Floats

__all__ = ["normalise", "sigmoid", "softmax", "spread_classes", "to_predictions", "two_columns"]


def spread_classes(probabilities: Floats, present: npt.NDArray[Any], classes: int) -> Floats:
    """Probabilities (n, present) as (n, classes): 0 for a class that the fit never saw."""
    if probabilities.shape[1] == classes:
        return probabilities
    wide = np.zeros((len(probabilities), classes))
    wide[:, np.asarray(present, dtype=np.int64)] = probabilities
    return wide


def to_predictions(scores: Floats, loss: str, present: npt.NDArray[Any], classes: int) -> Floats:
    """Raw scores (rows, outputs) of a model fitted by ``loss``: see ``FittedModel.predict``."""
    if loss == "log":
        known = two_columns(sigmoid(scores[:, 0])) if scores.shape[1] == 1 else softmax(scores)
        return spread_classes(known, present, classes)
    return np.exp(np.clip(scores[:, 0], None, 700.0)) if loss == "poisson" else scores[:, 0]


def two_columns(positive: Floats) -> Floats:
    """Probabilities of the positive class (n,) as (n, 2)."""
    return np.column_stack([1.0 - positive, positive])


def sigmoid(score: Floats) -> Floats:
    """Log-odds (n,) as probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -700.0, 700.0))))


def softmax(scores: Floats) -> Floats:
    """Raw scores (n, classes) as probabilities."""
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def normalise(weights: Floats) -> Floats:
    """Weights (features,) divided by their sum; zeros stay zeros."""
    total = float(weights.sum())
    return weights / total if total > 0 else np.zeros(len(weights))
