"""Comparison of the model with two baselines: a constant, and a linear model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.layout import TARGET
from mlops_cli.metrics.bootstrap import Comparison, compare
from mlops_cli.metrics.catalog import BEST_BY_MEDIAN
from mlops_cli.models import baselines

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.evaluation.scored_split import ScoredSplit
    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.reporting import Progress

__all__ = ["compare_with_baselines"]


def compare_with_baselines(
    case: ScoredSplit, training_rows: pl.DataFrame, stream: int, progress: Progress
) -> Comparison:
    """Compare the model with a constant and a linear baseline on the same resamples.

    Parameters
    ----------
    training_rows
        Features and target of the rows on which the baselines are fitted.
    stream
        The random stream of the resamples.
    """
    from mlops_cli.models.families import TaskInfo

    encoder, labels = case.bundle.encoder, case.bundle.labels
    y = labels.encode(training_rows[TARGET], "the train and validation splits")
    classes = len(labels.classes)
    task = TaskInfo(case.task.type, classes, encoder.categorical)
    linear = baselines.linear(encoder.transform(training_rows), y, task, case.project_seed)
    linear_prediction = linear.predict(encoder.transform(case.frame))

    figures: dict[str, dict[str, Any]] = {"model": {}, "constant": {}, "linear": {}}
    gains: dict[str, dict[str, Any]] = {"constant": {}, "linear": {}}
    resamples = case.settings.resamples
    # Regression has two constants (mean and median), each the best one for its metrics. The seed
    # is the same, so the resamples are, too.
    for metrics in _by_constant(case.metrics):
        constant = baselines.constant(y, classes, metrics[0].name, len(case.y))
        comparison = compare(
            metrics,
            case.y,
            {"model": case.prediction, "constant": constant, "linear": linear_prediction},
            case.bootstrap(stream),
            weights=case.weights,
            report=lambda done: progress.update("bootstrap", done, resamples),
        )
        for name, intervals in comparison.figures.items():
            figures[name] |= intervals
        for name, intervals in comparison.gains.items():
            gains[name] |= intervals
    return Comparison(figures, gains)


def _by_constant(metrics: tuple[Metric, ...]) -> list[list[Metric]]:
    medians = [m for m in metrics if m.name in BEST_BY_MEDIAN]
    means = [m for m in metrics if m.name not in BEST_BY_MEDIAN]
    return [group for group in (means, medians) if group]
