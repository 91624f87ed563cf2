"""scikit-learn's histogram gradient boosting, grown in parts so that it can stop early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.core.learners import skops_bytes
from mlops_cli.core.learners.boosted_row import BoostedRow
from mlops_cli.core.learners.contract import (
    Family,
    Floats,
    Rounds,
    Setting,
    Settings,
    TaskInfo,
    Watch,
    cores,
    deadline,
    finished,
    shares,
)
from mlops_cli.core.learners.trees import check_tree
from mlops_cli.params.modelling import Dimension

__all__ = ["FAMILY"]

_FILE = "model.skops"
_WORDS = 8
"""Of 32 bits each, in a set of categories."""
_ROUNDS = 600
_LOSSES = {
    "squared": "squared_error",
    "absolute": "absolute_error",
    "poisson": "poisson",
    "quantile": "quantile",
}
_LARGEST = 1e300
"""The sum of two larger numbers may not fit into a float."""
_FEW = 20_000
"""Up to so many rows one thread is used: others would be started, and then wait at full speed."""
_PARTS = 20
"""Each part bins the data anew, so there are few of them."""


@dataclass(frozen=True)
class _Boosted:
    model: Any
    classes: int

    @property
    def iterations(self) -> int | None:
        return int(self.model.n_iter_)

    @property
    def importances(self) -> Floats:
        """Gain of the splits, summed by feature."""
        total = np.zeros(self.model.n_features_in_)
        for tree in _trees(self.model):
            inner = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(total, inner["feature_idx"], np.maximum(inner["gain"], 0.0))
        return shares(_in_given_order(self.model, total))

    @cached_property
    def _row(self) -> BoostedRow:
        return BoostedRow(self.model)

    def predict(self, X: Floats) -> Floats:
        if len(X) == 1:
            scores = self._row.scores(X)
        else:
            threads = 1 if len(X) <= _FEW else cores(None, X)
            scores = np.asarray(self.model._raw_predict(X, threads))  # noqa: SLF001
        if not self.classes:
            values = scores[:, 0]
            return np.exp(values) if self.model.loss == "poisson" else values
        return finished(scores, "log", self.model.classes_, self.classes)

    def to_files(self) -> dict[str, bytes]:
        return {_FILE: skops_bytes.dumps({"model": self.model, "classes": self.classes})}


def _fit(
    X: Floats,
    y: npt.NDArray[Any],
    task: TaskInfo,
    settings: Settings,
    *,
    seed: int,
    threads: int | None = None,
    watch: Watch | None = None,
    iterations: int | None = None,
    weight: Floats | None = None,
    seconds: float | None = None,
) -> _Boosted:
    from threadpoolctl import threadpool_limits

    total, late = iterations or _ROUNDS, deadline(seconds)
    model = _new(task, settings, seed)
    empty = np.isnan(X).all(axis=0)
    if empty.any():
        # The binner needs a value in each column; a constant is never split on.
        X = np.where(empty, 0.0, X)
    X = np.clip(X, -_LARGEST, _LARGEST)
    part = total if watch is None and seconds is None else max(1, total // _PARTS)
    rounds = Rounds(watch, total) if watch else None
    done = 0
    with threadpool_limits(limits=cores(threads, X), user_api="openmp"):
        while done < total and not (done and late()):
            done = min(total, done + part)
            model.set_params(max_iter=done).fit(X, y, sample_weight=weight)
            if (
                watch
                and rounds
                and rounds.see(done, _Boosted(model, task.classes).predict(watch.X))
            ):
                break
    model.set_params(warm_start=False)
    _strip(model)
    if rounds:
        _cut(model, rounds.best)
    return _Boosted(model, task.classes)


def _new(task: TaskInfo, settings: Settings, seed: int) -> Any:
    from sklearn import ensemble

    role = "Regressor" if task.type == "regression" else "Classifier"
    more: dict[str, Any] = {"monotonic_cst": list(task.monotone)} if any(task.monotone) else {}
    if task.type == "regression":
        more["loss"] = _LOSSES[task.loss]
        more["quantile"] = task.quantile if task.loss == "quantile" else None
    return getattr(ensemble, f"HistGradientBoosting{role}")(
        learning_rate=float(settings["learning_rate"]),
        max_leaf_nodes=int(settings["max_leaves"]),
        min_samples_leaf=int(settings["min_leaf"]),
        l2_regularization=float(settings["l2"]),
        max_features=float(settings["features"]),
        categorical_features=list(task.categorical) or None,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
        **more,
    )


def _cut(model: Any, rounds: int) -> None:
    """Keep the first rounds only: the sum of the rest is what made it worse."""
    del model._predictors[rounds:]  # noqa: SLF001
    model.set_params(max_iter=rounds)


def _strip(model: Any) -> None:
    """Drop what only fitting needs: a random generator, and an input check held as a function."""
    model._feature_subsample_rng = None  # noqa: SLF001
    model._bin_mapper.n_threads = None  # noqa: SLF001  # as many as there are where it is used
    columns = model._preprocessor  # noqa: SLF001
    for name, part, _ in [] if columns is None else columns.transformers_ + columns.transformers:
        if name == "numerical" and hasattr(part, "set_params"):
            part.set_params(func=None)


def _trees(model: Any) -> list[Any]:
    return [tree for of_round in model._predictors for tree in of_round]  # noqa: SLF001


def _in_given_order(model: Any, by_split: Floats) -> Floats:
    """Per feature as given: the model puts its categorical columns first."""
    categorical = model.is_categorical_
    if categorical is None:
        return by_split
    order = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    given = np.empty_like(by_split)
    given[order] = by_split
    return given


def _from_files(files: Mapping[str, bytes]) -> _Boosted:
    from mlops_cli.errors import DataRefused

    stored = skops_bytes.loads(files[_FILE], _FILE)
    model = stored["model"]
    for tree in _trees(model):
        nodes = tree.nodes
        leaf = nodes["is_leaf"] != 0
        features = model.n_features_in_
        check_tree(nodes["left"], nodes["right"], nodes["feature_idx"], leaf, features)
        asked = nodes["bitset_idx"][(nodes["is_categorical"] != 0) & ~leaf]
        sets, words = tree.raw_left_cat_bitsets.shape
        # A row alone takes as many steps as the deepest node says.
        deep = int(nodes["depth"].max()) >= len(nodes)
        if deep or words != _WORDS or (len(asked) and int(asked.max()) >= sets):
            raise DataRefused(
                "a tree of the model has a depth or categories that it cannot have: the file is "
                "damaged",
                "Fetch the model again, or train it anew.",
            )
    return _Boosted(model, stored["classes"])


FAMILY = Family(
    name="hist_gradient_boosting",
    space={
        "learning_rate": Setting(Dimension(low=0.02, high=0.3, log=True), 0.1),
        "max_leaves": Setting(Dimension(low=4, high=128, log=True), 31),
        "min_leaf": Setting(Dimension(low=1, high=200, log=True), 20),
        "l2": Setting(Dimension(low=1e-3, high=100.0, log=True), 1e-3),
        "features": Setting(Dimension(low=0.3, high=1.0), 1.0),
    },
    portfolio=(
        {"learning_rate": 0.05, "max_leaves": 16, "min_leaf": 5, "l2": 0.5, "features": 0.5},
        {"learning_rate": 0.1, "max_leaves": 6, "min_leaf": 20, "l2": 1.0, "features": 0.8},
    ),
    fitter=_fit,
    reader=_from_files,
    rounds=_ROUNDS,
    losses=frozenset({"log", "squared", "absolute", "poisson", "quantile"}),
    monotone=frozenset({"log", "squared", "absolute", "poisson", "quantile"}),
    milliseconds=0.2,
)
