"""XGBoost family, fitted on one thread and scored with its C library.

XGBoost's sums depend on the number of threads, in their last digits and so occasionally in a split.
With one thread the same data gives the same model on any machine. Models are saved in XGBoost's own
binary format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.base import Family, Setting
from mlops_cli.models.families.fit_request import FitRequest, Floats
from mlops_cli.models.families.outputs import normalise, to_predictions
from mlops_cli.models.families.rounds import Rounds, deadline
from mlops_cli.models.families.task_info import TaskInfo
from mlops_cli.models.families.threads import cores
from mlops_cli.models.families.xgboost_capi import BoosterPredictor
from mlops_cli.params.tune import Dimension

if TYPE_CHECKING:
    import xgboost

__all__ = ["FAMILY"]

_FILE = "model.ubj"
_ROUNDS = 800
_EVALUATIONS = 80
_LARGEST = 3e38
"""XGBoost compares in 32 bits, and refuses numbers that are infinite there."""
_OBJECTIVES = {
    "squared": "reg:squarederror",
    "absolute": "reg:absoluteerror",
    "poisson": "count:poisson",
    "quantile": "reg:quantileerror",
}


@dataclass(frozen=True)
class _Xgboost:
    content: bytes
    """The model in XGBoost's own format, which is both scored and saved."""

    @cached_property
    def _predictor(self) -> BoosterPredictor:
        return BoosterPredictor(self.content, cores(None, np.empty((1_000, 1_000))))

    @cached_property
    def _classes(self) -> int:
        return int(self._predictor.attribute("classes"))

    @cached_property
    def _present(self) -> npt.NDArray[np.int64]:
        """Codes of the classes in the training rows."""
        return np.array(self._predictor.attribute("present").split(), dtype=np.int64)

    @cached_property
    def _loss(self) -> str:
        return self._predictor.attribute("loss")

    @property
    def iterations(self) -> int | None:
        return self._predictor.iterations

    @property
    def importances(self) -> Floats:
        """Gain of the splits, summed per feature."""
        return normalise(np.maximum(self._predictor.gains(), 0.0))

    def predict(self, X: Floats) -> Floats:
        scores = self._predictor.predict(_clip(X))
        return to_predictions(scores, self._loss, self._present, self._classes)

    def to_files(self) -> dict[str, bytes]:
        return {_FILE: self.content}


def _fit(request: FitRequest) -> _Xgboost:
    import xgboost

    X, task, watch = request.X, request.task, request.watch
    total, is_late = request.rounds or _ROUNDS, deadline(request.seconds)
    present, y = request.present_classes()
    types = ["c" if i in task.categorical else "q" for i in range(X.shape[1])]
    options: dict[str, Any] = {"feature_types": types, "enable_categorical": True, "nthread": 1}
    data = xgboost.QuantileDMatrix(_clip(X), y, weight=request.weight, **options)
    held_out = None
    if watch:
        # A quantile fit refuses a matrix without labels, but doesn't use them.
        held_out = xgboost.DMatrix(_clip(watch.X), np.zeros(len(watch.X)), **options)
    parameters = _parameters(request, len(present))
    # The booster caches the running prediction of these matrices, so no tree is evaluated twice.
    booster = xgboost.Booster(parameters, [data] if held_out is None else [data, held_out])
    rounds = Rounds(watch, total) if watch else None
    interval = max(1, total // _EVALUATIONS)
    for done in range(1, total + 1):
        booster.update(data, done - 1)
        stop = done == total or is_late()
        if rounds and held_out is not None and (stop or done % interval == 0):
            scores = booster.predict(held_out, output_margin=True).astype(np.float64)
            prediction = to_predictions(
                scores.reshape(len(scores), -1), task.loss, present, task.classes
            )
            stop |= rounds.record(done, prediction)
        if stop:
            break
    return _to_model(booster[: rounds.best] if rounds else booster, task, present)


def _to_model(booster: xgboost.Booster, task: TaskInfo, present: npt.NDArray[np.int64]) -> _Xgboost:
    booster.set_attr(
        classes=str(task.classes), present=" ".join(map(str, present.tolist())), loss=task.loss
    )
    # The trees contain the feature types; without names and types, a plain matrix can be scored.
    booster.feature_names = None
    booster.feature_types = None
    return _Xgboost(bytes(booster.save_raw("ubj")))


def _parameters(request: FitRequest, classes: int) -> dict[str, Any]:
    task, settings = request.task, request.settings
    objective: dict[str, Any] = {"objective": _OBJECTIVES.get(task.loss)}
    if task.loss == "quantile":
        objective["quantile_alpha"] = task.quantile
    if task.loss == "log":
        objective = {"objective": "binary:logistic"}
        if classes > 2:  # noqa: PLR2004
            objective = {"objective": "multi:softprob", "num_class": classes}
    constraints = {"monotone_constraints": str(tuple(task.monotone))} if any(task.monotone) else {}
    return {
        **objective,
        **constraints,
        "tree_method": "hist",
        "learning_rate": float(settings["learning_rate"]),
        "max_depth": int(settings["max_depth"]),
        "min_child_weight": float(settings["min_child_weight"]),
        "reg_lambda": float(settings["l2"]),
        "reg_alpha": float(settings["l1"]),
        "colsample_bynode": float(settings["features"]),
        "subsample": float(settings["rows"]),
        "max_cat_to_onehot": int(settings["one_hot"]),
        "seed": request.seed,
        "nthread": 1,
        "verbosity": 0,
    }


def _clip(X: Floats) -> Floats:
    """Clip numbers to what 32 bits can hold; impossible categories then count as missing."""
    return np.clip(X, -_LARGEST, _LARGEST)


def _from_files(files: Mapping[str, bytes]) -> _Xgboost:
    model = _Xgboost(files[_FILE])
    model._classes, model._present  # noqa: B018, SLF001 - reads the content
    return model


FAMILY = Family(
    name="xgboost",
    space={
        "learning_rate": Setting(Dimension(low=0.02, high=0.3, log=True), 0.1),
        "max_depth": Setting(Dimension(low=3, high=10, log=True), 6),
        "min_child_weight": Setting(Dimension(low=1e-3, high=20.0, log=True), 1.0),
        "l2": Setting(Dimension(low=1e-3, high=100.0, log=True), 1.0),
        "l1": Setting(Dimension(low=1e-4, high=5.0, log=True), 1e-4),
        "features": Setting(Dimension(low=0.3, high=1.0), 1.0),
        "rows": Setting(Dimension(low=0.6, high=1.0), 1.0),
        "one_hot": Setting(Dimension(low=4, high=100, log=True), 8),
    },
    portfolio=(
        {"learning_rate": 0.05, "max_depth": 4, "features": 0.6, "l1": 4.0, "rows": 0.95},
        {
            "learning_rate": 0.04,
            "max_depth": 8,
            "min_child_weight": 0.15,
            "features": 0.9,
            "rows": 0.7,
            "l1": 3.5,
            "one_hot": 32,
        },
        {"learning_rate": 0.1, "max_depth": 3, "min_child_weight": 5.0, "features": 0.5},
    ),
    fitter=_fit,
    reader=_from_files,
    rounds=_ROUNDS,
    library="xgboost",
    package="xgboost",
    unsafe_format=True,
    losses=frozenset({"log", "squared", "absolute", "poisson", "quantile"}),
    monotone_losses=frozenset({"log", "squared", "poisson"}),
    milliseconds=0.2,
)
"""Ranges and portfolio after TabArena (Erickson et al. 2025) and AutoGluon's portfolios, with
learning rates for a few hundred rounds."""
