"""Whether probabilities are what comes true, and what errors go with predicted values.

What an evaluation keeps of it (`evaluation.json`) is a curve of at most ``BINS`` points for each
class: enough to correct grossly wrong probabilities by J. Platt's logistic curve (1999). For
regression, it is the mean error by predicted value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlops_cli.metrics.bootstrap import Interval, percentile_interval
from mlops_cli.metrics.weighted import Floats, Truth

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
"""At most so many points to a curve, of about as many rows each."""
_CLASSES = 50
"""Curves of more classes are not kept."""
_SLOPE, _SHIFT = 1.4, 1.0
"""Probabilities are corrected where their odds rise so much too fast or too slowly, or are off by
so much (logarithm). Less is as much the period's as the model's: on the flights, estimates for a
month were further off with the month before's correction than without it, in 14 of 21 cases."""
_STEPS = 50
_DRAWS = 200
_ROWS = 50_000
"""At most so many rows are drawn from, for intervals."""


def reliability_curves(y: Truth, prediction: Floats, names: Sequence[str]) -> list[dict[str, Any]]:
    """Draw what came true over what was predicted, in bins of about as many rows.

    Parameters
    ----------
    y
        Class codes or values, (n,).
    prediction
        Probabilities (n, k) or values (n,).
    names
        Of the classes; of two, only the second one gets a curve. Empty for regression.

    Returns
    -------
    list
        For each class ``class`` and ``points`` (``predicted``, ``observed``, ``rows``); for
        regression one without a class, whose points also have the mean ``absolute`` and
        ``squared`` error.
    """
    if prediction.ndim == 1:
        truth = y.astype(np.float64)
        off = truth - prediction
        figures = {"observed": truth, "absolute": np.abs(off), "squared": off**2}
        return [{"class": None, "points": _points(prediction, figures)}]
    if len(names) > _CLASSES:
        return []
    codes = [1] if len(names) == 2 else range(len(names))  # noqa: PLR2004 - yes and no
    return [
        {
            "class": names[code],
            "points": _points(prediction[:, code], {"observed": (y == code).astype(np.float64)}),
        }
        for code in codes
    ]


def _points(at: Floats, figures: Mapping[str, Floats], bins: int = BINS) -> list[dict[str, float]]:
    number, rows = _binned(at, bins)
    means = {
        name: (np.bincount(number, values) / rows).round(6).tolist()
        for name, values in {"predicted": at, **figures}.items()
    }
    return [
        {name: values[i] for name, values in means.items()} | {"rows": int(rows[i])}
        for i in range(len(rows))
    ]


def _binned(at: Floats, bins: int) -> tuple[Truth, Floats]:
    """The bin of each row, without empty ones, and how many rows each has."""
    edges = np.unique(np.quantile(at, np.linspace(0, 1, bins + 1)[1:-1]))
    number = np.unique(np.searchsorted(edges, at, side="right"), return_inverse=True)[1]
    return number, np.bincount(number).astype(np.float64)


def recalibrate(prediction: Floats, curves: Sequence[Curve]) -> Floats:
    """Correct probabilities (n, k) where the evaluation has shown them to be grossly wrong.

    Each class by a logistic curve over the logarithm of its odds, then all to a sum of 1. Without
    curves they are believed as they are.
    """
    if not curves:
        return prediction
    if len(curves) == 1:
        p = _corrected(prediction[:, 1], curves[0]["points"])
        return np.column_stack([1 - p, p])
    corrected = np.column_stack(
        [_corrected(prediction[:, k], curve["points"]) for k, curve in enumerate(curves)]
    )
    whole: Floats = corrected / corrected.sum(axis=1, keepdims=True)
    return whole


def _corrected(p: Floats, points: Sequence[Mapping[str, float]]) -> Floats:
    x = _logit(np.array([point["predicted"] for point in points]))
    rows = np.array([point["rows"] for point in points], dtype=np.float64)
    came = rows * np.array([point["observed"] for point in points])
    if not 0 < came.sum() < rows.sum():
        return p
    # With one more of each kind there is a best line whatever the points (Platt's targets), and
    # where all predictions are the same it is a shift.
    share = (came + 1 / len(x)) / (rows + 2 / len(x))
    line = np.array([_logit(np.array(came.sum() / rows.sum())) - x.mean(), 1.0])
    design = np.column_stack([np.ones_like(x), x])
    for _ in range(_STEPS):
        q = _expit(design @ line)
        bend = design.T @ (design * (rows * q * (1 - q))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(bend, design.T @ (rows * (share - q)) - 1e-6 * (line - [0, 1]))
        line = line + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-9:  # noqa: PLR2004
            break
    middle = float((rows * x).sum() / rows.sum())
    shift = abs(line[0] + (line[1] - 1) * middle)
    if 1 / _SLOPE < line[1] < _SLOPE and shift < _SHIFT:
        return p
    return _expit(line[0] + line[1] * _logit(p))


def _logit(p: Floats) -> Floats:
    inside = np.clip(p, 1e-6, 1 - 1e-6)
    odds: Floats = np.log(inside / (1 - inside))
    return odds


def _expit(x: Floats) -> Floats:
    share: Floats = 1 / (1 + np.exp(-x))
    return share


def expected_error(prediction: Floats, curves: Sequence[Curve], which: str) -> Floats:
    """The error (``absolute`` or ``squared``) that goes with each predicted value, (n,)."""
    points = curves[0]["points"]
    at = [point["predicted"] for point in points]
    errors: Floats = np.interp(prediction, at, [point[which] for point in points])
    return errors


@dataclass(frozen=True)
class Calibration:
    """How far probabilities are from what came true.

    Attributes
    ----------
    error
        The expected calibration error (Naeini et al. 2015) with a bootstrap interval: mean gap
        between predicted and observed share, over bins of equal size.
    chance
        What it would hardly exceed (once in a hundred) if all probabilities were right: it is
        never 0, and the larger the fewer rows there are.
    points
        See ``reliability_curves``; for more than two classes of the most probable one.
    """

    error: Interval
    chance: float
    points: Sequence[Mapping[str, float]]

    @property
    def off(self) -> bool:
        """Whether it is more than chance."""
        return self.error.value > self.chance


def calibration_error(
    y: Truth, prediction: Floats, *, confidence: float, seed: int | Sequence[int], bins: int = 15
) -> Calibration:
    """Measure how far probabilities (n, k) are from what came true, ``y`` (n,) class codes."""
    rng = np.random.default_rng(seed)
    if prediction.shape[1] == 2:  # noqa: PLR2004 - yes and no
        p, hit = prediction[:, 1], (y == 1).astype(np.float64)
    else:
        p, hit = prediction.max(axis=1), (prediction.argmax(axis=1) == y).astype(np.float64)
    points = _points(p, {"observed": hit}, bins)
    value, n = _gap(p, hit, bins), len(p)
    few = np.arange(n) if n <= _ROWS else rng.choice(n, _ROWS, replace=False)
    # Of fewer rows chance is larger by the root of how many fewer: brought back to all of them.
    shrink = float(np.sqrt(len(few) / n))
    number, _ = _binned(p[few], bins)
    size = int(number.max()) + 1
    drawn, by_chance = np.empty(_DRAWS), np.empty(_DRAWS)
    gaps = (hit - p)[few]
    base = np.abs(np.bincount(number, gaps, size)).sum() / len(few)
    for i in range(_DRAWS):
        rows = rng.integers(0, len(few), len(few))
        drawn[i] = np.abs(np.bincount(number[rows], gaps[rows], size)).sum() / len(few)
        came = rng.random(len(few)) < p[few]
        by_chance[i] = np.abs(np.bincount(number, came - p[few], size)).sum() / len(few)
    interval = percentile_interval(value, value + (drawn - base) * shrink, confidence)
    interval = Interval(value, max(interval.low, 0.0), interval.high)
    return Calibration(interval, float(np.quantile(by_chance, 0.99)) * shrink, points)


def _gap(p: Floats, hit: Floats, bins: int) -> float:
    number, _ = _binned(p, bins)
    return float(np.abs(np.bincount(number, hit - p)).sum() / len(p))
