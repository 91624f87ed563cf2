"""How a model did in a period of history, and what monitoring would have said at its end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlops_cli.backtest.case import ARRIVES, ASKED
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
    from mlops_cli.params import Params

__all__ = ["metric_of", "score_period"]

_ALARMS = ("drift", "degraded")
_SHOWN = 5


def score_period(
    case: BacktestConfig, model: Path, frame: pl.DataFrame, end: dt.datetime
) -> PeriodScore:
    """Score the requests of a period.

    Parameters
    ----------
    model
        The bundle's folder.
    frame
        Requests as ``Requests.between`` gives them.
    end
        When monitoring looks: labels that arrive later aren't seen.
    """
    import polars as pl

    if not frame.height:
        return PeriodScore(0, 0, 0, {}, 0.0, {}, (), degraded=False)
    params = case.params
    bundle = bundles.load(model)
    output = bundle.predict(frame)
    classes = list(bundle.labels.classes)
    # A class that the model has never seen: it errs there, and no metric takes it.
    strange = frame[TARGET].is_not_null() & ~frame[TARGET].is_in(classes or frame[TARGET].implode())
    told = frame.with_columns(pl.when(~strange).then(pl.col(TARGET)).alias(TARGET))
    truth = told[TARGET]
    arrived = told.select(pl.when(pl.col(ARRIVES) < end).then(pl.col(TARGET))).to_series()
    basis = load_baseline(model, params)
    features = frame.select(list(bundle.encoder.kinds))

    def judged(labels: pl.Series, *, drift: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
        seen = basis if drift else replace(basis, reference=None)
        slices = params.monitor.slices
        window = Window.of(seen, frame[ASKED], features, output, labels=labels, slices=slices)
        found = evaluate_window(window, seen, params.monitor, seed=params.project.seed, former=None)
        said = [f.sentence for f in found.findings if f.means in _ALARMS]
        return tuple(f for f in found.found if f in _ALARMS), tuple(said[:_SHOWN])

    found, findings = judged(arrived, drift=True)
    hindsight, _ = judged(truth, drift=False)
    known = truth.is_not_null().to_numpy()
    errors = strange.cast(pl.Float64).to_numpy().copy()
    errors[known] = _errors(params, bundle, truth.drop_nulls(), output[known])
    days = frame.select(pl.col(ASKED).dt.date().cast(pl.String), pl.Series("error", errors))
    by_day = days.group_by(ASKED).sum().sort(ASKED)
    return PeriodScore(
        rows=frame.height,
        labelled=int(known.sum()),
        arrived=len(arrived) - arrived.null_count(),
        metric=_figure(params, bundle, truth.drop_nulls(), output[known]),
        error=round(float(errors.sum()), 6),
        by_day={day: round(value, 6) for day, value in by_day.iter_rows()},
        found=found,
        degraded="degraded" in hindsight,
        findings=findings,
    )


def metric_of(params: Params) -> str:
    """The metric that is followed over time."""
    return (
        params.monitor.metric or (params.evaluate.metrics or default_metrics(params.task.type))[0]
    )


def _errors(params: Params, bundle: Bundle, truth: pl.Series, output: Floats) -> Floats:
    """What each row costs, (n,): by ``task.cost`` or ``task.costs``; of a value its distance."""
    import numpy as np

    y = bundle.labels.encode(truth, "the history")
    if output.ndim == 1:
        distance: Floats = np.abs(y - output)
        return distance
    matrix = cost_matrix(params.task, bundle.labels.classes)
    assert matrix is not None  # noqa: S101 - there are classes
    found: Floats = matrix[y.astype(np.intp), bundle.decide(output)]
    return found


def _figure(params: Params, bundle: Bundle, truth: pl.Series, output: Floats) -> dict[str, float]:
    """The metric with its interval; empty where it isn't defined."""
    if not len(truth):
        return {}
    name = metric_of(params)
    found = compare(
        [lookup(name, params.task.type, cost_matrix(params.task, bundle.labels.classes))],
        bundle.labels.encode(truth, "the history"),
        {"model": output},
        Bootstrap(params.evaluate.resamples, params.evaluate.confidence, (params.project.seed, 13)),
    )
    figure = found.figures["model"].get(name)
    return {} if figure is None else figure.rounded()
