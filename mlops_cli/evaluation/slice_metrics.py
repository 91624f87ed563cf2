"""Metrics by slice: where a model that is good on the whole is not."""

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
    least_rows: int,
    bootstrap: Bootstrap,
    weights: Floats | None = None,
) -> dict[str, Any]:
    """Judge each slice of a column that has enough rows, and count the others.

    Parameters
    ----------
    column
        Its values cut the rows, (n,).
    y, prediction
        Truth (n,) and prediction (n,) or (n, classes).
    metrics
        All are given by value where they are defined, the first with its interval.
    least_rows
        Smaller slices are counted only.
    bootstrap
        Of the interval.
    weights
        What each row counts, (n,); by default 1.

    Returns
    -------
    dict
        ``judged``: slices with ``value``, ``rows``, ``metrics`` and perhaps ``interval``;
        ``too_small``: how many ``slices`` and ``rows`` were not judged.
    """
    parts = slices(column)
    judged: list[dict[str, Any]] = []
    for part in parts:
        if len(part.rows) < least_rows:
            continue
        truth, predicted = y[part.rows], prediction[part.rows]
        counted = None if weights is None else weights[part.rows]
        values = {m.name: m(truth, predicted, counted) for m in metrics}
        found = compare(
            metrics[:1], truth, {"model": predicted}, bootstrap, weights=counted
        ).figures["model"]
        entry: dict[str, Any] = {
            "value": part.value,
            "rows": len(part.rows),
            "metrics": {k: round(v, 6) for k, v in values.items() if not math.isnan(v)},
        }
        if metrics[0].name in found:
            entry["interval"] = found[metrics[0].name].rounded()
        judged.append(entry)
    small = [len(part.rows) for part in parts if len(part.rows) < least_rows]
    return {"judged": judged, "too_small": {"slices": len(small), "rows": sum(small)}}


def worst(columns: Mapping[str, Any], metric: Metric) -> dict[str, Any] | None:
    """Name the judged slice of the worst value, over all columns; None where there is none.

    ``columns`` maps a column to what ``break_down`` gave for it.
    """
    judged = [
        {"column": column, "value": part["value"], "rows": part["rows"], "metric": metric.name}
        | {"figure": part["metrics"][metric.name]}
        for column, parts in columns.items()
        for part in parts["judged"]
        if metric.name in part["metrics"]
    ]
    return min(judged, key=lambda part: metric.gain(part["figure"], 0.0), default=None)
