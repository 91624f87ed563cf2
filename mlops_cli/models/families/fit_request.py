"""What a model family is asked to fit."""

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
    """Data outside the fit, by which it may say how good it is and stop early.

    Parameters
    ----------
    X
        The matrix (rows, features) to predict.
    score
        Prediction -> score, larger is better.
    report
        Called with the step (1 to 10) and the score so far; may raise ``Pruned``.
    patience
        Rounds without a better score after which to stop; None: never.
    seen
        Gets the prediction of the model that the fit gives back, where the fit knows it already.
    """

    X: Floats
    score: Callable[[Floats], float]
    report: Callable[[int, float], None] | None = None
    patience: int | None = None
    seen: list[Floats] = field(default_factory=list)


@dataclass(frozen=True)
class FitRequest:
    """Rows, task and settings of one fit, and its limits.

    Attributes
    ----------
    X
        The matrix (rows, features); missing is NaN.
    y
        Class codes or values (rows,).
    task
        What is learnt.
    settings
        Of the family, by name; those left out take its defaults.
    seed
        Of every random choice.
    weight
        How much each row counts (rows,); None: all the same.
    watch
        Held-out rows by which the fit stops early; None: it doesn't.
    rounds
        The exact number of rounds without a watch, and the most with one; None: the family's.
    seconds
        After so many no further rounds are begun; None: no limit.
    threads
        How many the fit may use; None: as many as pay off. It changes the speed, never the result.
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

        For regression there are none, and ``y`` is as it is.
        """
        if not self.task.classes:
            return np.zeros(0, dtype=np.int64), self.y
        return np.unique(self.y.astype(np.int64), return_inverse=True)
