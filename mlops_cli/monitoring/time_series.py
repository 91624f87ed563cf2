"""Time series of a window, in parts of equal duration, for plots."""

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

_MAX_PARTS = 40
"""Maximum number of parts."""
_STEPS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400, 364 * 86_400)
"""Seconds of a part; the shortest with few enough parts is used."""
_MIN_ROWS = 50
"""Minimum rows of a part for a metric."""


def over_time(window: Window, baseline: Baseline) -> dict[str, Any]:
    """Rows, mean output, labels, first metric (realised and expected) and latency of each part.

    Returns
    -------
    dict
        ``seconds`` of a part, the ``metric``, and ``parts``: those that have rows.
    """
    times = window.times.dt.epoch("us").to_numpy() / 1e6
    span = float(times[-1] - times[0])
    seconds = next((s for s in _STEPS if span / s < _MAX_PARTS), _STEPS[-1])
    part_of_row = (times // seconds).astype(np.int64)
    metric = baseline.metrics[0]
    binary = window.output.ndim == 2 and window.output.shape[1] == 2  # noqa: PLR2004
    labelled, parts = window.has_label, []
    for start in np.unique(part_of_row).tolist():
        rows = np.flatnonzero(part_of_row == start)
        output = window.output[rows]
        labelled_rows = rows[labelled[rows]]
        part: dict[str, Any] = {
            "start": dt.datetime.fromtimestamp(start * seconds, dt.UTC).isoformat(),
            "rows": len(rows),
            "labelled": len(labelled_rows),
            "output": _mean(output[:, 1] if binary else output if output.ndim == 1 else None),
            "label": _mean(window.labels[labelled_rows]) if binary or output.ndim == 1 else None,
            "figure": None,
            "expected": None,
            "p95_milliseconds": None,
        }
        if len(labelled_rows) >= _MIN_ROWS:
            part["figure"] = _round_value(metric(*window.labels_and_output(labelled_rows)))
        if len(rows) >= _MIN_ROWS and output.ndim > 1:
            part["expected"] = _round_value(
                expected_metric(metric, output, recalibrate(output, baseline.reliability_curves))
            )
        if window.milliseconds is not None:
            part["p95_milliseconds"] = _round_value(
                float(np.quantile(window.milliseconds[rows], 0.95))
            )
        parts.append(part)
    return {"seconds": seconds, "metric": metric.name, "parts": parts}


def _mean(values: Any) -> float | None:
    return None if values is None or not len(values) else _round_value(float(np.mean(values)))


def _round_value(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
