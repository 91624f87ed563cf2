"""Linear family: logistic, ridge or Poisson regression, scored as an additive model."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.additive_tables import Additive
from mlops_cli.models.families.base import Family, Setting
from mlops_cli.models.families.fit_request import FitRequest, Floats, Settings
from mlops_cli.models.families.linear_columns import (
    LinearColumns,
    TargetEncoding,
    category_columns,
    number_columns,
)
from mlops_cli.models.families.outputs import normalise, to_predictions
from mlops_cli.models.families.task_info import TaskInfo
from mlops_cli.params.tune import Dimension

__all__ = ["FAMILY"]

_FILE = "model.json"
_ONE_HOT_COLUMNS = 300
"""Approximate number of one-hot columns of all features; rarer categories share a column."""
_DENSE_NEWTON_COLUMNS = 500
_MAX_CELLS = 20_000_000
"""Maximum cells (rows times columns) of the training matrix, 160 MB; more rows are subsampled."""
_FOLDS = 5


@dataclass(frozen=True)
class _Linear:
    model: Additive
    loss: str
    classes: int
    present: tuple[int, ...]
    """Codes of the classes in the training rows."""
    weights: tuple[float, ...]

    iterations: int | None = None

    @property
    def importances(self) -> Floats:
        """Standard deviation of each feature's contribution over the training rows."""
        return normalise(np.array(self.weights))

    def predict(self, X: Floats) -> Floats:
        return to_predictions(self.model.scores(X), self.loss, np.array(self.present), self.classes)

    def to_files(self) -> dict[str, bytes]:
        facts = {
            "loss": self.loss,
            "classes": self.classes,
            "present": self.present,
            "weights": self.weights,
        }
        return {_FILE: self.model.to_bytes(**facts)}


def _fit(request: FitRequest) -> _Linear:
    from threadpoolctl import threadpool_limits

    X, weight, task, settings = request.X, request.weight, request.task, request.settings
    codes, y = request.present_classes()
    present = tuple(codes.tolist())
    rng = np.random.default_rng(request.seed)
    rows = _sample_rows(len(X), X.shape[1], task, settings, rng)
    if rows is not None:
        X, y = X[rows], y[rows]
        weight = None if weight is None else weight[rows]
    columns = _make_columns(X, y, task, settings, weight, rng)
    design = np.hstack([c.values for c in columns])
    # BLAS splits sums by the number of threads, so rounding depends on that number.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that hasn't quite converged shows in its score
        model = _new_model(task, len(present), settings, design, weight, request.seed)
        model.fit(design, y, sample_weight=weight)
    coefficients = np.atleast_2d(model.coef_).T
    ends = np.cumsum([c.values.shape[1] for c in columns])
    column_weights = np.split(coefficients, ends[:-1])
    parts = tuple(c.to_table(weights) for c, weights in zip(columns, column_weights, strict=True))
    deviations = tuple(
        float((c.values @ weights).std(axis=0).sum())
        for c, weights in zip(columns, column_weights, strict=True)
    )
    base = np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64))
    return _Linear(Additive(base, parts), task.loss, task.classes, present, deviations)


def _new_model(
    task: TaskInfo,
    classes: int,
    settings: Settings,
    design: Floats,
    weight: Floats | None,
    seed: int,
) -> Any:
    from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge

    penalty = float(settings["penalty"])
    newton = design.shape[1] <= _DENSE_NEWTON_COLUMNS
    if task.loss == "poisson":
        total = len(design) if weight is None else float(weight.sum())
        solver = "newton-cholesky" if newton else "lbfgs"
        return PoissonRegressor(alpha=penalty / total, solver=solver, max_iter=200)
    if not task.classes:
        return Ridge(alpha=penalty)
    newton &= classes == 2  # noqa: PLR2004
    return LogisticRegression(
        C=1.0 / penalty,
        solver="newton-cholesky" if newton else "lbfgs",
        max_iter=50 if newton else 200,
        random_state=seed,
    )


def _sample_rows(
    rows: int, width: int, task: TaskInfo, settings: Settings, rng: np.random.Generator
) -> npt.NDArray[np.intp] | None:
    """Positions of the training rows, ascending; None: all rows."""
    numbers = width - len(task.categorical)
    columns = numbers * (10 if settings["scale"] == "spline" else 2)
    columns += min(_ONE_HOT_COLUMNS, 64 * len(task.categorical))
    max_rows = max(1_000, _MAX_CELLS // max(1, columns))
    return None if rows <= max_rows else np.sort(rng.choice(rows, max_rows, replace=False))


def _make_columns(
    X: Floats,
    y: npt.NDArray[Any],
    task: TaskInfo,
    settings: Settings,
    weight: Floats | None,
    rng: np.random.Generator,
) -> list[LinearColumns]:
    max_categories = max(5, min(64, _ONE_HOT_COLUMNS // max(1, len(task.categorical))))
    encoding = (
        TargetEncoding.from_labels(y, weight, task) if settings["categories"] == "target" else None
    )
    folds = rng.permutation(len(X)) % _FOLDS
    return [
        category_columns(column, max_categories, encoding, folds)
        if i in task.categorical
        else number_columns(column, settings["scale"])
        for i, column in enumerate(X.T)
    ]


def _from_files(files: Mapping[str, bytes]) -> _Linear:
    tree = json.loads(files[_FILE])
    return _Linear(
        Additive.from_json(tree),
        str(tree["loss"]),
        int(tree["classes"]),
        tuple(map(int, tree["present"])),
        tuple(map(float, tree["weights"])),
    )


FAMILY = Family(
    name="linear",
    space={
        "penalty": Setting(Dimension(low=1e-3, high=1e3, log=True), 1.0),
        "scale": Setting(Dimension(choices=("standard", "quantile", "spline")), "standard"),
        "categories": Setting(Dimension(choices=("one_hot", "target")), "one_hot"),
    },
    portfolio=(
        {"scale": "spline", "penalty": 10.0},
        {"scale": "quantile", "categories": "target"},
        {"penalty": 100.0},
    ),
    fitter=_fit,
    reader=_from_files,
    losses=frozenset({"log", "squared", "poisson"}),
    milliseconds=0.03,
    copies=1,
)
