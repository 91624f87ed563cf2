"""Input of a model family's fit: rows, labels, task, settings and limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.models.families.task_info import TaskInfo

__all__ = ["FitRequest", "Floats", "Pruned", "Settings", "WatchedRows"]

Floats = npt.NDArray[np.float64]
Settings = Mapping[str, Any]


class Pruned(Exception):  # not an error: a decision to stop
    """Raised by ``WatchedRows.report`` to end a fit that is not worth finishing."""


@dataclass(frozen=True)
class WatchedRows:
    """Held-out rows for early stopping and pruning of a fit.

    Parameters
    ----------
    X
        The matrix (rows, features) to predict.
    score
        Prediction -> score; larger is better.
    report
        Called with the step (1 to 10) and the best score so far; may raise ``Pruned``.
    patience
        Rounds without a better score after which to stop; None: never.
    predictions
        Receives the returned model's prediction for these rows, if the fit has computed it.
    """

    X: Floats
    score: Callable[[Floats], float]
    report: Callable[[int, float], None] | None = None
    patience: int | None = None
    predictions: list[Floats] = field(default_factory=list)


@dataclass(frozen=True)
class FitRequest:
    """Rows, task, settings and limits of one fit.

    Attributes
    ----------
    X
        The matrix (rows, features); NaN means missing.
    y
        Class codes or values (rows,).
    task
        The task to learn.
    settings
        Settings of the family by name; missing settings take the family's defaults.
    seed
        Seed of every random choice.
    weight
        Weight of each row (rows,); None: all rows count the same.
    watch
        Held-out rows for early stopping; None: no early stopping.
    rounds
        The number of rounds without ``watch``, or the maximum with it; None: the family's.
    seconds
        Time after which no further round is started; None: no limit.
    threads
        Number of threads; None: as many as pay off. It changes the speed, never the result.
    """

    X: Floats
    y: npt.NDArray[Any]
    task: TaskInfo
    settings: Settings = field(default_factory=dict)
    _: KW_ONLY
    seed: int
    weight: Floats | None = None
    watch: WatchedRows | None = None
    rounds: int | None = None
    seconds: float | None = None
    threads: int | None = None

    def present_classes(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
        """Codes of the classes in ``y``, ascending, and ``y`` as positions among them.

        For regression there are no codes, and ``y`` is unchanged.
        """
        if not self.task.classes:
            return np.zeros(0, dtype=np.int64), self.y
        return np.unique(self.y.astype(np.int64), return_inverse=True)
