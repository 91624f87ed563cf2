"""Error analysis for the evaluation report: worst segments, and fairness by group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.evaluation.fairness import measure_decision_fairness, measure_value_fairness
from mlops_cli.evaluation.slice_finder import SegmentSearch
from mlops_cli.metrics.bootstrap import Bootstrap, compare
from mlops_cli.metrics.row_losses import row_losses

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from mlops_cli.evaluation.slice_finder import Segment
    from mlops_cli.metrics.catalog import Floats, Metric, Truth
    from mlops_cli.params.evaluate import Evaluate

__all__ = ["measure_fairness", "worst_segments"]


def worst_segments(
    frame: pl.DataFrame,
    y: Truth,
    prediction: Floats,
    metric: Metric,
    settings: Evaluate,
    *,
    seed: Sequence[int],
    weights: Floats | None = None,
) -> dict[str, Any]:
    """Find the worst segments, and compute the metric with its interval for each.

    Parameters
    ----------
    frame
        Columns whose values define the segments, (n rows).
    y, prediction
        Labels (n,) and predictions (n,) or (n, classes).

    Returns
    -------
    dict
        ``loss``: name of the per-row loss of the search; ``tried``: number of segments tried;
        ``found``: segments, each with ``where``, ``rows``, ``share``, ``loss``,
        ``loss_elsewhere``, ``p`` and ``metrics``.
    """
    loss_name, losses = row_losses(metric.name, y, prediction)
    if not settings.segments:
        return {"loss": loss_name, "tried": 0, "found": []}
    overall = metric(y, prediction, weights)

    def weights_of(rows: NDArray[np.intp]) -> Floats | None:
        return None if weights is None else weights[rows]

    def is_worse(rows: NDArray[np.intp]) -> bool:
        """Whether the metric isn't better there: a loss also rises where classes are mixed."""
        value = metric(y[rows], prediction[rows], weights_of(rows))
        return not metric.gain(value, overall) > 0

    search = SegmentSearch(settings.slice_rows, settings.segments, settings.confidence, seed)
    columns = {column: frame[column] for column in frame.columns}
    segments, tried = search.run(columns, losses, weights=weights, accept=is_worse)
    bootstrap = Bootstrap(settings.resamples, settings.confidence, seed)
    entries = []
    for segment in segments:
        rows = segment.rows
        model = {"model": prediction[rows]}
        comparison = compare([metric], y[rows], model, bootstrap, weights=weights_of(rows))
        figures = {m: figure.to_json() for m, figure in comparison.figures["model"].items()}
        entries.append(_entry(segment, len(y)) | {"metrics": figures})
    return {"loss": loss_name, "tried": tried, "found": entries}


def _entry(segment: Segment, total_rows: int) -> dict[str, Any]:
    return {
        "where": dict(segment.where),
        "rows": len(segment.rows),
        "share": round(len(segment.rows) / total_rows, 6),
        "loss": round(segment.loss, 6),
        "loss_elsewhere": round(segment.loss_elsewhere, 6),
        "p": round(segment.p, 6) + 0.0,
    }


def measure_fairness(
    frame: pl.DataFrame,
    y: Truth,
    prediction: Floats,
    decisions: Truth | None,
    classes: Sequence[str],
    settings: Evaluate,
    *,
    seed: Sequence[int],
) -> dict[str, Any]:
    """Compute group fairness for each column of the frame; see ``evaluation.fairness``.

    ``decisions`` holds the decisions as class codes (n,); it is None for regression.
    """
    sampling: dict[str, Any] = {
        "min_rows": settings.slice_rows,
        "bootstrap": Bootstrap(settings.resamples, settings.confidence, seed),
    }
    if decisions is None:
        values = y.astype(float)
        return {
            c: measure_value_fairness(frame[c], values, prediction, **sampling)
            for c in frame.columns
        }
    return {
        c: measure_decision_fairness(frame[c], y, decisions, classes, **sampling)
        for c in frame.columns
    }
