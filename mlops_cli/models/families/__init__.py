"""Registry of model families. A new family is one module and one row in ``FAMILIES``."""

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
"""Model families by name, the cheapest first."""


def choose_families(
    names: Sequence[str] | None, task: TaskInfo
) -> tuple[dict[str, Family], list[str]]:
    """The families to search, and a note on each family that doesn't support the task.

    Parameters
    ----------
    names
        ``tune.families``; None: all installed families.
    task
        The task to learn.

    Returns
    -------
    tuple of dict and list
        Name -> family, in the order of ``FAMILIES``, and the notes.

    Raises
    ------
    BadParams
        If a named family isn't installed, or no family supports the task.
    """
    requested = [
        f for f in FAMILIES.values() if (f.installed if names is None else f.name in names)
    ]
    for family in requested:
        if not family.installed:
            raise BadParams(
                f"tune.families names {family.name!r}, and the package {family.package} is not "
                "installed (params.yaml)",
                f"{install_hint(str(family.package))} Or leave the family out.",
            )
    reasons = {family.name: family.unsupported_reason(task) for family in requested}
    notes = [f"{name} is left out: it {reason}" for name, reason in reasons.items() if reason]
    suitable = {family.name: family for family in requested if reasons[family.name] is None}
    if not suitable:
        raise BadParams(
            f"none of the families can learn this: {'; '.join(notes)} (params.yaml)",
            "Name others under tune.families, or change train.objective or train.monotone.",
        )
    return suitable, notes


def warm_up(families: Iterable[Family], task: TaskInfo) -> dict[str, float]:
    """Fit each family to a few rows, so that a library's import doesn't count as a trial's time.

    Returns
    -------
    dict of str to float
        Library -> seconds that it took to start.
    """
    import numpy as np

    X = np.arange(40.0).reshape(20, 2)
    y = np.arange(20) % (task.classes or 20)
    plain_task = TaskInfo(task.type, task.classes, objective=task.objective)
    start_seconds: dict[str, float] = {}
    for family in families:
        began = time.monotonic()
        family.fit(
            FitRequest(X, y, plain_task, seed=0, threads=1, rounds=1 if family.rounds else None)
        )
        seconds = time.monotonic() - began
        start_seconds[family.library] = start_seconds.get(family.library, 0.0) + seconds
    return start_seconds
