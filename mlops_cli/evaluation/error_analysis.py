"""What an evaluation finds out by itself, as its report has it: worst segments, and fairness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.evaluation.fairness import of_decisions, of_values
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
    from mlops_cli.params.modelling import Evaluate

__all__ = ["measure_fairness", "worst_segments"]


def worst_segments(
    frame: pl.DataFrame,
    y: Truth,
    prediction: Floats,
    metric: Metric,
    wanted: Evaluate,
    *,
    seed: Sequence[int],
    weights: Floats | None = None,
) -> dict[str, Any]:
    """Search the worst segments, and judge each by the metric with its interval.

    Parameters
    ----------
    frame
        Columns whose values make segments, (n rows).
    y, prediction
        Truth (n,) and prediction (n,) or (n, classes).

    Returns
    -------
    dict
        ``loss``: what rows were compared by; ``tried``: how many segments; ``found``: each with
        ``where``, ``rows``, ``share``, ``loss``, ``loss_elsewhere``, ``p`` and ``metrics``.
    """
    name, loss = row_losses(metric.name, y, prediction)
    if not wanted.segments:
        return {"loss": name, "tried": 0, "found": []}
    overall = metric(y, prediction, weights)

    def weighing(rows: NDArray[np.intp]) -> Floats | None:
        return None if weights is None else weights[rows]

    def is_worse(rows: NDArray[np.intp]) -> bool:
        """Whether the metric isn't better there: a loss also rises where both classes are."""
        value = metric(y[rows], prediction[rows], weighing(rows))
        return not metric.gain(value, overall) > 0

    search = SegmentSearch(wanted.slice_rows, wanted.segments, wanted.confidence, seed)
    columns = {column: frame[column] for column in frame.columns}
    segments, tried = search.run(columns, loss, weights=weights, accept=is_worse)
    bootstrap = Bootstrap(wanted.resamples, wanted.confidence, seed)
    found = []
    for segment in segments:
        rows = segment.rows
        model = {"model": prediction[rows]}
        compared = compare([metric], y[rows], model, bootstrap, weights=weighing(rows))
        figures = {m: figure.rounded() for m, figure in compared.figures["model"].items()}
        found.append(_entry(segment, len(y)) | {"metrics": figures})
    return {"loss": name, "tried": tried, "found": found}


def _entry(segment: Segment, rows: int) -> dict[str, Any]:
    return {
        "where": dict(segment.where),
        "rows": len(segment.rows),
        "share": round(len(segment.rows) / rows, 6),
        "loss": round(segment.loss, 6),
        "loss_elsewhere": round(segment.elsewhere, 6),
        "p": round(segment.p, 6) + 0.0,
    }


def measure_fairness(
    frame: pl.DataFrame,
    y: Truth,
    prediction: Floats,
    decided: Truth | None,
    classes: Sequence[str],
    wanted: Evaluate,
    *,
    seed: Sequence[int],
) -> dict[str, Any]:
    """Measure fairness over each column of the frame; see ``evaluation.fairness``.

    ``decided`` are class codes (n,), or None where values are predicted.
    """
    sampling: dict[str, Any] = {
        "least_rows": wanted.slice_rows,
        "bootstrap": Bootstrap(wanted.resamples, wanted.confidence, seed),
    }
    if decided is None:
        values = y.astype(float)
        return {c: of_values(frame[c], values, prediction, **sampling) for c in frame.columns}
    return {c: of_decisions(frame[c], y, decided, classes, **sampling) for c in frame.columns}
