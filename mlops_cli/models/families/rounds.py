"""What a model that grows round by round follows: its score on held-out rows, and the clock."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from mlops_cli.models.families.fit_request import Floats, WatchedRows

__all__ = ["STEPS", "Rounds", "deadline"]

STEPS = 10
"""A fit says at most so many times how good it is: at each tenth of its budget."""


class Rounds:
    """Follows the score of a model that grows round by round.

    Parameters
    ----------
    watch
        Whom to tell.
    total
        The most rounds.
    cuts
        Whether the model will end with the best round, and so predict what it predicted there.
    """

    def __init__(self, watch: WatchedRows, total: int, *, cuts: bool = True) -> None:
        self.watch = watch
        self.total = total
        self.cuts = cuts
        self.best = 0
        self.best_score = -np.inf
        self._step = 0

    def see(self, done: int, prediction: Floats) -> bool:
        """Take the prediction after ``done`` rounds; say whether to stop."""
        score = self.watch.score(prediction)
        if score > self.best_score or self.best == 0:
            self.best, self.best_score = done, score
            if self.cuts:
                self.watch.seen[:] = [prediction]
        step = done * STEPS // self.total
        if self.watch.report and step > self._step:
            self._step = step
            self.watch.report(step, self.best_score)
        return self.watch.patience is not None and done - self.best >= self.watch.patience


def deadline(seconds: float | None) -> Callable[[], bool]:
    """A function that says whether so many seconds have passed since now."""
    ends = math.inf if seconds is None else time.monotonic() + seconds
    return lambda: time.monotonic() >= ends
