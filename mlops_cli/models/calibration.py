"""Predictions bent so that they say what comes true, where that lowers the loss on other rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.splitting.folds import cross_validation

if TYPE_CHECKING:
    from mlops_cli.metrics.catalog import Floats, Truth

__all__ = ["Calibrator", "fit_calibrator"]

_LEAST = 1e-7
_FOLDS = 5
_FEW = 50
"""On fewer rows nothing is calibrated."""
_MOST_POWER = 3.0
_MOST_SLOPE = 20.0
_ISOTONIC_ROWS = 5_000
"""A step function needs many rows (Niculescu-Mizil and Caruana, ICML 2005: above a thousand)."""


@dataclass(frozen=True)
class Calibrator:
    """A fitted map of predictions, as plain numbers.

    ``kind`` is one of

    - ``logistic``: log-odds times ``slope`` plus ``intercept`` (Platt 1999);
    - ``prior``: probabilities to the ``power``, times class shares to 1 - ``power``: at 0 it
      gives the shares, so that a useless model becomes a constant;
    - ``isotonic``: the probability at given points, straight in between;
    - ``line``: values times ``slope`` plus ``intercept``.
    """

    kind: str
    values: Mapping[str, Any]

    def __call__(self, prediction: Floats) -> Floats:
        """Bend probabilities (n, classes), or values (n,)."""
        return _APPLY[self.kind](prediction, self.values)

    def to_json(self) -> dict[str, Any]:
        """As plain values; ``from_json`` reads them."""
        return {"kind": self.kind, **self.values}

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Calibrator:
        """From what ``to_json`` gave."""
        return cls(tree["kind"], {name: v for name, v in tree.items() if name != "kind"})


def fit_calibrator(
    y: Truth, prediction: Floats, *, seed: int, shifts: bool, weight: Floats | None = None
) -> Calibrator | None:
    """The calibrator with the least loss on rows that it was not fitted on, or None.

    The loss is the negative log-likelihood of probabilities, or the squared error of values. One
    is taken only if its gain is larger than the gain's standard error.

    Parameters
    ----------
    y
        Class codes or values, (n,).
    prediction
        What a model says of rows that it wasn't taught by.
    seed
        Of the folds.
    shifts
        Whether the level may be shifted: not where the rows are of one season only.
    weight
        How much each row counts, (n,).
    """
    if len(y) < _FEW:
        return None
    weight = np.ones(len(y)) if weight is None else weight
    classes = prediction.shape[1] if prediction.ndim > 1 else 0
    kinds = ["line"] if not classes else ["prior"]
    if classes == 2 and shifts:  # noqa: PLR2004
        kinds += ["logistic", *(["isotonic"] if len(y) >= _ISOTONIC_ROWS else [])]
    strata = y.astype(np.int64) if classes else None
    folds = cross_validation(np.arange(len(y)), strata, _FOLDS, seed, grouped=False)
    chosen, losses = None, _losses(y, prediction)
    # From the simplest to the freest: each has to be better than the best before it.
    for kind in kinds:
        bent = np.array(prediction, dtype=np.float64)
        for fold in folds:
            made = _FIT[kind](y[fold.fit], prediction[fold.fit], weight[fold.fit])
            bent[fold.score] = Calibrator(kind, made)(prediction[fold.score])
        own = _losses(y, bent)
        gains = (losses - own) * weight / weight.mean()
        if gains.mean() > gains.std() / np.sqrt(len(y)):
            chosen, losses = kind, own
    return Calibrator(chosen, _FIT[chosen](y, prediction, weight)) if chosen else None


def _losses(y: Truth, prediction: Floats) -> Floats:
    if prediction.ndim == 1:
        return np.asarray((y.astype(np.float64) - prediction) ** 2)
    chosen = prediction[np.arange(len(y)), y.astype(np.intp)]
    return -np.log(np.clip(chosen, _LEAST, 1.0))


def _unseen(rows: int) -> float:
    """The chance that a row is of another class than all that was seen says.

    As if half a mistake more had been seen among one row more (R. Krichevsky and V. Trofimov,
    1981, for the log loss): without it, rows of which none is mistaken make a model certain. The
    other class is taken to be the likeliest one.
    """
    return 0.5 / (rows + 1)


def _log_odds(prediction: Floats) -> Floats:
    p = np.clip(prediction[:, 1], _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _fit_logistic(y: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    # SciPy starts in a fifth of the time that scikit-learn's LogisticRegression needs for it.
    from scipy.optimize import minimize

    x, shares = _log_odds(prediction), weight / weight.sum()
    unseen = _unseen(len(y))
    target = np.where(np.asarray(y) == 1, 1.0 - unseen, unseen)

    def loss(given: Floats) -> tuple[float, Floats]:
        margins = given[0] * x + given[1]
        value = float((shares * (np.logaddexp(0.0, margins) - target * margins)).sum())
        pulls = shares * (np.exp(-np.logaddexp(0.0, -margins)) - target)
        return value, np.array([(pulls * x).sum(), pulls.sum()])

    # A calibrator never turns the order round.
    bounds = [(0.0, _MOST_SLOPE), (None, None)]
    found = minimize(loss, [1.0, 0.0], jac=True, bounds=bounds, options={"ftol": 0, "gtol": 1e-9})
    slope, intercept = found.x
    return {"slope": round(float(slope), 6), "intercept": round(float(intercept), 6)}


def _apply_logistic(prediction: Floats, values: Mapping[str, Any]) -> Floats:
    margin = values["slope"] * _log_odds(prediction) + values["intercept"]
    p = 1.0 / (1.0 + np.exp(-margin))
    return np.column_stack([1.0 - p, p])


def _fit_prior(y: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    classes = prediction.shape[1]
    counts = np.bincount(y.astype(np.intp), weights=weight, minlength=classes) + 0.5
    shares = [round(float(share), 9) for share in counts / counts.sum()]

    unseen = _unseen(len(y))
    runners_up = np.argsort(-prediction, axis=1, kind="stable")[:, 1]
    truth = y.astype(np.intp)
    others = np.where(runners_up == truth, prediction.argmax(axis=1), runners_up)

    def loss(power: float) -> float:
        bent = _apply_prior(prediction, {"power": power, "shares": shares})
        own, other = _losses(truth, bent), _losses(others, bent)
        return float((weight * ((1.0 - unseen) * own + unseen * other)).mean())

    # The loss is convex in the power: first roughly, then finely around the least.
    rough = min(np.linspace(0.0, _MOST_POWER, 13), key=loss)
    step = _MOST_POWER / 12
    fine = np.linspace(max(0.0, rough - step), rough + step, 21)
    return {"power": round(float(min(fine, key=loss)), 4), "shares": shares}


def _apply_prior(prediction: Floats, values: Mapping[str, Any]) -> Floats:
    power = values["power"]
    logs = power * np.log(np.clip(prediction, _LEAST, 1.0))
    logs = logs + (1.0 - power) * np.log(np.asarray(values["shares"]))
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def _fit_isotonic(y: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    from scipy.optimize import isotonic_regression

    x, place = np.unique(prediction[:, 1], return_inverse=True)
    each = np.maximum(np.bincount(place, weight), np.finfo(float).tiny)
    means = np.bincount(place, weight * np.asarray(y, dtype=np.float64)) / each
    # As after two more rows, one of each class (Laplace): nothing is certain.
    least = 1.0 / (len(y) + 2)
    p = np.clip(isotonic_regression(means, weights=each).x, least, 1.0 - least)
    # Inside of a step a point says nothing.
    turns = np.diff(p, prepend=np.nan, append=np.nan) != 0
    kept = turns[:-1] | turns[1:]
    return {
        "x": [round(float(v), 9) for v in x[kept]],
        "p": [round(float(v), 9) for v in p[kept]],
    }


def _apply_isotonic(prediction: Floats, values: Mapping[str, Any]) -> Floats:
    p = np.interp(prediction[:, 1], values["x"], values["p"])
    return np.column_stack([1.0 - p, p])


def _fit_line(truth: Truth, prediction: Floats, weight: Floats) -> dict[str, Any]:
    y = truth.astype(np.float64)
    middle, level = np.average(prediction, weights=weight), np.average(y, weights=weight)
    away = prediction - middle
    spread = float((weight * away**2).sum())
    slope = float((weight * away * (y - level)).sum()) / spread if spread > 0 else 0.0
    slope = min(max(slope, 0.0), 2.0)
    return {"slope": slope, "intercept": float(level - slope * middle)}


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
