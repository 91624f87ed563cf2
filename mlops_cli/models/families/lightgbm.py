"""LightGBM family: deterministic on any number of threads, saved and scored as its own text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.models.families.base import Family, Setting
from mlops_cli.models.families.fit_request import FitRequest, Floats
from mlops_cli.models.families.lightgbm_capi import BoosterPredictor, package
from mlops_cli.models.families.outputs import normalise, two_columns
from mlops_cli.models.families.rounds import Rounds, deadline
from mlops_cli.models.families.threads import cores
from mlops_cli.params.tune import Dimension

if TYPE_CHECKING:
    import lightgbm

__all__ = ["FAMILY"]

_FILE = "model.txt"
_ROUNDS = 1000
_EVALUATIONS = 100
"""Number of evaluations on held-out rows, evenly spaced over the rounds."""
_OBJECTIVES = {
    "squared": "regression",
    "absolute": "regression_l1",
    "poisson": "poisson",
    "quantile": "quantile",
}


@dataclass(frozen=True)
class _Lightgbm:
    text: str
    """The model in LightGBM's own format, which is both scored and saved."""
    classes: int

    @cached_property
    def _predictor(self) -> BoosterPredictor:
        return BoosterPredictor(self.text)

    @property
    def iterations(self) -> int | None:
        return self._predictor.iterations

    @property
    def importances(self) -> Floats:
        """Gain of the splits, summed per feature."""
        return normalise(np.maximum(self._predictor.gains(), 0.0))

    def predict(self, X: Floats) -> Floats:
        return _to_probabilities(self._predictor.predict(X), self.classes)

    def to_files(self) -> dict[str, bytes]:
        return {_FILE: self.text.encode()}


def _fit(request: FitRequest) -> _Lightgbm:
    lightgbm = package()
    task, watch = request.task, request.watch
    total, is_late = request.rounds or _ROUNDS, deadline(request.seconds)
    parameters = _parameters(request)
    data = lightgbm.Dataset(
        request.X,
        request.y,
        weight=request.weight,
        params=parameters,
        categorical_feature=list(task.categorical),
        free_raw_data=True,
    )
    booster = lightgbm.Booster(parameters, data)
    rounds = None
    if watch:
        rounds = Rounds(watch, total)
        placeholder = np.zeros(len(watch.X))
        held_out = lightgbm.Dataset(watch.X, placeholder, reference=data, params=parameters)
        booster.add_valid(held_out, "validation")
    interval = max(1, total // _EVALUATIONS)
    for done in range(1, total + 1):
        exhausted = booster.update() or is_late()
        evaluate = done % interval == 0 or done == total or exhausted
        if rounds and evaluate and rounds.record(done, _held_out_prediction(booster, task.classes)):
            break
        if exhausted:
            break
    best = rounds.best if rounds else booster.current_iteration()
    return _to_model(booster, min(best, booster.current_iteration()) or 1, task.classes)


def _to_model(booster: lightgbm.Booster, rounds: int, classes: int) -> _Lightgbm:
    text = booster.model_to_string(num_iteration=rounds)
    # The same model shall have the same bytes on any number of threads.
    return _Lightgbm(re.sub(r"\[num_threads: \d+\]", "[num_threads: 0]", text), classes)


def _shortened(fitted: _Lightgbm, rounds: int) -> _Lightgbm:
    return _to_model(package().Booster(model_str=fitted.text), rounds, fitted.classes)


def _parameters(request: FitRequest) -> dict[str, Any]:
    task, settings = request.task, request.settings
    options: dict[str, Any] = {"num_class": task.classes} if task.type == "multiclass" else {}
    if task.loss == "quantile":
        options["alpha"] = task.quantile
    if any(task.monotone):
        options["monotone_constraints"] = list(task.monotone)
    return {
        "objective": _OBJECTIVES.get(task.loss, task.type),
        **options,
        "metric": "None",
        "learning_rate": float(settings["learning_rate"]),
        "num_leaves": int(settings["max_leaves"]),
        "min_data_in_leaf": int(settings["min_leaf"]),
        "lambda_l2": float(settings["l2"]),
        "feature_fraction": float(settings["features"]),
        "bagging_fraction": float(settings["rows"]),
        "bagging_freq": 1 if settings["rows"] < 1 else 0,
        "cat_smooth": float(settings["category_smoothing"]),
        "extra_trees": bool(settings["extra_trees"]),
        "deterministic": True,
        "force_row_wise": True,
        "seed": request.seed,
        "num_threads": cores(request.threads, request.X),
        "verbosity": -1,
    }


def _held_out_prediction(booster: lightgbm.Booster, classes: int) -> Floats:
    """The running prediction for the held-out rows; LightGBM caches it, so no tree runs twice."""
    predictions: list[Floats] = []

    def catch(prediction: Floats, _: Any) -> tuple[str, float, bool]:
        predictions.append(np.array(prediction, dtype=np.float64))
        return "seen", 0.0, True

    booster.eval_valid(catch)
    return _to_probabilities(predictions[0], classes)


def _to_probabilities(prediction: Floats, classes: int) -> Floats:
    """Two columns for a binary task, for which LightGBM predicts one."""
    if classes == 2 and prediction.ndim == 1:  # noqa: PLR2004
        return two_columns(prediction)
    return prediction


def _from_files(files: Mapping[str, bytes]) -> _Lightgbm:
    text = files[_FILE].decode(errors="replace")
    objective = re.search(r"^objective=(\w+)(?:.*num_class:(\d+))?", text, re.MULTILINE)
    kind = objective[1] if objective else "regression"
    classes = {"binary": 2, "multiclass": int(objective[2] or 0) if objective else 0}.get(kind, 0)
    model = _Lightgbm(text, classes)
    model.iterations  # noqa: B018 - reads the text
    return model


FAMILY = Family(
    name="lightgbm",
    space={
        "learning_rate": Setting(Dimension(low=0.02, high=0.3, log=True), 0.1),
        "max_leaves": Setting(Dimension(low=4, high=128, log=True), 31),
        "min_leaf": Setting(Dimension(low=1, high=200, log=True), 20),
        "l2": Setting(Dimension(low=1e-3, high=100.0, log=True), 1e-3),
        "features": Setting(Dimension(low=0.3, high=1.0), 1.0),
        "rows": Setting(Dimension(low=0.5, high=1.0), 1.0),
        "category_smoothing": Setting(Dimension(low=0.01, high=200.0, log=True), 10.0),
        "extra_trees": Setting(Dimension(choices=(False, True)), False),
    },
    portfolio=(
        {
            "learning_rate": 0.05,
            "max_leaves": 39,
            "min_leaf": 3,
            "l2": 0.4,
            "features": 0.5,
            "rows": 0.9,
            "category_smoothing": 15.0,
            "extra_trees": True,
        },
        {"learning_rate": 0.05, "max_leaves": 8, "l2": 0.3, "features": 0.9, "rows": 0.8},
        {
            "learning_rate": 0.03,
            "max_leaves": 64,
            "min_leaf": 3,
            "l2": 0.8,
            "features": 0.5,
            "rows": 0.95,
            "category_smoothing": 0.1,
        },
        {
            "learning_rate": 0.04,
            "max_leaves": 16,
            "min_leaf": 50,
            "l2": 10.0,
            "features": 0.5,
            "rows": 0.7,
            "category_smoothing": 50.0,
        },
    ),
    fitter=_fit,
    reader=_from_files,
    rounds=_ROUNDS,
    library="lightgbm",
    shortener=_shortened,
    losses=frozenset({"log", "squared", "absolute", "poisson", "quantile"}),
    monotone_losses=frozenset({"log", "squared", "poisson"}),
    milliseconds=0.025,
)
"""Ranges and portfolio after TabArena (Erickson et al. 2025) and AutoGluon's portfolios, with
learning rates for a few hundred rounds."""
