"""Score of a model on a past period, and the monitoring findings at the period's end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_cli.backtest.case import LABEL_ARRIVAL, REQUEST_TIME
from mlops_cli.backtest.policies import PeriodScore
from mlops_cli.layout import TARGET
from mlops_cli.metrics.bootstrap import Bootstrap, compare
from mlops_cli.metrics.catalog import default_metrics, lookup
from mlops_cli.metrics.costs import cost_matrix
from mlops_cli.models import bundle as bundles
from mlops_cli.monitoring.evaluate_window import evaluate_window
from mlops_cli.monitoring.load_baseline import load_baseline
from mlops_cli.monitoring.window import Window

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    import polars as pl

    from mlops_cli.backtest.case import BacktestConfig
    from mlops_cli.metrics.catalog import Floats
    from mlops_cli.models.bundle import Bundle
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.monitoring.evaluate_window import WindowEvaluation
    from mlops_cli.params import Params

__all__ = ["metric_of", "score_period"]

_ALARMS = ("drift", "degraded")
_MAX_FINDINGS = 5


def score_period(
    config: BacktestConfig, model: Path, frame: pl.DataFrame, end: dt.datetime
) -> PeriodScore:
    """Score the requests of a period with a model.

    Parameters
    ----------
    model
        The bundle's folder.
    frame
        Requests as ``Requests.between`` gives them.
    end
        Time of the monitoring; labels that arrive later aren't used.
    """
    import polars as pl

    if not frame.height:
        return PeriodScore(0, 0, 0, {}, 0.0, {}, (), degraded=False)
    params = config.params
    bundle = bundles.load(model)
    output = bundle.predict(frame)
    # Rows of a class that the model doesn't know are errors; no metric can include them.
    known_classes = list(bundle.labels.classes) or frame[TARGET].implode()
    unseen_class = frame[TARGET].is_not_null() & ~frame[TARGET].is_in(known_classes)
    requests = frame.with_columns(pl.when(~unseen_class).then(pl.col(TARGET)).alias(TARGET))
    labels = requests[TARGET]
    arrived_labels = requests.select(
        pl.when(pl.col(LABEL_ARRIVAL) < end).then(pl.col(TARGET))
    ).to_series()
    baseline = load_baseline(model, params)
    features = frame.select(list(bundle.encoder.kinds))

    def monitor(used_baseline: Baseline, seen_labels: pl.Series) -> WindowEvaluation:
        times, slices = frame[REQUEST_TIME], params.monitor.slices
        window = Window.from_frames(
            used_baseline, times, features, output, labels=seen_labels, slices=slices
        )
        return evaluate_window(window, used_baseline, params.monitor, seed=params.project.seed)

    verdict = monitor(baseline, arrived_labels)
    hindsight = monitor(replace(baseline, reference=None), labels)
    sentences = [f.sentence for f in verdict.findings if f.severity in _ALARMS]
    is_labelled = labels.is_not_null().to_numpy()
    errors = unseen_class.cast(pl.Float64).to_numpy().copy()
    errors[is_labelled] = _row_errors(params, bundle, labels.drop_nulls(), output[is_labelled])
    day = pl.col(REQUEST_TIME).dt.date().cast(pl.String)
    row_errors = frame.select(day, pl.Series("error", errors))
    by_day = row_errors.group_by(REQUEST_TIME).sum().sort(REQUEST_TIME)
    return PeriodScore(
        rows=frame.height,
        labelled=int(is_labelled.sum()),
        arrived=len(arrived_labels) - arrived_labels.null_count(),
        metric=_metric_interval(params, bundle, labels.drop_nulls(), output[is_labelled]),
        error=round(float(errors.sum()), 6),
        by_day={day: round(value, 6) for day, value in by_day.iter_rows()},
        found=tuple(p for p in verdict.problems if p in _ALARMS),
        degraded="degraded" in hindsight.problems,
        findings=tuple(sentences[:_MAX_FINDINGS]),
    )


def metric_of(params: Params) -> str:
    """Name of the metric that is reported over time."""
    return (
        params.monitor.metric or (params.evaluate.metrics or default_metrics(params.task.type))[0]
    )


def _row_errors(params: Params, bundle: Bundle, labels: pl.Series, output: Floats) -> Floats:
    """Compute the cost of each row, (n,): by ``task.cost(s)``, or the absolute error."""
    import numpy as np

    y = bundle.labels.encode(labels, "the history")
    if output.ndim == 1:
        distance: Floats = np.abs(y - output)
        return distance
    matrix = cost_matrix(params.task, bundle.labels.classes)
    assert matrix is not None  # noqa: S101 - there are classes
    costs: Floats = matrix[y.astype(np.intp), bundle.decide(output)]
    return costs


def _metric_interval(
    params: Params, bundle: Bundle, labels: pl.Series, output: Floats
) -> dict[str, float]:
    """Compute the metric with its interval; empty if it isn't defined."""
    if not len(labels):
        return {}
    name = metric_of(params)
    comparison = compare(
        [lookup(name, params.task.type, cost_matrix(params.task, bundle.labels.classes))],
        bundle.labels.encode(labels, "the history"),
        {"model": output},
        Bootstrap(params.evaluate.resamples, params.evaluate.confidence, (params.project.seed, 13)),
    )
    figure = comparison.figures["model"].get(name)
    return {} if figure is None else figure.to_json()
