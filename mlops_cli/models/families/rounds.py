"""Early stopping of boosting rounds: held-out score, patience and deadline."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np

from mlops_cli.models.families.fit_request import Floats, WatchedRows

__all__ = ["STEPS", "Rounds", "deadline"]

STEPS = 10
"""Maximum number of score reports of a fit: one per tenth of its rounds."""


class Rounds:
    """Tracks the held-out score of a model over its rounds, and finds the best round.

    Parameters
    ----------
    watch
        Held-out rows, and the report of their score.
    total
        The maximum number of rounds.
    cut_at_best
        Whether the model will be cut after the best round, so that its prediction is that round's.
    """

    def __init__(self, watch: WatchedRows, total: int, *, cut_at_best: bool = True) -> None:
        self.watch = watch
        self.total = total
        self.cut_at_best = cut_at_best
        self.best = 0
        self.best_score = -np.inf
        self._step = 0

    def record(self, done: int, prediction: Floats) -> bool:
        """Score the prediction after ``done`` rounds; return whether to stop."""
        score = self.watch.score(prediction)
        if score > self.best_score or self.best == 0:
            self.best, self.best_score = done, score
            if self.cut_at_best:
                self.watch.predictions[:] = [prediction]
        step = done * STEPS // self.total
        if self.watch.report and step > self._step:
            self._step = step
            self.watch.report(step, self.best_score)
        return self.watch.patience is not None and done - self.best >= self.watch.patience


def deadline(seconds: float | None) -> Callable[[], bool]:
    """A function that returns whether the seconds, counted from now, have passed."""
    end = math.inf if seconds is None else time.monotonic() + seconds
    return lambda: time.monotonic() >= end
