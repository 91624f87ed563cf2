"""Calibration of probabilities and values, kept only if it lowers the held-out loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.splitting.folds import cross_validation

if TYPE_CHECKING:
    from mlops_cli.metrics.catalog import Floats, Truth

__all__ = ["Calibrator", "fit_calibrator"]

_MIN_PROBABILITY = 1e-7
_FOLDS = 5
_MIN_ROWS = 50
"""With fewer rows nothing is calibrated."""
_MAX_POWER = 3.0
_MAX_SLOPE = 20.0
_ISOTONIC_ROWS = 5_000
"""Least rows for isotonic regression (Niculescu-Mizil and Caruana, ICML 2005: above a thousand)."""


@dataclass(frozen=True)
class Calibrator:
    """A fitted calibration map, stored as plain numbers.

    ``kind`` is one of

    - ``logistic``: log-odds times ``slope`` plus ``intercept`` (Platt 1999);
    - ``prior``: probabilities to the ``power``, times class shares to 1 - ``power``. With power 0
      the result is the class shares, so that a useless model becomes a constant;
    - ``isotonic``: the probability at given points, interpolated linearly;
    - ``line``: values times ``slope`` plus ``intercept``.
    """

    kind: str
    values: Mapping[str, Any]

    def __call__(self, prediction: Floats) -> Floats:
        """Calibrate probabilities (n, classes), or values (n,)."""
        return _APPLY[self.kind](prediction, self.values)

    def to_json(self) -> dict[str, Any]:
        """The calibrator as plain values, which ``from_json`` reads."""
        return {"kind": self.kind, **self.values}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Calibrator:
        """Build a calibrator from the values of ``to_json``."""
        return cls(tree["kind"], {name: v for name, v in tree.items() if name != "kind"})


def fit_calibrator(
    y: Truth, prediction: Floats, *, seed: int, allow_shift: bool, weight: Floats | None = None
) -> Calibrator | None:
    """The calibrator with the smallest cross-validated loss; None if none lowers the loss.

    The loss is the negative log-likelihood of probabilities, or the squared error of values. A
    calibrator is used only if its gain is larger than the gain's standard error.

    Parameters
    ----------
    y
        Class codes or values, (n,).
    prediction
        Predictions of a model for rows that it was not fitted on.
    seed
        Seed of the folds.
    allow_shift
        Whether the level may be shifted. It may not if the rows are from one season only.
    weight
        Weight of each row, (n,).
    """
    if len(y) < _MIN_ROWS:
        return None
    weight = np.ones(len(y)) if weight is None else weight
    classes = prediction.shape[1] if prediction.ndim > 1 else 0
    kinds = ["line"] if not classes else ["prior"]
    if classes == 2 and allow_shift:  # noqa: PLR2004
        kinds += ["logistic", *(["isotonic"] if len(y) >= _ISOTONIC_ROWS else [])]
    strata = y.astype(np.int64) if classes else None
    folds = cross_validation(np.arange(len(y)), strata, _FOLDS, seed, grouped=False)
    chosen, losses = None, _row_losses(y, prediction)
    # From the simplest to the most flexible: each has to beat the best before it.
    for kind in kinds:
        calibrated = np.array(prediction, dtype=np.float64)
        for fold in folds:
            parameters = _FIT[kind](
                y[fold.fit_rows], prediction[fold.fit_rows], weight[fold.fit_rows]
            )
            calibrated[fold.score_rows] = Calibrator(kind, parameters)(prediction[fold.score_rows])
        kind_losses = _row_losses(y, calibrated)
        gains = (losses - kind_losses) * weight / weight.mean()
        if gains.mean() > gains.std() / np.sqrt(len(y)):
            chosen, losses = kind, kind_losses
    return Calibrator(chosen, _FIT[chosen](y, prediction, weight)) if chosen else None


def _row_losses(y: Truth, prediction: Floats) -> Floats:
    if prediction.ndim == 1:
        return np.asarray((y.astype(np.float64) - prediction) ** 2)
    chosen = prediction[np.arange(len(y)), y.astype(np.intp)]
    return -np.log(np.clip(chosen, _MIN_PROBABILITY, 1.0))


def _unseen_probability(rows: int) -> float:
    """Smoothing: the probability that a row has another class than its label.

    It adds half an error and one row to the counts (R. Krichevsky and V. Trofimov, 1981, for the
    log loss). Without it, a model without errors on these rows would become certain. The other
    class is taken to be the most probable one.
    """
    return 0.5 / (rows + 1)


def _log_odds(prediction: Floats) -> Floats:
    p = np.clip(prediction[:, 1], _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return np.asarray(np.log(p) - np.log1p(-p))


def _fit_logistic(y: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    # SciPy imports in a fifth of the time of scikit-learn's LogisticRegression.
    from scipy.optimize import minimize

    x, shares = _log_odds(prediction), weight / weight.sum()
    unseen = _unseen_probability(len(y))
    target = np.where(np.asarray(y) == 1, 1.0 - unseen, unseen)

    def loss(parameters: Floats) -> tuple[float, Floats]:
        margins = parameters[0] * x + parameters[1]
        value = float((shares * (np.logaddexp(0.0, margins) - target * margins)).sum())
        gradients = shares * (np.exp(-np.logaddexp(0.0, -margins)) - target)
        return value, np.array([(gradients * x).sum(), gradients.sum()])

    # A slope below 0 would reverse the ranking of the rows.
    bounds = [(0.0, _MAX_SLOPE), (None, None)]
    optimum = minimize(loss, [1.0, 0.0], jac=True, bounds=bounds, options={"ftol": 0, "gtol": 1e-9})
    slope, intercept = optimum.x
    return {"slope": round(float(slope), 6), "intercept": round(float(intercept), 6)}


def _apply_logistic(prediction: Floats, values: Mapping[str, Any]) -> Floats:
    margin = values["slope"] * _log_odds(prediction) + values["intercept"]
    p = 1.0 / (1.0 + np.exp(-margin))
    return np.column_stack([1.0 - p, p])


def _fit_prior(y: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    classes = prediction.shape[1]
    counts = np.bincount(y.astype(np.intp), weights=weight, minlength=classes) + 0.5
    shares = [round(float(share), 9) for share in counts / counts.sum()]

    unseen = _unseen_probability(len(y))
    runners_up = np.argsort(-prediction, axis=1, kind="stable")[:, 1]
    truth = y.astype(np.intp)
    others = np.where(runners_up == truth, prediction.argmax(axis=1), runners_up)

    def loss(power: float) -> float:
        calibrated = _apply_prior(prediction, {"power": power, "shares": shares})
        own, other = _row_losses(truth, calibrated), _row_losses(others, calibrated)
        return float((weight * ((1.0 - unseen) * own + unseen * other)).mean())

    # The loss is convex in the power: first a coarse grid, then a fine one around its minimum.
    coarse = min(np.linspace(0.0, _MAX_POWER, 13), key=loss)
    step = _MAX_POWER / 12
    grid = np.linspace(max(0.0, coarse - step), coarse + step, 21)
    return {"power": round(float(min(grid, key=loss)), 4), "shares": shares}


def _apply_prior(prediction: Floats, values: Mapping[str, Any]) -> Floats:
    power = values["power"]
    logs = power * np.log(np.clip(prediction, _MIN_PROBABILITY, 1.0))
    logs = logs + (1.0 - power) * np.log(np.asarray(values["shares"]))
    unnormalised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(unnormalised / unnormalised.sum(axis=1, keepdims=True))


def _fit_isotonic(y: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    from scipy.optimize import isotonic_regression

    x, index = np.unique(prediction[:, 1], return_inverse=True)
    weights = np.maximum(np.bincount(index, weight), np.finfo(float).tiny)
    means = np.bincount(index, weight * np.asarray(y, dtype=np.float64)) / weights
    # Laplace smoothing adds two rows, one of each class, so that nothing is certain.
    margin = 1.0 / (len(y) + 2)
    p = np.clip(isotonic_regression(means, weights=weights).x, margin, 1.0 - margin)
    # Only the ends of each step are needed.
    changes = np.diff(p, prepend=np.nan, append=np.nan) != 0
    corners = changes[:-1] | changes[1:]
    return {
        "x": [round(float(v), 9) for v in x[corners]],
        "p": [round(float(v), 9) for v in p[corners]],
    }


def _apply_isotonic(prediction: Floats, values: Mapping[str, Any]) -> Floats:
    p = np.interp(prediction[:, 1], values["x"], values["p"])
    return np.column_stack([1.0 - p, p])


def _fit_line(truth: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    y = truth.astype(np.float64)
    mean, mean_truth = np.average(prediction, weights=weight), np.average(y, weights=weight)
    deviations = prediction - mean
    spread = float((weight * deviations**2).sum())
    slope = float((weight * deviations * (y - mean_truth)).sum()) / spread if spread > 0 else 0.0
    slope = min(max(slope, 0.0), 2.0)
    return {"slope": slope, "intercept": float(mean_truth - slope * mean)}


def _apply_line(prediction: Floats, values: Mapping[str, Any]) -> Floats:
    return np.asarray(values["slope"] * prediction + values["intercept"])


_FIT: Mapping[str, Callable[[Truth, Floats, Floats], dict[str, Any]]] = {
    "logistic": _fit_logistic,
    "prior": _fit_prior,
    "isotonic": _fit_isotonic,
    "line": _fit_line,
}
_APPLY: Mapping[str, Callable[[Floats, Mapping[str, Any]], Floats]] = {
    "logistic": _apply_logistic,
    "prior": _apply_prior,
    "isotonic": _apply_isotonic,
    "line": _apply_line,
}
