"""Link functions: raw scores to probabilities or values; normalised feature importances."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.fit_request import Floats

__all__ = ["normalise", "sigmoid", "softmax", "spread_classes", "to_predictions", "two_columns"]


def spread_classes(probabilities: Floats, present: npt.NDArray[Any], classes: int) -> Floats:
    """Probabilities (n, present) as (n, classes), with 0 for classes without training rows."""
    if probabilities.shape[1] == classes:
        return probabilities
    padded = np.zeros((len(probabilities), classes))
    padded[:, np.asarray(present, dtype=np.int64)] = probabilities
    return padded


def to_predictions(scores: Floats, loss: str, present: npt.NDArray[Any], classes: int) -> Floats:
    """Turn raw scores (rows, outputs) into predictions, as in ``FittedModel.predict``.

    Parameters
    ----------
    scores
        Raw scores of a model.
    loss
        The loss that the model was fitted with.
    present
        Codes of the classes in the training rows.
    classes
        Number of all classes.
    """
    if loss == "log":
        probabilities = (
            two_columns(sigmoid(scores[:, 0])) if scores.shape[1] == 1 else softmax(scores)
        )
        return spread_classes(probabilities, present, classes)
    return np.exp(np.clip(scores[:, 0], None, 700.0)) if loss == "poisson" else scores[:, 0]


def two_columns(positive: Floats) -> Floats:
    """Probabilities of the positive class (n,) as (n, 2)."""
    return np.column_stack([1.0 - positive, positive])


def sigmoid(score: Floats) -> Floats:
    """Log-odds (n,) as probabilities."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(score, -700.0, 700.0))))


def softmax(scores: Floats) -> Floats:
    """Raw scores (n, classes) as probabilities."""
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def normalise(weights: Floats) -> Floats:
    """Weights (features,) divided by their sum; zeros stay zeros."""
    total = float(weights.sum())
    return weights / total if total > 0 else np.zeros(len(weights))
