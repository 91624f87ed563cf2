"""The test split with the model's predictions for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.metrics.bootstrap import Bootstrap

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.metrics.catalog import Floats, Metric, Truth
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params.evaluate import Evaluate
    from mlops_cli.params.task import Task

__all__ = ["ScoredSplit"]


@dataclass(frozen=True)
class ScoredSplit:
    """The test split: rows, labels (n,), predictions, and the metrics to evaluate."""

    task: Task
    settings: Evaluate
    project_seed: int
    bundle: Bundle
    frame: pl.DataFrame
    y: Truth
    prediction: Floats
    metrics: tuple[Metric, ...]
    weights: Floats | None = None

    @property
    def names(self) -> list[str]:
        """Names of the classes, as text."""
        return [str(label) for label in self.bundle.labels.classes]

    @property
    def threshold(self) -> float:
        """Lowest probability at which a binary decision is yes."""
        return 0.5 if self.bundle.threshold is None else self.bundle.threshold

    @property
    def decisions(self) -> Truth:
        """Decisions as class codes (n,); in a binary task by the threshold."""
        return self.bundle.decide(self.prediction)

    def seed(self, stream: int) -> list[int]:
        """Seed of one of the random streams."""
        return [self.project_seed, stream]

    def bootstrap(self, stream: int) -> Bootstrap:
        """Bootstrap settings with one of the random streams."""
        settings = self.settings
        return Bootstrap(settings.resamples, settings.confidence, self.seed(stream))
