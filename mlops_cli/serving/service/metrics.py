"""Prometheus metrics of the service, counted as plain numbers."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlops_cli.serving.service.drift_gauges import DriftGauges

if TYPE_CHECKING:
    import numpy.typing as npt
    from prometheus_client.core import Metric

__all__ = ["Histogram", "Metrics"]

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ROW_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)
PROBABILITY_BUCKETS = tuple(i / 10 for i in range(1, 11))


class Histogram:
    """Histogram: counts of values up to each bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value, ``times`` times."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def add_all(self, values: npt.NDArray[np.float64]) -> None:
        """Count values (n,)."""
        indices = np.searchsorted(self.bounds, values)
        for index, count in enumerate(np.bincount(indices, minlength=len(self.counts)).tolist()):
            self.counts[index] += count
        self.total += float(values.sum())

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bounds and cumulative counts, in Prometheus' format."""
        running, cumulative = 0, []
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            running += count
            cumulative.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(running)))
        return cumulative


class Metrics:
    """Counters since the start; only the event loop's thread updates them."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int, str], int] = defaultdict(int)
        self.latency: dict[str, Histogram] = defaultdict(lambda: Histogram(LATENCY_BUCKETS))
        self.rows: dict[tuple[str, str], int] = defaultdict(int)
        self.batches = Histogram(ROW_BUCKETS)
        self.misses: dict[str, int] = defaultdict(int)
        self.scores: dict[tuple[str, str], Histogram] = defaultdict(
            lambda: Histogram(PROBABILITY_BUCKETS)
        )
        self.warnings: dict[tuple[str, str, str], int] = defaultdict(int)
        self.labels: dict[str, int] = defaultdict(int)
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.drift_gauges = DriftGauges()

    def count_response(self, path: str, code: int, version: str, seconds: float) -> None:
        """Count a response."""
        self.requests[path, code, version] += 1
        self.latency[path].add(seconds)

    def exposition(self) -> bytes:
        """The text of /metrics."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterable[Metric]:
        """Metric families, by prometheus_client's protocol for collectors."""
        from prometheus_client import core

        kinds: dict[str, Any] = {
            "counter": core.CounterMetricFamily,
            "gauge": core.GaugeMetricFamily,
            "histogram": core.HistogramMetricFamily,
        }
        for family in _FAMILIES:
            metric = kinds[family.kind](family.name, family.text, labels=family.labels)
            for key, value in family.series(self).items():
                labels = [str(part) for part in (key if isinstance(key, tuple) else (key,))]
                if isinstance(value, Histogram):
                    metric.add_metric(labels, value.buckets(), value.total)
                else:
                    metric.add_metric(labels, value)
            yield metric
        for name, (text, read) in self.gauges.items():
            yield core.GaugeMetricFamily(name, text, value=read())


@dataclass(frozen=True)
class _Family:
    """A metric family: name, help text, labels, and its series by label values."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    text: str
    labels: tuple[str, ...]
    series: Callable[[Metrics], Mapping[Any, float | Histogram]]


# fmt: off
_FAMILIES = (
    _Family("counter", "mlops_requests", "Requests by path, status code and version.",
            ("path", "code", "version"), attrgetter("requests")),
    _Family("histogram", "mlops_request_seconds",
            "From the request's head to the last byte of the answer.",
            ("path",), attrgetter("latency")),
    _Family("counter", "mlops_rows", "Rows scored, by version and role.",
            ("version", "role"), attrgetter("rows")),
    _Family("histogram", "mlops_batch_rows", "Rows that were scored together.",
            (), lambda metrics: {(): metrics.batches}),
    _Family("counter", "mlops_lookup_misses",
            "Rows for whose key the online store knew nothing.",
            ("table",), attrgetter("misses")),
    _Family("counter", "mlops_warnings",
            "Values that were flagged or taken as missing, by column.",
            ("column", "kind", "policy"), attrgetter("warnings")),
    _Family("histogram", "mlops_predicted_probability",
            "Of the positive class, or of the predicted one.",
            ("version", "class"), attrgetter("scores")),
    _Family("counter", "mlops_labels", "Labels received, by what became of them.",
            ("result",), attrgetter("labels")),
    _Family("gauge", "mlops_drift_psi",
            "Population stability index of recent rows against the version's reference profile.",
            ("version", "part", "column"), attrgetter("drift_gauges.indices")),
    _Family("gauge", "mlops_drift_rows", "Recent rows that mlops_drift_psi is of.",
            ("version",), attrgetter("drift_gauges.rows")),
)
# fmt: on
