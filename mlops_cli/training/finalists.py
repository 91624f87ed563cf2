"""Finalists of the search: its best trials, and the members of the ensemble among them."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_cli.models.families import FAMILIES
from mlops_cli.training.ensemble_selection import select
from mlops_cli.training.model_selection import CandidateModel, select_ensemble
from mlops_cli.training.search.search_space import Candidate
from mlops_cli.training.search.trials import Result, Trial, rank_trials

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_cli.training.objective import CvObjective
    from mlops_cli.training.search.trial_artifacts import TrialArtifacts
    from mlops_cli.training.tune_task import TuneTask

__all__ = ["choose_members", "load_candidates"]

_MAX_CANDIDATES = 24
_MAX_PREDICTION_BYTES = 64_000_000
"""Maximum number of best trials that become candidates, and size of their predictions."""
_ROUNDS_FACTOR = 2.5
"""With all rows, a model may have this many times the search's maximum number of rounds."""


def load_candidates(
    task: TuneTask, trials: Sequence[Trial], artifacts: TrialArtifacts
) -> list[CandidateModel]:
    """The best trials with predictions, fitted again if the search used only a part of train."""
    complete = rank_trials(trials, maximise=task.metric.maximise)
    size = 4 * len(task.objective.scorer.y) * max(1, task.objective.task.classes)
    candidates = []
    for trial in complete[: max(1, min(_MAX_CANDIDATES, _MAX_PREDICTION_BYTES // size))]:
        prediction = artifacts.read_prediction(trial.number)
        if prediction is None or len(prediction) != len(task.objective.scorer.y):
            # The trial ran on another machine, or a kill came before its prediction was stored.
            prediction = _reevaluate(task.objective, trial, math.inf).prediction
        assert prediction is not None  # noqa: S101 - evaluated
        candidates.append(CandidateModel(trial, prediction, trial.seconds))
    candidates = task.rank(candidates)
    return _fit_finalists(task, candidates) if task.budget.refits_finalists else candidates


def choose_members(
    task: TuneTask, candidates: Sequence[CandidateModel]
) -> tuple[int | None, list[int]]:
    """The maximum number of members that there is time to fit, and the members for train.

    Returns
    -------
    tuple of int or None, and list of int
        The maximum (None: no limit), and the indices of the members among the candidates.
    """
    families = [c.trial.family for c in candidates]
    predictions = [c.prediction for c in candidates]
    scorer, budget = task.objective.scorer, task.budget
    max_members = None
    while True:
        weights = select_ensemble(
            families, predictions, scorer, task.plan, task.ensemble, max_members, seed=task.seed
        )
        if math.isinf(budget.seconds):
            return None, list(weights)
        affordable = budget.affordable_fits([candidates[i].family_seconds for i in weights])
        if affordable >= len(weights):
            return max_members, list(weights)
        max_members = affordable


def _fit_finalists(task: TuneTask, candidates: list[CandidateModel]) -> list[CandidateModel]:
    """The candidates of the best ensemble, each fitted on all rows of train if time allows."""
    budget = task.budget
    weights = select(
        [c.prediction for c in candidates],
        [0.0] * len(candidates),
        task.objective.scorer,
        max_members=task.tune.finalists,
        max_cost=0.0,
    )
    chosen = [candidates[i] for i in weights]
    objective: CvObjective | None = None
    finalists: list[CandidateModel] = []
    for number, candidate in enumerate(chosen):
        time_limit = budget.finalist_time_limit(
            candidate.seconds, budget.final_fit_seconds([c.family_seconds for c in finalists])
        )
        if time_limit is None:
            continue
        if objective is None:
            task.progress.update("reading all rows of train")
            objective = task.data.full_train_objective(task.objective, task.plan, task.labels)
        task.progress.update(
            f"fitting {candidate.trial.family} on {task.data.row_counts['train']:,} rows",
            number,
            len(chosen),
        )
        started = time.monotonic()
        rounds = FAMILIES[candidate.trial.family].rounds
        max_rounds = int(rounds * _ROUNDS_FACTOR) if rounds else None
        result = _reevaluate(objective, candidate.trial, time_limit, max_rounds)
        seconds = (time.monotonic() - started) / budget.finalist_factor
        trial = replace(candidate.trial, score=result.score, iterations=result.iterations)
        assert result.prediction is not None  # noqa: S101 - evaluated
        finalists.append(CandidateModel(trial, result.prediction, seconds))
    return task.rank(finalists) if finalists else chosen[:1]


def _reevaluate(
    objective: CvObjective, trial: Trial, seconds: float, rounds: int | None = None
) -> Result:
    """Evaluate a trial's settings again, outside the search and without pruning."""
    return objective.evaluate(Candidate(trial.family, trial.settings), None, seconds, rounds)
