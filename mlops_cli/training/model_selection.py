"""Candidate models: their ranking, and the choice of the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.metrics.bootstrap import draw
from mlops_cli.models.families import FAMILIES
from mlops_cli.params.modelling import Ensemble
from mlops_cli.training.ensemble_selection import select

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.training.judge import CvScorer
    from mlops_cli.training.search.trials import Trial
    from mlops_cli.training.time_budget import SearchPlan

__all__ = [
    "CandidateModel",
    "is_bagged",
    "rank_candidates",
    "seed_copies",
    "select_ensemble",
    "standard_error",
]

LINEAR = "linear"
_RESAMPLES, _PAIRED_RESAMPLES = 100, 40


@dataclass(frozen=True)
class CandidateModel:
    """A trial that may become a member of the model.

    Parameters
    ----------
    trial
        The finished trial.
    prediction
        Predictions for the validation rows, (rows,) or (rows, classes).
    seconds
        Time of its fit.
    """

    trial: Trial
    prediction: npt.NDArray[np.float32]
    seconds: float

    @property
    def taken(self) -> tuple[str, float]:
        """Family and seconds, from which the budget estimates the time of the final fit."""
        return self.trial.family, self.seconds

    def entry(self) -> dict[str, Any]:
        """The candidate as plain values, for stage train."""
        score = self.trial.score
        return {
            "trial": self.trial.number,
            "family": self.trial.family,
            "settings": self.trial.settings,
            "iterations": self.trial.iterations,
            "score": None if score is None else round(score, 6),
        }


def seed_copies(family: str, plan: SearchPlan, bounds: Ensemble | bool) -> int | None:
    """Number of models on all rows that make up a member; None: the fold models make it up."""
    return FAMILIES[family].copies if plan.crossed and isinstance(bounds, Ensemble) else 1


def is_bagged(family: str, plan: SearchPlan, bounds: Ensemble | bool) -> bool:
    """Whether a member is made up of the fold models of the search."""
    return seed_copies(family, plan, bounds) is None


def select_ensemble(
    families: Sequence[str],
    predictions: Sequence[npt.NDArray[Any]],
    judge: CvScorer,
    plan: SearchPlan,
    bounds: Ensemble | bool,
    most: int | None = None,
    *,
    seed: int,
) -> dict[int, float]:
    """Choose the members of the model among the candidates.

    If the chosen members aren't better than the linear candidate by more than a standard error,
    the linear candidate is the model: it is the simplest, and the baseline in every evaluation.

    Parameters
    ----------
    families, predictions
        Family and validation predictions of each candidate, the preferred candidate first.
    judge, plan
        Scorer and folds of the candidates.
    bounds
        ``train.ensemble``.
    most
        Maximum number of members that there is time to fit; None: no limit.
    seed
        Seed of the resamples that compare two models.

    Returns
    -------
    dict of int to float
        Index of a candidate -> its weight.
    """
    chosen = _select_by_score(families, predictions, judge, plan, bounds, most)
    linear = next((i for i, family in enumerate(families) if family == LINEAR), None)
    if linear is None or {families[i] for i in chosen} == {LINEAR}:
        return chosen
    mean = sum(weight * predictions[i].astype(np.float64) for i, weight in chosen.items())
    same = not _clearly_better(judge, np.asarray(mean), predictions[linear], seed)
    return {linear: 1.0} if same else chosen


def _select_by_score(
    families: Sequence[str],
    predictions: Sequence[npt.NDArray[Any]],
    judge: CvScorer,
    plan: SearchPlan,
    bounds: Ensemble | bool,
    most: int | None,
) -> dict[int, float]:
    """Choose the members by their score alone."""
    if not isinstance(bounds, Ensemble):
        return {0: 1.0}
    costs = [
        FAMILIES[family].milliseconds * (seed_copies(family, plan, bounds) or plan.folds)
        for family in families
    ]
    members = min(bounds.members, most or bounds.members)
    return select(predictions, costs, judge, members=members, cost=bounds.milliseconds)


def _clearly_better(
    judge: CvScorer, prediction: npt.NDArray[Any], other: npt.NDArray[Any], seed: int
) -> bool:
    """Whether a prediction's gain is larger than the standard error from a paired bootstrap."""
    gain = judge.gain(prediction) - judge.gain(other)
    if not gain > 0:
        return False
    statistics = [judge.metric.prepare(judge.y, p.astype(np.float64)) for p in (prediction, other)]
    draws = draw(
        statistics, len(judge.y), resamples=_PAIRED_RESAMPLES, seed=seed, weights=judge.weight
    )
    differences = draws[:, 0] - draws[:, 1]
    finite = differences[np.isfinite(differences)]
    return not len(finite) or gain > float(finite.std())


def rank_candidates(
    contenders: Sequence[CandidateModel], judge: CvScorer, *, seed: int, simplest: bool
) -> list[CandidateModel]:
    """Rank candidates by score; with ``simplest`` the one-standard-error rule chooses the first.

    The rule picks the simplest candidate that scores at most one standard error worse than the
    best (L. Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3). The
    simplest is the one with the fewest tree nodes per row (``Family.steps``); ties go to the
    better score.

    Parameters
    ----------
    contenders
        Candidates with scores, at least one.
    judge
        The scorer of the candidates.
    seed
        Seed of the bootstrap that estimates the standard error.
    simplest
        Whether the one-standard-error rule applies.
    """
    sign = 1.0 if judge.metric.maximise else -1.0
    order = sorted(
        contenders,
        key=lambda c: (-sign * _score(c), c.trial.family != LINEAR, c.trial.number),
    )
    if not simplest:
        return order
    threshold = sign * _score(order[0]) - standard_error(judge, order[0].prediction, seed)
    as_good = [c for c in order if c is order[0] or sign * _score(c) >= threshold]
    first = min(as_good, key=_steps)
    return [first, *(c for c in order if c is not first)]


def standard_error(judge: CvScorer, prediction: npt.NDArray[Any], seed: int) -> float:
    """Bootstrap standard error of the metric; 0 if it isn't defined."""
    statistic = judge.metric.prepare(judge.y, prediction.astype(np.float64))
    draws = draw([statistic], len(judge.y), resamples=_RESAMPLES, seed=seed, weights=judge.weight)
    finite = draws[np.isfinite(draws)]
    return float(finite.std()) if len(finite) else 0.0


def _score(contender: CandidateModel) -> float:
    return contender.trial.score or 0.0


def _steps(contender: CandidateModel) -> float:
    trial, shape = contender.trial, contender.prediction.shape
    classes = shape[1] if len(shape) > 1 else 0
    return FAMILIES[trial.family].steps(trial.settings, trial.iterations, classes)
