"""Monitoring baseline of a model: its evaluation, and its reference profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_cli.metrics.bootstrap import Interval
from mlops_cli.metrics.catalog import lookup

if TYPE_CHECKING:
    import datetime as dt

    from mlops_cli.drift.reference import Reference
    from mlops_cli.metrics.catalog import Metric
    from mlops_cli.metrics.weighted import Floats
    from mlops_cli.models.labels import LabelCodec

__all__ = ["Baseline", "monitored_metrics"]


def monitored_metrics(
    evaluation: Mapping[str, Any], task: str, first: str | None = None, costs: Floats | None = None
) -> list[Metric]:
    """Metrics of the evaluation, after ``first``.

    Raises
    ------
    BadParams
        If ``first`` is unknown, or a metric of other tasks.
    """
    names = [*([first] if first else []), *evaluation["metrics"]]
    return [lookup(name, task, costs) for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class Baseline:
    """Metadata of a bundle that monitoring needs.

    Attributes
    ----------
    labels
        The task, and the classes of the columns of an output.
    kinds
        Feature -> number, boolean or category, in the model's order.
    metrics
        Metrics of the task, the one that decides first.
    figures
        ``metrics.json``: metrics of the model and of trivial baselines on the test split.
    evaluation
        ``evaluation.json``; its ``reliability`` recalibrates probabilities.
    reference
        Reference profiles; None: drift isn't evaluated.
    trained_until
        Time at which the model's data end.
    """

    labels: LabelCodec
    kinds: Mapping[str, str]
    metrics: Sequence[Metric]
    figures: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    reference: Reference | None = None
    threshold: float | None = None
    trained_until: dt.datetime | None = None

    @property
    def reliability_curves(self) -> Sequence[Mapping[str, Any]]:
        """Reliability curves of the evaluation; none in bundles that are older than the curves."""
        curves: Sequence[Mapping[str, Any]] = self.evaluation.get("reliability", ())
        return curves

    def figure(self, metric: Metric, predictor: str = "model") -> Interval | None:
        """Figure of a metric in the evaluation, of the model or of a trivial baseline."""
        entry = self.figures.get(predictor, {}).get(metric.name)
        return None if entry is None else Interval(entry["value"], entry["low"], entry["high"])

    def slice_figure(self, column: str, value: Any, metric: Metric) -> Interval | None:
        """Figure of a slice in the evaluation; None if the slice has none by this metric."""
        entries = self.evaluation.get("slices", {}).get(column, {}).get("judged", ())
        for entry in entries:
            interval = entry.get("interval")
            first = self.evaluation["metrics"][0]
            if entry["value"] == value and interval and metric.name == first:
                return Interval(interval["value"], interval["low"], interval["high"])
        return None
