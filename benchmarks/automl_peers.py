"""The peers of automl.py, each as its own documentation begins.

Run by automl.py in the peers' environments, as `python automl_peers.py SYSTEM PLACE SECONDS OUT`.
A system gets the training rows, a number of seconds and of cores, and gives predictions of the
test rows; classes in sorted order.
"""

from __future__ import annotations

import json
import pickle
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TARGET, CORES, ROWS_TIMED = "target", 2, 100
BOOSTERS = ("lightgbm", "catboost", "hist_gradient_boosting")
Fitted = tuple[Callable[[pd.DataFrame], np.ndarray], Callable[[], int]]


def categories(train: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    """Make text columns categories, the same ones in both tables."""
    named = [c for c in train.columns if not pd.api.types.is_numeric_dtype(train[c])]
    for column in named:
        kinds = pd.CategoricalDtype(sorted(train[column].dropna().unique()))
        train[column], test[column] = train[column].astype(kinds), test[column].astype(kinds)
    return named


def booster(system: str) -> Callable[..., Fitted]:
    """A library's estimator with its default settings, which need no seconds."""

    def fit(X: pd.DataFrame, y: pd.Series, task: dict[str, Any], seconds: float) -> Fitted:  # noqa: ARG001
        numeric = task["type"] == "regression"
        if system == "lightgbm":
            import lightgbm as library

            kind = library.LGBMRegressor if numeric else library.LGBMClassifier
            model = kind(n_jobs=CORES, verbose=-1)
        elif system == "catboost":
            import catboost as library

            kind = library.CatBoostRegressor if numeric else library.CatBoostClassifier
            named = [c for c in X.columns if X[c].dtype == "category"]
            model = kind(thread_count=CORES, verbose=False, cat_features=named,
                         allow_writing_files=False)  # fmt: skip
        else:
            import sklearn.ensemble as library

            name = "HistGradientBoosting" + ("Regressor" if numeric else "Classifier")
            model = getattr(library, name)(categorical_features="from_dtype")
        model.fit(prepared(X, system), y)
        ask = model.predict if numeric else model.predict_proba
        return lambda rows: ask(prepared(rows, system)), lambda: len(pickle.dumps(model))

    return fit


def prepared(rows: pd.DataFrame, system: str) -> pd.DataFrame:
    """CatBoost takes text for categories, and no missing ones."""
    if system != "catboost":
        return rows
    named = {c: rows[c].astype(str) for c in rows.columns if rows[c].dtype == "category"}
    return rows.assign(**named)


def flaml(X: pd.DataFrame, y: pd.Series, task: dict[str, Any], seconds: float) -> Fitted:
    from flaml import AutoML

    numeric = task["type"] == "regression"
    model = AutoML()
    model.fit(X, y, task="regression" if numeric else "classification", time_budget=seconds,
              metric={"log_loss": "log_loss", "roc_auc": "roc_auc", "rmse": "rmse"}[task["metric"]],
              n_jobs=CORES, verbose=0, seed=1)  # fmt: skip
    ask = model.predict if numeric else model.predict_proba
    return ask, lambda: len(pickle.dumps(model.model))


def autogluon(X: pd.DataFrame, y: pd.Series, task: dict[str, Any], seconds: float) -> Fitted:
    from autogluon.tabular import TabularPredictor

    metric = {"rmse": "root_mean_squared_error"}.get(task["metric"], task["metric"])
    place = Path("autogluon").absolute()
    shutil.rmtree(place, ignore_errors=True)
    model = TabularPredictor(TARGET, problem_type=task["type"], eval_metric=metric, path=str(place),
                             verbosity=0)  # fmt: skip
    model.fit(X.assign(**{TARGET: y}), time_limit=seconds, num_cpus=CORES)
    model.persist()

    def ask(rows: pd.DataFrame) -> np.ndarray:
        if task["type"] == "regression":
            return model.predict(rows).to_numpy()
        return model.predict_proba(rows)[sorted(y.unique())].to_numpy()

    # What it takes to deploy: the best model with those that it stands on.
    return ask, lambda: deployed(model)


def deployed(model: Any) -> int:
    """Bytes of a clone that can only predict."""
    place = Path("autogluon-deployed").absolute()
    shutil.rmtree(place, ignore_errors=True)
    model.clone_for_deployment(str(place))
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


SYSTEMS: dict[str, Callable[..., Fitted]] = {
    **{name: booster(name) for name in BOOSTERS},
    "flaml": flaml,
    "autogluon": autogluon,
}


def main(system: str, place: Path, seconds: float, out: Path) -> None:
    task = json.loads((place / "task.json").read_text())
    train, test = pd.read_csv(place / "train.csv"), pd.read_csv(place / "test.csv")
    y = train.pop(TARGET)
    test = test.drop(columns=TARGET)
    if task["time"]:
        for table in (train, test):
            moments = pd.to_datetime(table[task["time"]])
            # The boosters take numbers; AutoML knows what to make of a moment.
            table[task["time"]] = moments.astype("int64") if system in BOOSTERS else moments
    if system in BOOSTERS:
        categories(train, test)
    started = time.monotonic()
    ask, size = SYSTEMS[system](train, y, task, seconds)
    spent = time.monotonic() - started
    predicted = np.asarray(ask(test), dtype=float)
    timed = []
    for row in range(min(ROWS_TIMED, len(test))):
        began = time.perf_counter()
        ask(test.iloc[row : row + 1])
        timed.append(time.perf_counter() - began)
    np.save(out.with_suffix(".npy"), predicted)
    out.write_text(json.dumps({
        "seconds": spent, "milliseconds": 1000 * statistics.median(timed), "bytes": size(),
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
