"""Model families: one table, one contract. A further family is one module and one row here."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from mlops_cli.errors import BadParams, install_hint
from mlops_cli.models.families import catboost, extra_trees, forest, lightgbm, linear, mlp, xgboost
from mlops_cli.models.families.base import Family, FittedModel, Setting
from mlops_cli.models.families.fit_request import FitRequest, Pruned, WatchedRows
from mlops_cli.models.families.task_info import TaskInfo

__all__ = [
    "FAMILIES",
    "Family",
    "FitRequest",
    "FittedModel",
    "Pruned",
    "Setting",
    "TaskInfo",
    "WatchedRows",
    "choose_families",
    "warm_up",
]

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        module.FAMILY.name: module.FAMILY
        for module in (
            linear,
            mlp,
            forest,
            extra_trees,
            lightgbm,
            xgboost,
            catboost,
        )
    }
)
"""By name, the cheapest first."""


def choose_families(
    names: Sequence[str] | None, task: TaskInfo
) -> tuple[dict[str, Family], list[str]]:
    """The families to search, in the table's order, and a note on each that can't learn this.

    Parameters
    ----------
    names
        ``tune.families``; None: all that are installed.

    Raises
    ------
    BadParams
        If a named family isn't installed, or none can learn this.
    """
    wanted = [f for f in FAMILIES.values() if (f.installed if names is None else f.name in names)]
    for family in wanted:
        if not family.installed:
            raise BadParams(
                f"tune.families names {family.name!r}, and the package {family.needs} is not "
                "installed (params.yaml)",
                f"{install_hint(str(family.needs))} Or leave the family out.",
            )
    reasons = {family.name: family.unfit(task) for family in wanted}
    notes = [f"{name} is left out: it {reason}" for name, reason in reasons.items() if reason]
    able = {family.name: family for family in wanted if reasons[family.name] is None}
    if not able:
        raise BadParams(
            f"none of the families can learn this: {'; '.join(notes)} (params.yaml)",
            "Name others under tune.families, or change train.objective or train.monotone.",
        )
    return able, notes


def warm_up(families: Iterable[Family], task: TaskInfo) -> dict[str, float]:
    """Fit each to a few rows, so that what its library needs to start isn't a trial's time.

    Returns
    -------
    dict of str to float
        Library -> seconds that it took to start.
    """
    import numpy as np

    X = np.arange(40.0).reshape(20, 2)
    y = np.arange(20) % (task.classes or 20)
    bare = TaskInfo(task.type, task.classes, objective=task.objective)
    starting: dict[str, float] = {}
    for family in families:
        began = time.monotonic()
        family.fit(FitRequest(X, y, bare, seed=0, threads=1, rounds=1 if family.rounds else None))
        took = time.monotonic() - began
        starting[family.library] = starting.get(family.library, 0.0) + took
    return starting
