"""The trials that may become the model, in the order in which they are preferred."""

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
_RESAMPLES, _PAIRED = 100, 40


@dataclass(frozen=True)
class CandidateModel:
    """A trial that may become a member of the model.

    Parameters
    ----------
    trial
        What was tried.
    prediction
        Of the rows that decide, (rows,) or (rows, classes).
    seconds
        Its fit took.
    """

    trial: Trial
    prediction: npt.NDArray[np.float32]
    seconds: float

    @property
    def taken(self) -> tuple[str, float]:
        """Family and seconds, by which a budget knows what its last fit takes."""
        return self.trial.family, self.seconds

    def entry(self) -> dict[str, Any]:
        """What train needs to know of it."""
        score = self.trial.score
        return {
            "trial": self.trial.number,
            "family": self.trial.family,
            "settings": self.trial.settings,
            "iterations": self.trial.iterations,
            "score": None if score is None else round(score, 6),
        }


def seed_copies(family: str, plan: SearchPlan, bounds: Ensemble | bool) -> int | None:
    """How many models of all rows a member is; None: it is the models of the folds."""
    return FAMILIES[family].copies if plan.crossed and isinstance(bounds, Ensemble) else 1


def is_bagged(family: str, plan: SearchPlan, bounds: Ensemble | bool) -> bool:
    """Whether a member is the models of the folds, as the search has made them."""
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
    """Choose members among contenders, the preferred one first; number -> weight.

    A linear contender is the model where the members that would be chosen can't be told from it:
    it is the simplest, and what every model is compared with in the end.

    Parameters
    ----------
    families, predictions
        Of each contender.
    judge, plan
        How they were judged.
    bounds
        ``train.ensemble``.
    most
        So many members there is time to fit.
    seed
        Of the resamples that tell two models apart.
    """
    chosen = _members(families, predictions, judge, plan, bounds, most)
    linear = next((i for i, family in enumerate(families) if family == LINEAR), None)
    if linear is None or {families[i] for i in chosen} == {LINEAR}:
        return chosen
    mean = sum(weight * predictions[i].astype(np.float64) for i, weight in chosen.items())
    same = not _clearly_better(judge, np.asarray(mean), predictions[linear], seed)
    return {linear: 1.0} if same else chosen


def _members(
    families: Sequence[str],
    predictions: Sequence[npt.NDArray[Any]],
    judge: CvScorer,
    plan: SearchPlan,
    bounds: Ensemble | bool,
    most: int | None,
) -> dict[int, float]:
    """The members by score alone."""
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
    """Whether a prediction gains more than the standard error of the gain, row against row."""
    gain = judge.gain(prediction) - judge.gain(other)
    if not gain > 0:
        return False
    both = [judge.metric.prepare(judge.y, p.astype(np.float64)) for p in (prediction, other)]
    drawn = draw(both, len(judge.y), resamples=_PAIRED, seed=seed, weights=judge.weight)
    differences = drawn[:, 0] - drawn[:, 1]
    there = differences[np.isfinite(differences)]
    return not len(there) or gain > float(there.std())


def rank_candidates(
    contenders: Sequence[CandidateModel], judge: CvScorer, *, seed: int, simplest: bool
) -> list[CandidateModel]:
    """Order contenders by score; or with the simplest first of those that are as good as the best.

    As good is who scores at most one standard error worse (L. Breiman et al., "Classification and
    Regression Trees", 1984, section 3.4.3), and simple is a model whose trees have few nodes on a
    row's way (``Family.steps``); the better one of equals.

    Parameters
    ----------
    contenders
        At least one, each with a score.
    judge
        By which they were scored.
    seed
        Of the resamples that give the standard error.
    simplest
        Whether the simplest leads.
    """
    sign = 1.0 if judge.metric.maximise else -1.0
    order = sorted(
        contenders,
        key=lambda c: (-sign * _score(c), c.trial.family != LINEAR, c.trial.number),
    )
    if not simplest:
        return order
    worst = sign * _score(order[0]) - standard_error(judge, order[0].prediction, seed)
    near = [c for c in order if c is order[0] or sign * _score(c) >= worst]
    first = min(near, key=_steps)
    return [first, *(c for c in order if c is not first)]


def standard_error(judge: CvScorer, prediction: npt.NDArray[Any], seed: int) -> float:
    """The standard error of a metric by the bootstrap; 0 where it isn't defined."""
    statistic = judge.metric.prepare(judge.y, prediction.astype(np.float64))
    drawn = draw([statistic], len(judge.y), resamples=_RESAMPLES, seed=seed, weights=judge.weight)
    there = drawn[np.isfinite(drawn)]
    return float(there.std()) if len(there) else 0.0


def _score(contender: CandidateModel) -> float:
    return contender.trial.score or 0.0


def _steps(contender: CandidateModel) -> float:
    trial, shape = contender.trial, contender.prediction.shape
    classes = shape[1] if len(shape) > 1 else 0
    return FAMILIES[trial.family].steps(trial.settings, trial.iterations, classes)
