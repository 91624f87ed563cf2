"""CatBoost family: deterministic on any number of threads, saved in its own binary format."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.base import Family, Setting, steps_of_joint_trees
from mlops_cli.models.families.fit_request import FitRequest, Floats, Pruned, Settings
from mlops_cli.models.families.outputs import normalise, to_predictions
from mlops_cli.models.families.rounds import Rounds, deadline
from mlops_cli.models.families.task_info import TaskInfo
from mlops_cli.models.families.threads import cores
from mlops_cli.params.tune import Dimension

__all__ = ["FAMILY"]

_FILE, _FACTS = "model.cbm", "facts.json"
_ROUNDS = 1000
_EVALUATIONS = 60
_FEW_ROWS = 64
"""Up to this number of rows, lists are faster than a table."""
_LARGEST = 3e38
_MAX_LEVEL_COLUMNS = 200
"""Maximum number of columns that a level of a tree considers."""
_BORDERS, _MIN_BORDERS = 254, 32
_MAX_WIDE_DEPTH = 6
_LOSSES = {"squared": "RMSE", "absolute": "MAE", "poisson": "Poisson", "quantile": "Quantile"}


@dataclass(frozen=True)
class _Catboost:
    content: bytes
    """The model in CatBoost's own format, which is both scored and saved."""
    loss: str
    classes: int
    present: tuple[int, ...]
    categorical: tuple[int, ...]
    gains: tuple[float, ...]
    """Importances, saved with the model as CatBoost needs the training data to compute them."""

    @cached_property
    def _model(self) -> Any:
        import catboost

        model = catboost.CatBoost()
        model.load_model(blob=self.content)
        return model

    @property
    def iterations(self) -> int | None:
        return int(self._model.tree_count_)

    @property
    def importances(self) -> Floats:
        """Change of the predictions with each feature (CatBoost's PredictionValuesChange)."""
        return normalise(np.array(self.gains))

    def predict(self, X: Floats) -> Floats:
        if X.shape[1] != len(self.gains):
            raise ValueError(f"a matrix of shape {X.shape} for {len(self.gains)} features")
        if not len(X):
            return np.zeros((0, self.classes) if self.classes else 0)
        if len(X) <= _FEW_ROWS:
            pool, threads = _small_pool(X.tobytes(), X.shape, self.categorical), 1
        else:
            pool, threads = _pool(X, self.categorical), cores(None, X)
        raw = self._model.predict(pool, prediction_type="RawFormulaVal", thread_count=threads)
        scores = np.asarray(raw, dtype=np.float64).reshape(len(X), -1)
        return to_predictions(scores, self.loss, np.array(self.present), self.classes)

    def to_files(self) -> dict[str, bytes]:
        facts = {
            "loss": self.loss,
            "classes": self.classes,
            "present": self.present,
            "categorical": self.categorical,
            "gains": self.gains,
        }
        return {_FILE: self.content, _FACTS: json.dumps(facts).encode()}


class _HeldOutMetric:
    """Scores the running prediction; CatBoost calls it as a custom metric."""

    def __init__(self, rounds: Rounds, task: TaskInfo, present: npt.NDArray[np.int64]) -> None:
        self.rounds, self._task, self._present = rounds, task, present
        self._interval = max(1, rounds.total // _EVALUATIONS)
        self._calls = 0
        self.stopped = False
        self.pruned: Pruned | None = None

    def __deepcopy__(self, _: dict[int, Any]) -> _HeldOutMetric:
        # CatBoost copies its parameters, but the fit needs the instance that CatBoost calls.
        return self

    def is_max_optimal(self) -> bool:
        return True

    def get_final_error(self, error: float, weight: float) -> float:  # noqa: ARG002
        return error

    def evaluate(self, scores: Any, target: Any, weight: Any) -> tuple[float, float]:  # noqa: ARG002
        self._calls += 1
        # Called for the training rows, then for the held-out rows.
        if self._calls % 2 == 0 and not self.stopped:
            # Called after rounds 1, interval + 1, 2 * interval + 1, ... and the last.
            done = min(self.rounds.total, (self._calls // 2 - 1) * self._interval + 1)
            raw = np.column_stack([np.asarray(s, dtype=np.float64) for s in scores])
            task = self._task
            prediction = to_predictions(raw, task.loss, self._present, task.classes)
            try:
                self.stopped = self.rounds.record(done, prediction)
            except Pruned as pruned:
                self.stopped, self.pruned = True, pruned
        return 0.0, 1.0


class _StopCallback:
    """Ends the fit at early stopping, pruning or the deadline."""

    def __init__(self, metric: _HeldOutMetric | None, seconds: float | None) -> None:
        self._metric, self._is_late = metric, deadline(seconds)

    def after_iteration(self, info: Any) -> bool:  # noqa: ARG002
        return not (self._is_late() or (self._metric is not None and self._metric.stopped))


def _fit(request: FitRequest) -> _Catboost:
    import catboost

    X, task, watch = request.X, request.task, request.watch
    total = request.rounds or _ROUNDS
    present, y = request.present_classes()
    parameters = _parameters(request, len(present)) | _limits(request.settings, X.shape[1])
    parameters |= {"iterations": total, "thread_count": cores(request.threads, X)}
    data = _pool(X, task.categorical, y, request.weight)
    metric, options = None, {}
    if watch:
        metric = _HeldOutMetric(Rounds(watch, total), task, present)
        placeholder = np.resize(np.unique(y)[:50], len(watch.X))
        options = {
            "eval_set": _pool(watch.X, task.categorical, placeholder),
            "use_best_model": False,
        }
        parameters |= {"eval_metric": metric, "metric_period": max(1, total // _EVALUATIONS)}
    model = catboost.CatBoost(parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a hint that Numba would be faster
        model.fit(data, callbacks=[_StopCallback(metric, request.seconds)], **options)
    if metric is not None and metric.pruned is not None:
        raise metric.pruned
    if metric is not None:
        model.shrink(min(metric.rounds.best, model.tree_count_))
    gains = model.get_feature_importance(data, type="PredictionValuesChange")
    return _Catboost(
        _canonical_bytes(model),
        task.loss,
        task.classes,
        tuple(present.tolist()),
        task.categorical,
        tuple(round(float(gain), 9) for gain in gains),
    )


def _shortened(fitted: _Catboost, rounds: int) -> _Catboost:
    import catboost

    model = catboost.CatBoost()
    model.load_model(blob=fitted.content)
    model.shrink(rounds)
    return replace(fitted, content=_canonical_bytes(model))


def _parameters(request: FitRequest, classes: int) -> dict[str, Any]:
    task, settings = request.task, request.settings
    loss = _LOSSES.get(task.loss, "MultiClass" if classes > 2 else "Logloss")  # noqa: PLR2004
    if task.loss == "quantile":
        loss += f":alpha={task.quantile}"
    # Without it, rare positives would need many rounds to get from 0.5 to their share.
    start = {"boost_from_average": True} if loss not in ("MultiClass", "Poisson") else {}
    constraints = {"monotone_constraints": list(task.monotone)} if any(task.monotone) else {}
    return {
        **start,
        **constraints,
        "loss_function": loss,
        "learning_rate": float(settings["learning_rate"]),
        "depth": int(settings["depth"]),
        "l2_leaf_reg": float(settings["l2"]),
        "bootstrap_type": "MVS",
        "subsample": float(settings["rows"]),
        "one_hot_max_size": int(settings["one_hot"]),
        "leaf_estimation_iterations": 1,
        "max_ctr_complexity": int(settings["combinations"]),
        "boosting_type": "Plain",
        "random_seed": request.seed,
        "allow_writing_files": False,
        "logging_level": "Silent",
    }


def _limits(settings: Settings, columns: int) -> dict[str, Any]:
    """Limits of a tree's training time: fewer columns, borders and levels for wide tables."""
    features, share = float(settings["features"]), min(1.0, _MAX_LEVEL_COLUMNS / columns)
    if share == 1.0:
        return {"colsample_bylevel": features}
    return {
        "colsample_bylevel": features * share,
        "border_count": max(_MIN_BORDERS, int(_BORDERS * share)),
        "depth": min(int(settings["depth"]), _MAX_WIDE_DEPTH),
    }


def _pool(
    X: Floats,
    categorical: tuple[int, ...],
    y: npt.NDArray[Any] | None = None,
    weight: Floats | None = None,
) -> Any:
    import catboost
    import pandas as pd

    numbers = np.clip(X, -_LARGEST, _LARGEST)
    if not categorical:
        return catboost.Pool(numbers, y, weight=weight)
    columns = pd.DataFrame(
        {
            i: _category_codes(X[:, i]) if i in categorical else numbers[:, i]
            for i in range(X.shape[1])
        }
    )
    return catboost.Pool(columns, y, weight=weight, cat_features=list(categorical))


def _category_codes(column: Floats) -> npt.NDArray[np.int64]:
    """Category codes as integers; missing has its own code."""
    return np.clip(np.nan_to_num(column, nan=-1.0), -1.0, 2.0**31).astype(np.int64)


@lru_cache(maxsize=1)
def _small_pool(content: bytes, shape: tuple[int, int], categorical: tuple[int, ...]) -> Any:
    """The pool of a few rows, cached so that a bundle's fold models share it."""
    import catboost

    X = np.frombuffer(content).reshape(shape)
    return catboost.Pool(_to_lists(X, categorical), cat_features=list(categorical) or None)


def _to_lists(X: Floats, categorical: tuple[int, ...]) -> list[list[Any]]:
    rows: list[list[Any]] = np.clip(X, -_LARGEST, _LARGEST).tolist()
    for row, codes in zip(rows, _category_codes(X[:, categorical]).tolist(), strict=True):
        for i, code in zip(categorical, codes, strict=True):
            row[i] = code
    return rows


def _canonical_bytes(model: Any) -> bytes:
    """The model's file without metadata of the training: times, a random name, threads."""
    facts = model.get_metadata()
    for key in list(facts.keys()):
        del facts[key]
    return bytes(model._serialize_model())  # noqa: SLF001


def _from_files(files: Mapping[str, bytes]) -> _Catboost:
    facts = json.loads(files[_FACTS])
    model = _Catboost(
        files[_FILE],
        str(facts["loss"]),
        int(facts["classes"]),
        tuple(map(int, facts["present"])),
        tuple(map(int, facts["categorical"])),
        tuple(map(float, facts["gains"])),
    )
    model.iterations  # noqa: B018 - reads the content
    return model


FAMILY = Family(
    name="catboost",
    space={
        "learning_rate": Setting(Dimension(low=0.03, high=0.3, log=True), 0.1),
        "depth": Setting(Dimension(low=4, high=8, log=True), 6),
        "l2": Setting(Dimension(low=1e-2, high=30.0, log=True), 3.0),
        "features": Setting(Dimension(low=0.5, high=1.0), 1.0),
        "rows": Setting(Dimension(low=0.7, high=1.0), 0.8),
        "one_hot": Setting(Dimension(low=8, high=100, log=True), 10),
        "combinations": Setting(Dimension(low=1, high=2), 1),
    },
    portfolio=(
        {"learning_rate": 0.06, "depth": 7, "l2": 2.0, "features": 0.88, "one_hot": 23},
        {"learning_rate": 0.12, "depth": 4, "l2": 0.05, "features": 0.9, "one_hot": 11},
        {"learning_rate": 0.08, "depth": 8, "l2": 0.4, "features": 0.86, "combinations": 2},
    ),
    fitter=_fit,
    reader=_from_files,
    rounds=_ROUNDS,
    library="catboost",
    shortener=_shortened,
    package="catboost",
    unsafe_format=True,
    losses=frozenset({"log", "squared", "absolute", "poisson", "quantile"}),
    monotone_losses=frozenset({"log", "squared", "poisson"}),
    milliseconds=0.06,
    steps=steps_of_joint_trees,
)
"""Ranges and portfolio after TabArena (Erickson et al. 2025) and AutoGluon's portfolios, with
learning rates for a few hundred rounds."""
