"""XGBoost, fitted on one thread and scored by its C library, saved in its own binary format.

Its sums depend on the number of threads, in the last digits and so now and then in a split; the
same model on any machine needs the same number.
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
from mlops_cli.params.modelling import Dimension

if TYPE_CHECKING:
    import xgboost

__all__ = ["FAMILY"]

_FILE = "model.ubj"
_ROUNDS = 800
_LOOKS = 80
_LARGEST = 3e38
"""It compares in 32 bits, and refuses what is infinite there."""
_OBJECTIVES = {
    "squared": "reg:squarederror",
    "absolute": "reg:absoluteerror",
    "poisson": "count:poisson",
    "quantile": "reg:quantileerror",
}


@dataclass(frozen=True)
class _Xgboost:
    content: bytes
    """XGBoost's own format: what is scored is what is saved."""

    @cached_property
    def _predictor(self) -> BoosterPredictor:
        return BoosterPredictor(self.content, cores(None, np.empty((1_000, 1_000))))

    @cached_property
    def _classes(self) -> int:
        return int(self._predictor.attribute("classes"))

    @cached_property
    def _present(self) -> npt.NDArray[np.int64]:
        """Codes of the classes that the fit saw."""
        return np.array(self._predictor.attribute("present").split(), dtype=np.int64)

    @cached_property
    def _loss(self) -> str:
        return self._predictor.attribute("loss")

    @property
    def iterations(self) -> int | None:
        return self._predictor.iterations

    @property
    def importances(self) -> Floats:
        """Gain of the splits, summed by feature."""
        return normalise(np.maximum(self._predictor.gains(), 0.0))

    def predict(self, X: Floats) -> Floats:
        scores = self._predictor.predict(_bounded(X))
        return to_predictions(scores, self._loss, self._present, self._classes)

    def to_files(self) -> dict[str, bytes]:
        return {_FILE: self.content}


def _fit(request: FitRequest) -> _Xgboost:
    import xgboost

    X, task, watch = request.X, request.task, request.watch
    total, late = request.rounds or _ROUNDS, deadline(request.seconds)
    present, y = request.present_classes()
    types = ["c" if i in task.categorical else "q" for i in range(X.shape[1])]
    same: dict[str, Any] = {"feature_types": types, "enable_categorical": True, "nthread": 1}
    data = xgboost.QuantileDMatrix(_bounded(X), y, weight=request.weight, **same)
    held_out = None
    if watch:
        # A quantile's fit refuses a matrix without labels, and looks at none of them.
        held_out = xgboost.DMatrix(_bounded(watch.X), np.zeros(len(watch.X)), **same)
    parameters = _parameters(request, len(present))
    # A matrix that the booster was told of has its running prediction kept: it costs no trees.
    booster = xgboost.Booster(parameters, [data] if held_out is None else [data, held_out])
    rounds = Rounds(watch, total) if watch else None
    every = max(1, total // _LOOKS)
    for done in range(1, total + 1):
        booster.update(data, done - 1)
        ends = done == total or late()
        if rounds and held_out is not None and (ends or done % every == 0):
            scores = booster.predict(held_out, output_margin=True).astype(np.float64)
            found = to_predictions(
                scores.reshape(len(scores), -1), task.loss, present, task.classes
            )
            ends |= rounds.see(done, found)
        if ends:
            break
    return _saved(booster[: rounds.best] if rounds else booster, task, present)


def _saved(booster: xgboost.Booster, task: TaskInfo, present: npt.NDArray[np.int64]) -> _Xgboost:
    booster.set_attr(
        classes=str(task.classes), present=" ".join(map(str, present.tolist())), loss=task.loss
    )
    # Types of the features are in the trees; without names and types, a bare matrix is taken.
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
    bound = {"monotone_constraints": str(tuple(task.monotone))} if any(task.monotone) else {}
    return {
        **objective,
        **bound,
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


def _bounded(X: Floats) -> Floats:
    """Numbers that 32 bits can hold; categories that no row can have are missing."""
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
    needs="xgboost",
    opaque=True,
    losses=frozenset({"log", "squared", "absolute", "poisson", "quantile"}),
    monotone=frozenset({"log", "squared", "poisson"}),
    milliseconds=0.2,
)
"""Ranges and portfolio after TabArena (Erickson et al. 2025) and AutoGluon's portfolios, with
learning rates for a few hundred rounds."""
