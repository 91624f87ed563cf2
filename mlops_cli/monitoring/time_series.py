"""A window cut into parts of equal time, for the plots over time."""

from __future__ import annotations

import datetime as dt
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.evaluation.performance_estimation import expected_metric
from mlops_cli.evaluation.reliability import recalibrate

if TYPE_CHECKING:
    from mlops_cli.monitoring.baseline import Baseline
    from mlops_cli.monitoring.window import Window

__all__ = ["over_time"]

_MOST = 40
_STEPS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400, 364 * 86_400)
"""Seconds of a part; the shortest that gives few enough parts."""
_LEAST = 50
"""Labelled rows for a figure."""


def over_time(window: Window, basis: Baseline) -> dict[str, Any]:
    """Rows, mean output, labels, first metric (realised and expected) and latency of each part.

    Returns
    -------
    dict
        ``seconds`` of a part, the ``metric``, and ``parts``: those that have rows.
    """
    at = window.times.dt.epoch("us").to_numpy() / 1e6
    span = float(at[-1] - at[0])
    seconds = next((s for s in _STEPS if span / s < _MOST), _STEPS[-1])
    number = (at // seconds).astype(np.int64)
    metric = basis.metrics[0]
    binary = window.output.ndim == 2 and window.output.shape[1] == 2  # noqa: PLR2004
    labelled, parts = window.labelled, []
    for start in np.unique(number).tolist():
        rows = np.flatnonzero(number == start)
        output = window.output[rows]
        known = rows[labelled[rows]]
        part: dict[str, Any] = {
            "start": dt.datetime.fromtimestamp(start * seconds, dt.UTC).isoformat(),
            "rows": len(rows),
            "labelled": len(known),
            "output": _mean(output[:, 1] if binary else output if output.ndim == 1 else None),
            "label": _mean(window.labels[known]) if binary or output.ndim == 1 else None,
            "figure": None,
            "expected": None,
            "p95_milliseconds": None,
        }
        if len(known) >= _LEAST:
            part["figure"] = _plain(metric(*window.to(known)))
        if len(rows) >= _LEAST and output.ndim > 1:
            part["expected"] = _plain(
                expected_metric(metric, output, recalibrate(output, basis.curves))
            )
        if window.milliseconds is not None:
            part["p95_milliseconds"] = _plain(float(np.quantile(window.milliseconds[rows], 0.95)))
        parts.append(part)
    return {"seconds": seconds, "metric": metric.name, "parts": parts}


def _mean(values: Any) -> float | None:
    return None if values is None or not len(values) else _plain(float(np.mean(values)))


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
