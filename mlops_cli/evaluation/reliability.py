"""Reliability (calibration) curves, recalibration, and expected errors of predicted values.

The evaluation report (`evaluation.json`) keeps a curve of at most ``BINS`` points for each class.
That is enough to correct grossly wrong probabilities by J. Platt's logistic curve (1999). For
regression, it keeps the mean error by predicted value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops_cli.metrics.bootstrap import Interval, percentile_interval
from mlops_cli.metrics.weighted import Floats, Truth
from mlops_cli.models.families.outputs import sigmoid

__all__ = [
    "BINS",
    "Calibration",
    "calibration_error",
    "expected_error",
    "recalibrate",
    "reliability_curves",
]

Curve = Mapping[str, Any]
"""``class`` (None for regression) and ``points``."""

BINS = 40
"""Maximum points of a curve; each has about as many rows."""
_MAX_CLASSES = 50
"""Maximum classes for which curves are kept."""
_MAX_SLOPE, _MAX_SHIFT = 1.4, 1.0
"""Probabilities are corrected if the slope of their log-odds is off by more than this factor, or
their log-odds are shifted by more than this. Smaller errors depend as much on the period as on the
model: on the flights, estimates for a month were worse with the correction of the month before
than without it, in 14 of 21 cases."""
_MAX_STEPS = 50
"""Maximum steps of Newton's method."""
_DRAWS = 200
"""Number of resamples of the calibration error."""
_MAX_ROWS = 50_000
"""Maximum rows that are resampled, for intervals."""


def reliability_curves(y: Truth, prediction: Floats, names: Sequence[str]) -> list[dict[str, Any]]:
    """Compute observed over predicted values, in bins of about as many rows.

    Parameters
    ----------
    y
        Class codes or values, (n,).
    prediction
        Probabilities (n, k) or values (n,).
    names
        Class names; of two classes, only the second one gets a curve. Empty for regression.

    Returns
    -------
    list
        Curves with ``class`` and ``points`` (``predicted``, ``observed``, ``rows``). Regression
        has one curve without a class; its points also have the mean ``absolute`` and ``squared``
        error.
    """
    if prediction.ndim == 1:
        labels = y.astype(np.float64)
        error = labels - prediction
        figures = {"observed": labels, "absolute": np.abs(error), "squared": error**2}
        return [{"class": None, "points": _points(prediction, figures)}]
    if len(names) > _MAX_CLASSES:
        return []
    codes = [1] if len(names) == 2 else range(len(names))  # noqa: PLR2004 - yes and no
    return [
        {
            "class": names[code],
            "points": _points(prediction[:, code], {"observed": (y == code).astype(np.float64)}),
        }
        for code in codes
    ]


def _points(
    predicted: Floats, figures: Mapping[str, Floats], bins: int = BINS
) -> list[dict[str, float]]:
    bin_of_row, rows = _assign_bins(predicted, bins)
    means = {
        name: (np.bincount(bin_of_row, values) / rows).round(6).tolist()
        for name, values in {"predicted": predicted, **figures}.items()
    }
    return [
        {name: values[i] for name, values in means.items()} | {"rows": int(rows[i])}
        for i in range(len(rows))
    ]


def _assign_bins(predicted: Floats, bins: int) -> tuple[Truth, Floats]:
    """Assign each row to a bin, without empty bins, and count the rows of each bin."""
    edges = np.unique(np.quantile(predicted, np.linspace(0, 1, bins + 1)[1:-1]))
    bin_of_row = np.unique(np.searchsorted(edges, predicted, side="right"), return_inverse=True)[1]
    return bin_of_row, np.bincount(bin_of_row).astype(np.float64)


def recalibrate(prediction: Floats, curves: Sequence[Curve]) -> Floats:
    """Correct probabilities (n, k) where the evaluation has shown them to be grossly wrong.

    Each class is corrected by a logistic curve over its log-odds; then rows are normalised to a
    sum of 1. Without curves, probabilities are returned as they are.
    """
    if not curves:
        return prediction
    if len(curves) == 1:
        p = _correct(prediction[:, 1], curves[0]["points"])
        return np.column_stack([1 - p, p])
    corrected = np.column_stack(
        [_correct(prediction[:, k], curve["points"]) for k, curve in enumerate(curves)]
    )
    normalised: Floats = corrected / corrected.sum(axis=1, keepdims=True)
    return normalised


def _correct(p: Floats, points: Sequence[Mapping[str, float]]) -> Floats:
    x = _logit(np.array([point["predicted"] for point in points]))
    rows = np.array([point["rows"] for point in points], dtype=np.float64)
    positives = rows * np.array([point["observed"] for point in points])
    if not 0 < positives.sum() < rows.sum():
        return p
    # One more positive and one more negative row (Platt's targets) keep the fit finite for any
    # points. If all predictions are equal, the correction is a shift.
    targets = (positives + 1 / len(x)) / (rows + 2 / len(x))
    coefficients = np.array([_logit(np.array(positives.sum() / rows.sum())) - x.mean(), 1.0])
    design = np.column_stack([np.ones_like(x), x])
    for _ in range(_MAX_STEPS):
        q = sigmoid(design @ coefficients)
        hessian = design.T @ (design * (rows * q * (1 - q))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(
            hessian, design.T @ (rows * (targets - q)) - 1e-6 * (coefficients - [0, 1])
        )
        coefficients = coefficients + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004
            break
    mean_logit = float((rows * x).sum() / rows.sum())
    shift = abs(coefficients[0] + (coefficients[1] - 1) * mean_logit)
    if 1 / _MAX_SLOPE < coefficients[1] < _MAX_SLOPE and shift < _MAX_SHIFT:
        return p
    return sigmoid(coefficients[0] + coefficients[1] * _logit(p))


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    log_odds: Floats = np.log(clipped / (1 - clipped))
    return log_odds


def expected_error(prediction: Floats, curves: Sequence[Curve], error_kind: str) -> Floats:
    """Interpolate the mean error (``absolute`` or ``squared``) at each predicted value, (n,)."""
    points = curves[0]["points"]
    predicted = [point["predicted"] for point in points]
    errors: Floats = np.interp(prediction, predicted, [point[error_kind] for point in points])
    return errors


@dataclass(frozen=True)
class Calibration:
    """Calibration error of probabilities.

    Attributes
    ----------
    error
        The expected calibration error (Naeini et al. 2015) with a bootstrap interval: mean gap
        between predicted and observed share, over bins of equal size.
    chance_limit
        99th percentile of the error if all probabilities were right. It is never 0, and larger
        with fewer rows.
    points
        See ``reliability_curves``; with more than two classes, of the most probable class.
    """

    error: Interval
    chance_limit: float
    points: Sequence[Mapping[str, float]]

    @property
    def exceeds_chance(self) -> bool:
        """Whether the error is larger than chance."""
        return self.error.value > self.chance_limit


def calibration_error(
    y: Truth, prediction: Floats, *, confidence: float, seed: int | Sequence[int], bins: int = 15
) -> Calibration:
    """Compute the calibration error of probabilities (n, k), with class codes ``y`` (n,)."""
    rng = np.random.default_rng(seed)
    if prediction.shape[1] == 2:  # noqa: PLR2004 - yes and no
        p, hit = prediction[:, 1], (y == 1).astype(np.float64)
    else:
        p, hit = prediction.max(axis=1), (prediction.argmax(axis=1) == y).astype(np.float64)
    points = _points(p, {"observed": hit}, bins)
    value, total = _mean_gap(p, hit, bins), len(p)
    sample = np.arange(total) if total <= _MAX_ROWS else rng.choice(total, _MAX_ROWS, replace=False)
    # A sample is noisier by the root of how much smaller it is: scale the noise to all rows.
    shrink = float(np.sqrt(len(sample) / total))
    bin_of_row, _ = _assign_bins(p[sample], bins)
    size = int(bin_of_row.max()) + 1
    drawn, by_chance = np.empty(_DRAWS), np.empty(_DRAWS)
    gaps = (hit - p)[sample]
    sample_error = np.abs(np.bincount(bin_of_row, gaps, size)).sum() / len(sample)
    for i in range(_DRAWS):
        rows = rng.integers(0, len(sample), len(sample))
        drawn[i] = np.abs(np.bincount(bin_of_row[rows], gaps[rows], size)).sum() / len(sample)
        labels = rng.random(len(sample)) < p[sample]
        by_chance[i] = np.abs(np.bincount(bin_of_row, labels - p[sample], size)).sum() / len(sample)
    interval = percentile_interval(value, value + (drawn - sample_error) * shrink, confidence)
    interval = Interval(value, max(interval.low, 0.0), interval.high)
    return Calibration(interval, float(np.quantile(by_chance, 0.99)) * shrink, points)


def _mean_gap(p: Floats, hit: Floats, bins: int) -> float:
    bin_of_row, _ = _assign_bins(p, bins)
    return float(np.abs(np.bincount(bin_of_row, hit - p)).sum() / len(p))
