"""What a trial fits and is judged by: a matrix, labels, folds, a metric."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo, WatchedRows
from mlops_cli.models.families.threads import available_cores
from mlops_cli.splitting.folds import Fold, fold_parts
from mlops_cli.training.judge import CvScorer
from mlops_cli.training.search.trials import Result

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.metrics.catalog import Floats, Metric
    from mlops_cli.models.families import FittedModel
    from mlops_cli.training.search.search_space import Candidate

__all__ = ["CvObjective", "FinalFit"]


@dataclass(frozen=True)
class FinalFit:
    """What is fitted for the last time.

    Parameters
    ----------
    candidate
        The family and its settings.
    iterations
        Rounds of a model of all rows.
    copies
        So many models of all rows, each with its own seed; None: the models of the folds.
    """

    candidate: Candidate
    iterations: int | None
    copies: int | None


@dataclass(frozen=True)
class CvObjective:
    """A search's task on known rows.

    Parameters
    ----------
    task
        What is learnt.
    metric
        What decides.
    seed
        Of every fit.
    X, y
        Matrix (rows, columns) and truth (rows,).
    folds
        Which rows teach and which decide. Several are fitted side by side, each on one core.
    patience
        Rounds without a better score after which a boosting family stops.
    weight
        How much each row counts, (rows,); None: all the same.
    """

    task: TaskInfo
    metric: Metric
    seed: int
    X: Floats
    y: npt.NDArray[Any]
    folds: Sequence[Fold]
    patience: int
    weight: Floats | None = None

    @cached_property
    def judge(self) -> CvScorer:
        """Scores a prediction for all rows that decide."""
        deciding = self.folds[0].score if len(self.folds) == 1 else slice(None)
        weight = None if self.weight is None else self.weight[deciding]
        return CvScorer(self.metric, self.y[deciding], fold_parts(self.folds), weight)

    def evaluate(
        self,
        candidate: Candidate,
        report: Callable[[int, float], None] | None,
        seconds: float = math.inf,
        rounds: int | None = None,
    ) -> Result:
        """Fit on each fold's teaching rows and score on its deciding ones.

        With one fold the fit reports its steps; with several, each fold is a step, and what is
        reported is the mean score so far.

        Parameters
        ----------
        candidate
            The family and its settings.
        report
            Told the score so far; may raise ``Pruned``.
        seconds
            After so many no further rounds are begun; folds share them alike, as many at a time as
            there are cores.
        rounds
            The most rounds of a model; by default the family's.
        """
        if len(self.folds) == 1:
            fitted, prediction = self._fit(
                candidate, self.folds[0], report, seconds, rounds, threads=None
            )
            return self._result(prediction, [fitted])
        whole = np.zeros((len(self.y), self.task.classes) if self.task.classes else len(self.y))
        fits, scores = [], []
        cores = min(available_cores(), len(self.folds))
        share = seconds / math.ceil(len(self.folds) / cores)
        with ThreadPoolExecutor(cores) as pool:
            running = [
                pool.submit(self._fit, candidate, fold, None, share, rounds, threads=1)
                for fold in self.folds
            ]
            try:
                for step, (fold, future) in enumerate(zip(self.folds, running, strict=True), 1):
                    fitted, whole[fold.score] = future.result()
                    fits.append(fitted)
                    scores.append(self._score(whole[fold.score], fold))
                    if report and step < len(self.folds):
                        report(step, float(np.mean(scores)))
            except BaseException:
                for future in running:
                    future.cancel()
                raise
        return self._result(whole, fits)

    def refit(
        self, wanted: Sequence[FinalFit], done: Callable[[int], None]
    ) -> list[list[FittedModel]]:
        """Fit for the last time: the models of each.

        Models are fitted side by side where folds are, each on one core; else one after another.

        Parameters
        ----------
        wanted
            What is fitted.
        done
            Told how many of them are.
        """
        beside = len(self.folds) > 1
        threads = 1 if beside else None

        def submit(each: FinalFit) -> list[Future[FittedModel]]:
            if each.copies is None:
                return [
                    pool.submit(self._of_fold, each.candidate, fold, threads) for fold in self.folds
                ]
            return [
                pool.submit(self._of_all, each, self.seed + copy, threads)
                for copy in range(each.copies)
            ]

        made = []
        with ThreadPoolExecutor(available_cores() if beside else 1) as pool:
            running = [submit(each) for each in wanted]
            for number, of in enumerate(running, 1):
                made.append([future.result() for future in of])
                done(number)
        return made

    def _of_fold(self, candidate: Candidate, fold: Fold, threads: int | None) -> FittedModel:
        return self._fit(candidate, fold, None, math.inf, None, threads=threads)[0]

    def _of_all(self, wanted: FinalFit, seed: int, threads: int | None) -> FittedModel:
        return FAMILIES[wanted.candidate.family].fit(
            FitRequest(
                self.X,
                self.y,
                self.task,
                wanted.candidate.settings,
                seed=seed,
                threads=threads,
                rounds=wanted.iterations,
                weight=self.weight,
            )
        )

    def _fit(
        self,
        candidate: Candidate,
        fold: Fold,
        report: Callable[[int, float], None] | None,
        seconds: float,
        rounds: int | None,
        *,
        threads: int | None,
    ) -> tuple[FittedModel, Floats]:
        """The model of a fold, and what it predicts for the rows that decide."""
        sign = 1.0 if self.metric.maximise else -1.0

        def score(prediction: Floats) -> float:
            return sign * self._score(prediction, fold)

        def signed(step: int, value: float) -> None:
            if report:
                report(step, sign * value)

        watch = WatchedRows(self.X[fold.score], score, signed if report else None, self.patience)
        fitted = FAMILIES[candidate.family].fit(
            FitRequest(
                self.X[fold.fit],
                self.y[fold.fit],
                self.task,
                candidate.settings,
                seed=self.seed,
                threads=threads,
                watch=watch,
                rounds=rounds,
                seconds=None if math.isinf(seconds) else max(0.0, seconds),
                weight=None if self.weight is None else self.weight[fold.fit],
            )
        )
        return fitted, watch.seen[0] if watch.seen else fitted.predict(watch.X)

    def _score(self, prediction: Floats, fold: Fold) -> float:
        weight = None if self.weight is None else self.weight[fold.score]
        return float(self.metric(self.y[fold.score], prediction, weight))

    def _result(self, prediction: Floats, fits: Sequence[FittedModel]) -> Result:
        rounds = [fitted.iterations for fitted in fits if fitted.iterations]
        iterations = round(sum(rounds) / len(rounds)) if rounds else None
        of_folds = tuple(fits) if len(self.folds) > 1 else ()
        return Result(self.judge(prediction), iterations, prediction.astype(np.float32), of_folds)
