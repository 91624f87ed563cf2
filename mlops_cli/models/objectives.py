"""Training objective, monotone constraints and row weights of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlops_cli.errors import BadParams, DataRefused, nearest
from mlops_cli.metrics.catalog import default_metrics
from mlops_cli.metrics.weighted import row_weights
from mlops_cli.models.families.task_info import TaskInfo

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.metrics.weighted import Floats
    from mlops_cli.models.encoder import Encoder
    from mlops_cli.params.train import Train

__all__ = ["check_target", "fit_weights", "search_metric", "task_info"]

_METRIC_BY_OBJECTIVE = {"squared": "rmse", "absolute": "mae", "poisson": "poisson_deviance"}


def task_info(task_type: str, classes: int, train: Train, encoder: Encoder) -> TaskInfo:
    """Describe the task for the model families.

    Raises
    ------
    BadParams
        If ``train.objective`` or ``train.monotone`` doesn't fit the task or the features.
    """
    if train.objective != "squared" and task_type != "regression":
        raise BadParams(
            f"train.objective is {train.objective!r}, and the task is {task_type} (params.yaml)",
            "Objectives are for regression; classes are learnt by log loss.",
        )
    if train.monotone and task_type == "multiclass":
        raise BadParams(
            "train.monotone is given, and the task is multiclass (params.yaml)",
            "Of several probabilities that sum to 1 not all can rise; leave it out.",
        )
    return TaskInfo(
        task_type,
        classes,
        encoder.categorical,
        train.objective,
        _monotone_signs(train.monotone, encoder) if train.monotone else (),
    )


def _monotone_signs(monotone: Mapping[str, int], encoder: Encoder) -> tuple[int, ...]:
    kinds = encoder.kinds
    for name in monotone:
        if name not in kinds:
            raise BadParams(
                f"train.monotone names {name!r}, which is not a feature (params.yaml)",
                nearest(name, kinds),
            )
        if kinds[name] not in ("number", "boolean"):
            raise BadParams(
                f"train.monotone names {name!r}, which is a {kinds[name]} (params.yaml)",
                "Only along a number can the output rise or fall.",
            )
    return tuple(monotone.get(name, 0) for name in encoder.feature_of_column)


def search_metric(task_type: str, objective: str) -> str:
    """The search metric for an objective, used if ``tune.metric`` is not set."""
    if task_type != "regression":
        return default_metrics(task_type)[0]
    name, _, level = objective.partition(":")
    return _METRIC_BY_OBJECTIVE.get(name) or f"pinball_{round(float(level) * 100):02d}"


def check_target(y: npt.NDArray[Any], objective: str, rows_name: str) -> None:
    """Refuse a target for which the objective isn't defined.

    Raises
    ------
    DataRefused
        If the objective is poisson and a value is negative.
    """
    if objective == "poisson" and len(y) and float(y.min()) < 0:
        raise DataRefused(
            f"the target is {float(y.min()):g} in a row of {rows_name}, and train.objective is "
            "poisson",
            "Counts start at 0; choose another objective, or correct the target.",
        )


def fit_weights(frame: pl.DataFrame, name: str | None) -> Floats | None:
    """Row weights of a fit, (n,), with mean 1; None if all rows count the same.

    Raises
    ------
    BadParams
        If there is no column of this name.
    DataRefused
        If a weight is missing or negative, or all are 0.
    """
    if name is None:
        return None
    if name not in frame.columns:
        raise BadParams(
            f"train.weight names {name!r}, which is no column of the splits (params.yaml)",
            "Name a feature, or a base column and keep it with featurize.keep.",
        )
    weights = row_weights(frame[name], name, "train.weight")
    return np.asarray(weights / weights.mean())
