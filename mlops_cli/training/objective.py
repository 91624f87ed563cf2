"""Objective of the search: fits a trial on each fold and scores it on validation rows."""

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
from mlops_cli.splitting.folds import Fold, fold_positions
from mlops_cli.training.cv_scorer import CvScorer
from mlops_cli.training.search.trials import Result

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.metrics.catalog import Floats, Metric
    from mlops_cli.models.families import FittedModel
    from mlops_cli.training.search.search_space import Candidate

__all__ = ["CvObjective", "FinalFit"]


@dataclass(frozen=True)
class FinalFit:
    """A model to fit finally.

    Parameters
    ----------
    candidate
        The family and its settings.
    iterations
        Number of rounds of a model on all rows.
    copies
        Number of models on all rows, each with its own seed; None: one model per fold.
    """

    candidate: Candidate
    iterations: int | None
    copies: int | None


@dataclass(frozen=True)
class CvObjective:
    """Evaluates candidates on the folds of the train and validation rows.

    Parameters
    ----------
    task
        The task to learn.
    metric
        The metric that is optimised.
    seed
        Seed of every fit.
    X, y
        Matrix (rows, columns) and labels (rows,).
    folds
        Training and validation rows. Several folds are fitted in parallel, each on one core.
    patience
        Rounds without a better score after which a boosting family stops.
    weight
        Weight of each row, (rows,); None: all rows count the same.
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
    def scorer(self) -> CvScorer:
        """Scorer of predictions for all validation rows."""
        validation_rows = self.folds[0].score_rows if len(self.folds) == 1 else slice(None)
        weight = None if self.weight is None else self.weight[validation_rows]
        return CvScorer(self.metric, self.y[validation_rows], fold_positions(self.folds), weight)

    def evaluate(
        self,
        candidate: Candidate,
        report: Callable[[int, float], None] | None,
        seconds: float = math.inf,
        rounds: int | None = None,
    ) -> Result:
        """Fit on each fold's training rows and score on its validation rows.

        With one fold the fit reports its steps. With several folds, each fold is a step, and the
        reported score is the mean so far.

        Parameters
        ----------
        candidate
            The family and its settings.
        report
            Called with the step and the score so far; may raise ``Pruned``.
        seconds
            Time after which no further round is started. Folds get equal shares of it, and as many
            folds as there are cores run in parallel.
        rounds
            Maximum number of rounds of a model; None: the family's.
        """
        if len(self.folds) == 1:
            fitted, prediction = self._fit(
                candidate, self.folds[0], report, seconds, rounds, threads=None
            )
            return self._result(prediction, [fitted])
        predictions = np.zeros(
            (len(self.y), self.task.classes) if self.task.classes else len(self.y)
        )
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
                    fitted, predictions[fold.score_rows] = future.result()
                    fits.append(fitted)
                    scores.append(self._score(predictions[fold.score_rows], fold))
                    if report and step < len(self.folds):
                        report(step, float(np.mean(scores)))
            except BaseException:
                for future in running:
                    future.cancel()
                raise
        return self._result(predictions, fits)

    def refit(
        self, final_fits: Sequence[FinalFit], report: Callable[[int], None]
    ) -> list[list[FittedModel]]:
        """Fit the final models.

        With several folds, models are fitted in parallel, each on one core; else one at a time.

        Parameters
        ----------
        final_fits
            The models to fit.
        report
            Called with the number of finished entries of ``final_fits``.

        Returns
        -------
        list of list of FittedModel
            The models of each entry.
        """
        parallel = len(self.folds) > 1
        threads = 1 if parallel else None

        def submit(each: FinalFit) -> list[Future[FittedModel]]:
            if each.copies is None:
                return [
                    pool.submit(self._fit_fold, each.candidate, fold, threads)
                    for fold in self.folds
                ]
            return [
                pool.submit(self._fit_all_rows, each, self.seed + copy, threads)
                for copy in range(each.copies)
            ]

        models = []
        with ThreadPoolExecutor(available_cores() if parallel else 1) as pool:
            running = [submit(each) for each in final_fits]
            for number, futures in enumerate(running, 1):
                models.append([future.result() for future in futures])
                report(number)
        return models

    def _fit_fold(self, candidate: Candidate, fold: Fold, threads: int | None) -> FittedModel:
        return self._fit(candidate, fold, None, math.inf, None, threads=threads)[0]

    def _fit_all_rows(self, final_fit: FinalFit, seed: int, threads: int | None) -> FittedModel:
        return FAMILIES[final_fit.candidate.family].fit(
            FitRequest(
                self.X,
                self.y,
                self.task,
                final_fit.candidate.settings,
                seed=seed,
                threads=threads,
                rounds=final_fit.iterations,
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
        """The model of a fold, and its predictions for the fold's validation rows."""
        sign = 1.0 if self.metric.maximise else -1.0

        def score(prediction: Floats) -> float:
            return sign * self._score(prediction, fold)

        def report_signed(step: int, value: float) -> None:
            if report:
                report(step, sign * value)

        watch = WatchedRows(
            self.X[fold.score_rows], score, report_signed if report else None, self.patience
        )
        fitted = FAMILIES[candidate.family].fit(
            FitRequest(
                self.X[fold.fit_rows],
                self.y[fold.fit_rows],
                self.task,
                candidate.settings,
                seed=self.seed,
                threads=threads,
                watch=watch,
                rounds=rounds,
                seconds=None if math.isinf(seconds) else max(0.0, seconds),
                weight=None if self.weight is None else self.weight[fold.fit_rows],
            )
        )
        return fitted, watch.predictions[0] if watch.predictions else fitted.predict(watch.X)

    def _score(self, prediction: Floats, fold: Fold) -> float:
        weight = None if self.weight is None else self.weight[fold.score_rows]
        return float(self.metric(self.y[fold.score_rows], prediction, weight))

    def _result(self, prediction: Floats, fits: Sequence[FittedModel]) -> Result:
        rounds = [fitted.iterations for fitted in fits if fitted.iterations]
        iterations = round(sum(rounds) / len(rounds)) if rounds else None
        fold_models = tuple(fits) if len(self.folds) > 1 else ()
        return Result(
            self.scorer(prediction), iterations, prediction.astype(np.float32), fold_models
        )
