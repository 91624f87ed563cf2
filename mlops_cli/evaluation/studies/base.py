"""Shared parts of all studies: loading the rows, refitting the model, comparing predictions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import write_json
from mlops_cli.errors import DataRefused
from mlops_cli.layout import TARGET
from mlops_cli.models import bundle as bundles
from mlops_cli.reporting import figure_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from mlops_cli.layout import Layout
    from mlops_cli.metrics.bootstrap import Comparison, Interval
    from mlops_cli.metrics.catalog import Floats, Metric, Truth
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.params import Params
    from mlops_cli.reporting import Summary

__all__ = ["Options", "StudyContext", "StudyResult", "format_cell", "load_context", "write_report"]


@dataclass(frozen=True)
class Options:
    """Settings of a study that limit its work.

    Attributes
    ----------
    max_rows
        Maximum rows of a fit; more are sampled.
    by
        For the ablation: ``source`` or ``feature``.
    step
        For staleness: how much older each training set is, such as 1mo.
    steps
        For staleness and learning: the number of points besides the newest or largest set.
    """

    max_rows: int = 50_000
    by: str = "source"
    step: str = "1mo"
    steps: int = 3


@dataclass(frozen=True)
class StudyResult:
    """The report that is written, and the summary, which may also contain measured times."""

    report: dict[str, Any]
    summary: Summary


@dataclass(frozen=True)
class StudyContext:
    """The model of the last run, with its training rows and the test rows.

    Attributes
    ----------
    training_rows
        Train and validation rows, on which the model was fitted.
    test
        Test rows, with their labels ``y`` (n,).
    """

    params: Params
    layout: Layout
    options: Options
    bundle: Bundle
    training_rows: pl.DataFrame
    test: pl.DataFrame
    y: Truth
    metric: Metric

    def seed(self, stream: int) -> list[int]:
        """Seed of a random stream of the studies."""
        return [self.params.project.seed, 100 + stream]

    def sample_rows(self, frame: pl.DataFrame, rows: int, stream: int = 0) -> pl.DataFrame:
        """Sample at most ``rows`` rows, in their original order."""
        import numpy as np

        if rows >= len(frame):
            return frame
        sample = np.random.default_rng(self.seed(stream)).choice(len(frame), rows, replace=False)
        return frame[np.sort(sample)]

    def refit(self, frame: pl.DataFrame, features: list[str]) -> Bundle:
        """Refit the model with the same settings and rounds on other rows or features."""
        from mlops_cli.models.encoder import Encoder
        from mlops_cli.models.families import FAMILIES, FitRequest
        from mlops_cli.models.objectives import fit_weights, task_info

        kinds = {name: self.bundle.encoder.kinds[name] for name in features}
        encoder = Encoder.fit(frame, kinds)
        X = encoder.transform(frame)
        y = self.bundle.labels.encode(frame[TARGET], "the training rows")
        classes = len(self.bundle.labels.classes)
        train = self.params.train
        monotone = {name: sign for name, sign in train.monotone.items() if name in kinds}
        train_settings = train.model_copy(update={"monotone": monotone})
        task = task_info(self.bundle.task, classes, train_settings, encoder)
        members = tuple(
            replace(
                member,
                fitted=FAMILIES[member.family].fit(
                    FitRequest(
                        X,
                        y,
                        task,
                        member.settings,
                        seed=self.params.project.seed,
                        rounds=member.iterations,
                        weight=fit_weights(frame, train.weight),
                    )
                ),
            )
            for member in self.bundle.members
        )
        return replace(self.bundle, members=members, encoder=encoder)

    def compare(self, predictions: Mapping[str, Floats]) -> Comparison:
        """Compare predictions of the test rows on the same bootstrap resamples."""
        from mlops_cli.metrics.bootstrap import Bootstrap, compare
        from mlops_cli.metrics.weighted import row_weights

        rules = self.params.evaluate
        weight = rules.weight
        return compare(
            [self.metric],
            self.y,
            predictions,
            Bootstrap(rules.resamples, rules.confidence, self.seed(1)),
            weights=None if weight is None else row_weights(self.test[weight], weight),
        )

    def has_all_classes(self, frame: pl.DataFrame) -> bool:
        """Whether rows contain every class; for regression, more than one value."""
        return frame[TARGET].n_unique() >= max(2, len(self.bundle.labels.classes))


def load_context(params: Params, layout: Layout, options: Options) -> StudyContext:
    """Load the model and the rows of the last run.

    Raises
    ------
    NotFound, DataRefused
        If there is no model, or its files have changed, or there are no test rows.
    """
    import polars as pl

    from mlops_cli.metrics.catalog import default_metrics, lookup
    from mlops_cli.metrics.costs import cost_matrix

    bundle = bundles.load(layout.fitted)
    kind = params.task.type
    name = (params.evaluate.metrics or default_metrics(kind))[0]
    training_rows, test = (
        pl.concat([parquet.scan(layout.split(split)).collect() for split in splits])
        for splits in (("train", "validation"), ("test",))
    )
    if not len(test):
        raise DataRefused(
            "the test split has no rows, so nothing can be evaluated",
            "Give the test split a share or a time range that holds rows, under `split`.",
        )
    y = bundle.labels.encode(test[TARGET], "the test split")
    metric = lookup(name, kind, cost_matrix(params.task, bundle.labels.classes))
    return StudyContext(params, layout, options, bundle, training_rows, test, y, metric)


def write_report(layout: Layout, name: str, report: dict[str, Any]) -> None:
    """Write the report of a study; the same inputs give the same bytes."""
    write_json(layout.study(name), report)


def format_cell(interval: Interval | None) -> str:
    """Format a figure with its interval for a table."""
    return figure_text(None if interval is None else vars(interval))
