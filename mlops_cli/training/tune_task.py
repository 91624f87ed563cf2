"""The task of stage tune: settings, data, objective and time budget of one search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.training.model_selection import CandidateModel, rank_candidates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.models.families import Family
    from mlops_cli.models.labels import LabelCodec
    from mlops_cli.params.train import Ensemble
    from mlops_cli.params.tune import Tune
    from mlops_cli.reporting import Progress
    from mlops_cli.training.dataset import TrainingData
    from mlops_cli.training.objective import CvObjective
    from mlops_cli.training.time_budget import Budget, SearchPlan

__all__ = ["TuneTask"]


@dataclass(frozen=True)
class TuneTask:
    """Settings, data, objective and time budget of one search."""

    tune: Tune
    ensemble: Ensemble | bool
    seed: int
    metric: Metric
    data: TrainingData
    labels: LabelCodec
    plan: SearchPlan
    budget: Budget
    objective: CvObjective
    families: Mapping[str, Family]
    notes: Sequence[str]
    progress: Progress

    @property
    def direction(self) -> str:
        """Optuna's name of the direction of the search."""
        return "maximize" if self.metric.maximise else "minimize"

    def rank(self, candidates: Sequence[CandidateModel]) -> list[CandidateModel]:
        """Rank candidates by score, or by ``tune.choose`` with the simplest first."""
        return rank_candidates(
            candidates,
            self.objective.scorer,
            seed=self.seed,
            prefer_simplest=self.tune.choose == "simplest",
        )
