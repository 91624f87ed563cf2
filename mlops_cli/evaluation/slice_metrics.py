"""Metrics by slice: where a model that is good on average is not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from mlops_cli.metrics.bootstrap import compare
from mlops_cli.metrics.slices import slices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from mlops_cli.metrics.bootstrap import Bootstrap
    from mlops_cli.metrics.catalog import Floats, Metric, Truth

__all__ = ["break_down", "worst"]


def break_down(
    column: pl.Series,
    y: Truth,
    prediction: Floats,
    metrics: Sequence[Metric],
    *,
    min_rows: int,
    bootstrap: Bootstrap,
    weights: Floats | None = None,
) -> dict[str, Any]:
    """Compute metrics of each slice of a column with enough rows, and count the other slices.

    Parameters
    ----------
    column
        Column whose values define the slices, (n,).
    y, prediction
        Labels (n,) and predictions (n,) or (n, classes).
    metrics
        All of them get a value where they are defined; the first also gets an interval.
    min_rows
        Minimum rows of a slice; smaller slices are only counted.
    bootstrap
        Settings of the interval.
    weights
        Weight of each row, (n,); by default 1.

    Returns
    -------
    dict
        ``judged``: slices with ``value``, ``rows``, ``metrics`` and, if defined, ``interval``;
        ``too_small``: number of ``slices`` and ``rows`` without metrics.
    """
    parts = slices(column)
    entries: list[dict[str, Any]] = []
    for part in parts:
        if len(part.rows) < min_rows:
            continue
        labels, predicted = y[part.rows], prediction[part.rows]
        slice_weights = None if weights is None else weights[part.rows]
        values = {m.name: m(labels, predicted, slice_weights) for m in metrics}
        intervals = compare(
            metrics[:1], labels, {"model": predicted}, bootstrap, weights=slice_weights
        ).figures["model"]
        entry: dict[str, Any] = {
            "value": part.value,
            "rows": len(part.rows),
            "metrics": {k: round(v, 6) for k, v in values.items() if not math.isnan(v)},
        }
        if metrics[0].name in intervals:
            entry["interval"] = intervals[metrics[0].name].to_json()
        entries.append(entry)
    small_slices = [len(part.rows) for part in parts if len(part.rows) < min_rows]
    return {
        "judged": entries,
        "too_small": {"slices": len(small_slices), "rows": sum(small_slices)},
    }


def worst(columns: Mapping[str, Any], metric: Metric) -> dict[str, Any] | None:
    """Find the slice with the worst metric over all columns; None if there is none.

    ``columns`` maps a column to the result of ``break_down``.
    """
    entries = [
        {"column": column, "value": part["value"], "rows": part["rows"], "metric": metric.name}
        | {"figure": part["metrics"][metric.name]}
        for column, parts in columns.items()
        for part in parts["judged"]
        if metric.name in part["metrics"]
    ]
    return min(entries, key=lambda part: metric.gain(part["figure"], 0.0), default=None)
