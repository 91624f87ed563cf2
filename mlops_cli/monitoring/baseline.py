"""What a model is compared with: its evaluation, and the profile of the rows that it knows."""

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
    """The metrics of the evaluation; ``first`` goes before them.

    Raises
    ------
    BadParams
        If ``first`` is unknown, or for other tasks.
    """
    names = [*([first] if first else []), *evaluation["metrics"]]
    return [lookup(name, task, costs) for name in dict.fromkeys(names)]


@dataclass(frozen=True)
class Baseline:
    """A bundle's papers, as far as monitoring asks for them.

    Attributes
    ----------
    labels
        The task, and what the columns of an output are.
    kinds
        Feature -> number, boolean or category, in the model's order.
    metrics
        Of the task, the one that decides first.
    figures
        ``metrics.json``: model and baselines on the test split.
    evaluation
        ``evaluation.json``; its ``reliability`` corrects probabilities.
    reference
        Profiles of what the model was fitted on; None: drift isn't judged.
    trained
        Up to when its data go.
    """

    labels: LabelCodec
    kinds: Mapping[str, str]
    metrics: Sequence[Metric]
    figures: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    reference: Reference | None = None
    threshold: float | None = None
    trained: dt.datetime | None = None

    @property
    def curves(self) -> Sequence[Mapping[str, Any]]:
        """What came true in the evaluation; none in bundles that were made before it was kept."""
        found: Sequence[Mapping[str, Any]] = self.evaluation.get("reliability", ())
        return found

    def figure(self, metric: Metric, of: str = "model") -> Interval | None:
        """What the evaluation gave."""
        found = self.figures.get(of, {}).get(metric.name)
        return None if found is None else Interval(found["value"], found["low"], found["high"])

    def slice_figure(self, column: str, value: Any, metric: Metric) -> Interval | None:
        """What the evaluation gave for a slice, where it was judged by this metric."""
        parts = self.evaluation.get("slices", {}).get(column, {}).get("judged", ())
        for part in parts:
            interval = part.get("interval")
            first = self.evaluation["metrics"][0]
            if part["value"] == value and interval and metric.name == first:
                return Interval(interval["value"], interval["low"], interval["high"])
        return None
