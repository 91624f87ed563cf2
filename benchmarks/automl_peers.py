"""The peers of automl.py, each used as in the first example of its documentation.

automl.py runs this script in the peers' environments, as
`python automl_peers.py SYSTEM TASK_FOLDER SECONDS RESULT`. A system gets the training rows, a time
budget and a number of cores. It predicts the test rows, with classes in sorted order.
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

TARGET, CORES, TIMED_ROWS = "target", 2, 100
BOOSTERS = ("lightgbm", "catboost", "hist_gradient_boosting")
FittedModel = tuple[Callable[[pd.DataFrame], np.ndarray], Callable[[], int]]


def convert_to_categories(train: pd.DataFrame, test: pd.DataFrame) -> list[str]:
    """Convert text columns to the same categories in both tables; return their names."""
    text_columns = [c for c in train.columns if not pd.api.types.is_numeric_dtype(train[c])]
    for column in text_columns:
        dtype = pd.CategoricalDtype(sorted(train[column].dropna().unique()))
        train[column], test[column] = train[column].astype(dtype), test[column].astype(dtype)
    return text_columns


def booster(system: str) -> Callable[..., FittedModel]:
    """Return a function that fits an estimator with its defaults, without a time budget."""

    def fit(X: pd.DataFrame, y: pd.Series, task: dict[str, Any], seconds: float) -> FittedModel:  # noqa: ARG001
        numeric = task["type"] == "regression"
        if system == "lightgbm":
            import lightgbm as library

            estimator = library.LGBMRegressor if numeric else library.LGBMClassifier
            model = estimator(n_jobs=CORES, verbose=-1)
        elif system == "catboost":
            import catboost as library

            estimator = library.CatBoostRegressor if numeric else library.CatBoostClassifier
            text_columns = [c for c in X.columns if X[c].dtype == "category"]
            model = estimator(thread_count=CORES, verbose=False, cat_features=text_columns,
                         allow_writing_files=False)  # fmt: skip
        else:
            import sklearn.ensemble as library

            name = "HistGradientBoosting" + ("Regressor" if numeric else "Classifier")
            model = getattr(library, name)(categorical_features="from_dtype")
        model.fit(prepare_rows(X, system), y)
        predict = model.predict if numeric else model.predict_proba
        return lambda rows: predict(prepare_rows(rows, system)), lambda: len(pickle.dumps(model))

    return fit


def prepare_rows(rows: pd.DataFrame, system: str) -> pd.DataFrame:
    """Convert categories to text for CatBoost, which accepts no missing categories."""
    if system != "catboost":
        return rows
    text_columns = {c: rows[c].astype(str) for c in rows.columns if rows[c].dtype == "category"}
    return rows.assign(**text_columns)


def flaml(X: pd.DataFrame, y: pd.Series, task: dict[str, Any], seconds: float) -> FittedModel:
    from flaml import AutoML

    numeric = task["type"] == "regression"
    model = AutoML()
    model.fit(X, y, task="regression" if numeric else "classification", time_budget=seconds,
              metric={"log_loss": "log_loss", "roc_auc": "roc_auc", "rmse": "rmse"}[task["metric"]],
              n_jobs=CORES, verbose=0, seed=1)  # fmt: skip
    predict = model.predict if numeric else model.predict_proba
    return predict, lambda: len(pickle.dumps(model.model))


def autogluon(X: pd.DataFrame, y: pd.Series, task: dict[str, Any], seconds: float) -> FittedModel:
    from autogluon.tabular import TabularPredictor

    metric = {"rmse": "root_mean_squared_error"}.get(task["metric"], task["metric"])
    model_folder = Path("autogluon").absolute()
    shutil.rmtree(model_folder, ignore_errors=True)
    model = TabularPredictor(
        TARGET, problem_type=task["type"], eval_metric=metric, path=str(model_folder), verbosity=0
    )
    model.fit(X.assign(**{TARGET: y}), time_limit=seconds, num_cpus=CORES)
    model.persist()

    def predict(rows: pd.DataFrame) -> np.ndarray:
        if task["type"] == "regression":
            return model.predict(rows).to_numpy()
        return model.predict_proba(rows)[sorted(y.unique())].to_numpy()

    # The size to deploy is that of the best model and the models below it.
    return predict, lambda: deployed_bytes(model)


def deployed_bytes(model: Any) -> int:
    """Bytes of a clone of the predictor that can only predict."""
    model_folder = Path("autogluon-deployed").absolute()
    shutil.rmtree(model_folder, ignore_errors=True)
    model.clone_for_deployment(str(model_folder))
    return sum(file.stat().st_size for file in model_folder.rglob("*") if file.is_file())


SYSTEMS: dict[str, Callable[..., FittedModel]] = {
    **{name: booster(name) for name in BOOSTERS},
    "flaml": flaml,
    "autogluon": autogluon,
}


def main(system: str, task_folder: Path, seconds: float, result: Path) -> None:
    task = json.loads((task_folder / "task.json").read_text())
    train, test = pd.read_csv(task_folder / "train.csv"), pd.read_csv(task_folder / "test.csv")
    y = train.pop(TARGET)
    test = test.drop(columns=TARGET)
    if task["time"]:
        for table in (train, test):
            times = pd.to_datetime(table[task["time"]])
            # Boosters accept numbers only; the AutoML packages extract features from times.
            table[task["time"]] = times.astype("int64") if system in BOOSTERS else times
    if system in BOOSTERS:
        convert_to_categories(train, test)
    started = time.monotonic()
    predict, size = SYSTEMS[system](train, y, task, seconds)
    fit_seconds = time.monotonic() - started
    predictions = np.asarray(predict(test), dtype=float)
    latencies = []
    for row in range(min(TIMED_ROWS, len(test))):
        start = time.perf_counter()
        predict(test.iloc[row : row + 1])
        latencies.append(time.perf_counter() - start)
    np.save(result.with_suffix(".npy"), predictions)
    result.write_text(json.dumps({
        "seconds": fit_seconds, "milliseconds": 1000 * statistics.median(latencies),
        "bytes": size(),
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
