"""Regularised linear models: logistic regression and ridge, on one-hot and scaled columns."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlops_cli.core.learners import skops_bytes
from mlops_cli.core.learners.contract import (
    Family,
    Floats,
    Setting,
    Settings,
    TaskInfo,
    Watch,
    shares,
    spread,
)
from mlops_cli.params.modelling import Dimension

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

__all__ = ["FAMILY"]

_FILE = "model.skops"
_ONE_HOT_COLUMNS = 300
"""All category features together become about so many columns; rarer categories share one."""
_DENSE_NEWTON_COLUMNS = 500


@dataclass(frozen=True)
class _Linear:
    pipeline: Pipeline
    classes: int

    iterations: int | None = None

    @property
    def importances(self) -> Floats:
        """|coefficient| of each scaled column, summed over a feature's columns and the classes."""
        columns = self.pipeline[0]
        names = columns.get_feature_names_out([str(i) for i in range(columns.n_features_in_)])
        weights = np.abs(np.atleast_2d(self.pipeline[-1].coef_)).sum(axis=0)
        total = np.zeros(columns.n_features_in_)
        for name, weight in zip(names, weights, strict=True):
            match = re.match(r"\w+?__(?:missingindicator_)?(\d+)", name)
            if match:
                total[int(match[1])] += weight
        return shares(total)

    def predict(self, X: Floats) -> Floats:
        if not self.classes:
            return np.asarray(self.pipeline.predict(X), dtype=np.float64)
        return spread(self.pipeline.predict_proba(X), self.pipeline.classes_, self.classes)

    def to_files(self) -> dict[str, bytes]:
        return {_FILE: skops_bytes.dumps({"pipeline": self.pipeline, "classes": self.classes})}


def _fit(
    X: Floats,
    y: npt.NDArray[Any],
    task: TaskInfo,
    settings: Settings,
    *,
    seed: int,
    threads: int | None = None,  # noqa: ARG001
    watch: Watch | None = None,  # noqa: ARG001
    iterations: int | None = None,  # noqa: ARG001
    weight: Floats | None = None,
    seconds: float | None = None,  # noqa: ARG001
) -> _Linear:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import Pipeline
    from threadpoolctl import threadpool_limits

    columns = _columns(X.shape[1], task, settings, len(X), seed)
    # BLAS splits sums by the number of threads, and so rounds otherwise with another number.
    with threadpool_limits(limits=1, user_api="blas"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a fit that isn't quite converged is judged by its score
        wide = columns.fit_transform(X)
        if task.type == "regression":
            model = Ridge(alpha=settings["penalty"])
        else:
            newton = task.classes == 2 and wide.shape[1] <= _DENSE_NEWTON_COLUMNS  # noqa: PLR2004
            model = LogisticRegression(
                C=1.0 / settings["penalty"],
                solver="newton-cholesky" if newton else "lbfgs",
                max_iter=50 if newton else 200,
                random_state=seed,
            )
        model.fit(wide, y, sample_weight=weight)
    return _Linear(Pipeline([("columns", columns), ("model", model)]), task.classes)


def _columns(width: int, task: TaskInfo, settings: Settings, rows: int, seed: int) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, StandardScaler

    categories = list(task.categorical)
    numbers = [i for i in range(width) if i not in task.categorical]
    scale: Any = StandardScaler()
    if settings["scale"] == "quantile":
        scale = QuantileTransformer(
            n_quantiles=min(100, rows), output_distribution="normal", random_state=seed
        )
    parts: list[tuple[str, Any, list[int]]] = []
    if numbers:
        impute = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
        parts.append(("numbers", Pipeline([("impute", impute), ("scale", scale)]), numbers))
    if categories:
        one_hot = OneHotEncoder(
            handle_unknown="infrequent_if_exist",
            max_categories=max(5, min(64, _ONE_HOT_COLUMNS // len(categories))),
            sparse_output=False,
        )
        parts.append(("categories", one_hot, categories))
    return ColumnTransformer(parts)


def _from_files(files: Mapping[str, bytes]) -> _Linear:
    tree = skops_bytes.loads(files[_FILE], _FILE)
    return _Linear(tree["pipeline"], tree["classes"])


FAMILY = Family(
    name="linear",
    space={
        "penalty": Setting(Dimension(low=1e-3, high=1e3, log=True), 1.0),
        "scale": Setting(Dimension(choices=("standard", "quantile")), "standard"),
    },
    fitter=_fit,
    reader=_from_files,
)
