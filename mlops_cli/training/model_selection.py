"""Candidate models: their ranking, and the choice of the ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.metrics.bootstrap import draw
from mlops_cli.models.families import FAMILIES
from mlops_cli.params.train import Ensemble
from mlops_cli.training.ensemble_selection import select

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.training.cv_scorer import CvScorer
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
    def family_seconds(self) -> tuple[str, float]:
        """Family and seconds, from which the budget estimates the time of the final fit."""
        return self.trial.family, self.seconds

    def to_json(self) -> dict[str, Any]:
        """The candidate as plain values, for stage train."""
        score = self.trial.score
        return {
            "trial": self.trial.number,
            "family": self.trial.family,
            "settings": self.trial.settings,
            "iterations": self.trial.iterations,
            "score": None if score is None else round(score, 6),
        }


def seed_copies(family: str, plan: SearchPlan, ensemble: Ensemble | bool) -> int | None:
    """Number of models on all rows that make up a member; None: the fold models make it up."""
    return FAMILIES[family].copies if plan.cross_validated and isinstance(ensemble, Ensemble) else 1


def is_bagged(family: str, plan: SearchPlan, ensemble: Ensemble | bool) -> bool:
    """Whether a member is made up of the fold models of the search."""
    return seed_copies(family, plan, ensemble) is None


def select_ensemble(
    families: Sequence[str],
    predictions: Sequence[npt.NDArray[Any]],
    scorer: CvScorer,
    plan: SearchPlan,
    ensemble: Ensemble | bool,
    max_members: int | None = None,
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
    scorer, plan
        Scorer and folds of the candidates.
    ensemble
        ``train.ensemble``.
    max_members
        Maximum number of members that there is time to fit; None: no limit.
    seed
        Seed of the resamples that compare two models.

    Returns
    -------
    dict of int to float
        Index of a candidate -> its weight.
    """
    chosen = _select_by_score(families, predictions, scorer, plan, ensemble, max_members)
    linear = next((i for i, family in enumerate(families) if family == LINEAR), None)
    if linear is None or {families[i] for i in chosen} == {LINEAR}:
        return chosen
    mean = sum(weight * predictions[i].astype(np.float64) for i, weight in chosen.items())
    same = not _clearly_better(scorer, np.asarray(mean), predictions[linear], seed)
    return {linear: 1.0} if same else chosen


def _select_by_score(
    families: Sequence[str],
    predictions: Sequence[npt.NDArray[Any]],
    scorer: CvScorer,
    plan: SearchPlan,
    ensemble: Ensemble | bool,
    max_members: int | None,
) -> dict[int, float]:
    """Choose the members by their score alone."""
    if not isinstance(ensemble, Ensemble):
        return {0: 1.0}
    costs = [
        FAMILIES[family].milliseconds * (seed_copies(family, plan, ensemble) or plan.folds)
        for family in families
    ]
    members = min(ensemble.members, max_members or ensemble.members)
    return select(predictions, costs, scorer, max_members=members, max_cost=ensemble.milliseconds)


def _clearly_better(
    scorer: CvScorer, prediction: npt.NDArray[Any], other: npt.NDArray[Any], seed: int
) -> bool:
    """Whether a prediction's gain is larger than the standard error from a paired bootstrap."""
    gain = scorer.gain(prediction) - scorer.gain(other)
    if not gain > 0:
        return False
    statistics = [
        scorer.metric.prepare(scorer.y, p.astype(np.float64)) for p in (prediction, other)
    ]
    draws = draw(
        statistics, len(scorer.y), resamples=_PAIRED_RESAMPLES, seed=seed, weights=scorer.weight
    )
    differences = draws[:, 0] - draws[:, 1]
    finite = differences[np.isfinite(differences)]
    return not len(finite) or gain > float(finite.std())


def rank_candidates(
    candidates: Sequence[CandidateModel], scorer: CvScorer, *, seed: int, prefer_simplest: bool
) -> list[CandidateModel]:
    """Rank candidates by score; the one-standard-error rule may choose the first one instead.

    The rule picks the simplest candidate that scores at most one standard error worse than the
    best (L. Breiman et al., "Classification and Regression Trees", 1984, section 3.4.3). The
    simplest is the one with the fewest tree nodes per row (``Family.steps``); ties go to the
    better score.

    Parameters
    ----------
    candidates
        Candidates with scores, at least one.
    scorer
        The scorer of the candidates.
    seed
        Seed of the bootstrap that estimates the standard error.
    prefer_simplest
        Whether the one-standard-error rule applies.
    """
    sign = 1.0 if scorer.metric.maximise else -1.0
    order = sorted(
        candidates,
        key=lambda c: (-sign * _score(c), c.trial.family != LINEAR, c.trial.number),
    )
    if not prefer_simplest:
        return order
    threshold = sign * _score(order[0]) - standard_error(scorer, order[0].prediction, seed)
    as_good = [c for c in order if c is order[0] or sign * _score(c) >= threshold]
    first = min(as_good, key=_steps)
    return [first, *(c for c in order if c is not first)]


def standard_error(scorer: CvScorer, prediction: npt.NDArray[Any], seed: int) -> float:
    """Bootstrap standard error of the metric; 0 if it isn't defined."""
    statistic = scorer.metric.prepare(scorer.y, prediction.astype(np.float64))
    draws = draw([statistic], len(scorer.y), resamples=_RESAMPLES, seed=seed, weights=scorer.weight)
    finite = draws[np.isfinite(draws)]
    return float(finite.std()) if len(finite) else 0.0


def _score(candidate: CandidateModel) -> float:
    return candidate.trial.score or 0.0


def _steps(candidate: CandidateModel) -> float:
    trial, shape = candidate.trial, candidate.prediction.shape
    classes = shape[1] if len(shape) > 1 else 0
    return FAMILIES[trial.family].steps(trial.settings, trial.iterations, classes)
