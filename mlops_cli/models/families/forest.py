"""Random forests (Breiman 2001) with a bounded number of rows and leaves per tree."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mlops_cli.errors import DataRefused
from mlops_cli.models.families import skops_format
from mlops_cli.models.families.base import Family, Setting, steps_of_joint_trees
from mlops_cli.models.families.fit_request import FitRequest, Floats
from mlops_cli.models.families.outputs import normalise, spread_classes
from mlops_cli.models.families.rounds import STEPS, Rounds, deadline
from mlops_cli.models.families.threads import cores
from mlops_cli.models.families.tree_checks import check_tree
from mlops_cli.params.tune import Dimension

__all__ = ["FAMILY", "forest_family"]

_FILE = "model.skops"
_TREES = 50
_MAX_TREES = 125
_ROWS_PER_TREE = 20_000
"""Maximum size of a tree's bootstrap sample, so that time stays bounded as rows grow."""
_MAX_BYTES = 16_000_000
"""Approximate maximum size of a model file; it limits the number of leaves."""
_BLOCK_ROWS = 4096
_LEAF = -1
_LARGEST = 1e30
"""Numbers are clipped to this, as trees compare in float32."""


@dataclass(frozen=True)
class _Forest:
    forest: Any
    classes: int

    @property
    def iterations(self) -> int | None:
        return len(self.forest.estimators_)

    @property
    def importances(self) -> Floats:
        """Mean decrease of impurity (Breiman 2001)."""
        return normalise(np.nan_to_num(np.asarray(self.forest.feature_importances_)))

    def predict(self, X: Floats) -> Floats:
        total = _sum_predictions(self.forest.estimators_, X, threads=None)
        return self._finish(total, len(self.forest.estimators_))

    def _finish(self, total: Floats, trees: int) -> Floats:
        mean = total / trees
        if not self.classes:
            return mean[:, 0]
        return spread_classes(mean, self.forest.classes_, self.classes)

    def to_files(self) -> dict[str, bytes]:
        return {_FILE: skops_format.dumps({"forest": self.forest, "classes": self.classes})}


def _fit(request: FitRequest, kind: str) -> _Forest:
    watch = request.watch
    total, is_late = request.rounds or _TREES, deadline(request.seconds)
    forest = _new_forest(kind, request)
    model = _Forest(forest, request.task.classes)
    X = np.clip(request.X, -_LARGEST, _LARGEST)
    rounds = Rounds(watch, total, cut_at_best=False) if watch else None
    prediction_sum: Floats | float = 0.0
    done = 0
    # A forest that is grown in parts has the same trees as one that is grown at once.
    part = total if watch is None and request.seconds is None else max(1, -(-total // STEPS))
    while done < total and not (done and is_late()):
        grown = min(total, done + part)
        forest.set_params(n_estimators=grown)
        # Each of its threads changes and restores the process's warning filters, in any order.
        with warnings.catch_warnings():
            forest.fit(X, request.y, sample_weight=request.weight)
        if watch and rounds:
            prediction_sum = prediction_sum + _sum_predictions(
                forest.estimators_[done:], watch.X, request.threads
            )
            # More trees are worse only by chance: the score is for pruning, not early stopping.
            rounds.record(grown, model._finish(np.asarray(prediction_sum), grown))  # noqa: SLF001
        done = grown
    forest.set_params(n_jobs=None, warm_start=False)
    return model


def _new_forest(kind: str, request: FitRequest) -> Any:
    from sklearn import ensemble

    task, settings, rows = request.task, request.settings, len(request.X)
    criterion = {"poisson": {"criterion": "poisson"}}.get(task.loss, {})
    # Extra trees are better without a bootstrap (TabArena), as long as rows are few.
    bootstrap = kind == "RandomForest" or rows > _ROWS_PER_TREE
    role = "Regressor" if task.type == "regression" else "Classifier"
    max_leaves = _MAX_BYTES // (_MAX_TREES * 2 * (64 + 8 * max(1, task.classes)))
    return getattr(ensemble, kind + role)(
        n_estimators=1,
        max_leaf_nodes=max(2, min(int(settings["max_leaves"]), max_leaves)),
        min_samples_leaf=int(settings["min_leaf"]),
        max_features=float(settings["features"]),
        bootstrap=bootstrap,
        **criterion,
        max_samples=_ROWS_PER_TREE if rows > _ROWS_PER_TREE else None,
        warm_start=True,
        n_jobs=cores(request.threads, request.X),
        random_state=request.seed,
    )


def _sum_predictions(trees: Sequence[Any], X: Floats, threads: int | None) -> Floats:
    """Sum of the trees' predictions (rows, outputs), always added in the order of the trees.

    scikit-learn itself adds them in the order in which its threads finish.
    """
    clipped = np.clip(X, -_LARGEST, _LARGEST).astype(np.float32)

    def block(start: int) -> Floats:
        rows = clipped[start : start + _BLOCK_ROWS]
        total = 0.0
        for tree in trees:
            values = tree.tree_.predict(rows)
            total = total + values.reshape(len(rows), -1)
        return np.asarray(total, dtype=np.float64)

    starts = range(0, max(1, len(clipped)), _BLOCK_ROWS)
    if len(starts) == 1:
        return block(0)
    with ThreadPoolExecutor(cores(threads, X)) as pool:
        return np.concatenate(list(pool.map(block, starts)))


def _from_files(files: Mapping[str, bytes]) -> _Forest:
    stored = skops_format.loads(files[_FILE], _FILE)
    forest = stored["forest"]
    classes = int(stored["classes"])
    outputs = len(forest.classes_) if classes else 1
    for estimator in forest.estimators_:
        tree = estimator.tree_
        left, right = tree.children_left, tree.children_right
        # scikit-learn recognises leaves by this number.
        leaf = left == _LEAF
        check_tree(left, right, tree.feature, leaf, int(forest.n_features_in_))
        shape = (tree.n_features, tree.n_outputs, tree.max_n_classes)
        valid = shape == (forest.n_features_in_, 1, outputs)
        if not valid or tree.value.shape != (len(left), 1, outputs):
            raise DataRefused(
                f"{_FILE} has a tree of {tree.value.shape} values for {outputs} outputs",
                "Fetch the model again, or train it again.",
            )
    return _Forest(forest, classes)


def forest_family(
    name: str, kind: str, space: Mapping[str, Setting], portfolio: tuple[Mapping[str, Any], ...]
) -> Family:
    """Build a family of scikit-learn forests; ``kind`` is RandomForest or ExtraTrees."""
    return Family(
        name=name,
        space=space,
        portfolio=portfolio,
        fitter=partial(_fit, kind=kind),
        reader=_from_files,
        rounds=_TREES,
        losses=frozenset({"log", "squared", "poisson"}),
        milliseconds=0.2,
        copies=1,
        steps=steps_of_joint_trees,
    )


FAMILY = forest_family(
    "forest",
    "RandomForest",
    {
        "max_leaves": Setting(Dimension(low=64, high=512, log=True), 512),
        "min_leaf": Setting(Dimension(low=1, high=50, log=True), 2),
        "features": Setting(Dimension(low=0.1, high=0.8), 0.4),
    },
    ({"min_leaf": 10, "features": 0.6}, {"min_leaf": 1, "features": 0.2}),
)
