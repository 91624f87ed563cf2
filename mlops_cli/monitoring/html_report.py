"""Monitoring report as one HTML file: no scripts, no network, light, dark or printed."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from mlops_cli.data.templates import render
from mlops_cli.monitoring import page_charts
from mlops_cli.reporting import figure_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tree = Mapping[str, Any]

__all__ = ["html"]


def html(report: Tree, history: Sequence[Tree]) -> str:
    """Render a report, and the verdicts before it, as a page.

    Parameters
    ----------
    report
        From ``MonitoringReport.to_json``.
    history
        From ``MonitoringHistory.verdicts``.
    """
    return render(
        "mlops_cli.monitoring",
        "monitor.html.jinja",
        {"figure_text": figure_text, "time": _format_time},
        report=report,
        history=page_charts.history(report, history),
        over_time=page_charts.over_time(report),
        calibration=page_charts.calibration(report),
        columns=_sort_columns(report["drift"] or {"findings": (), "columns": ()}),
    )


def _sort_columns(drift: Tree) -> list[Tree]:
    """Columns with an alarm first, then by their distance from the reference."""
    alarms = {(f["part"], f["column"]) for f in drift["findings"] if f["severity"] == "alarm"}

    def key(column: Tree) -> tuple[bool, float]:
        distance = column["ks"] if column["ks"] is not None else column["js"]
        return not column["alarm"], -(distance or 0.0)

    columns = [{**c, "alarm": (c["part"], c["column"]) in alarms} for c in drift["columns"]]
    return sorted(columns, key=key)


def _format_time(text: str) -> str:
    moment = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    is_midnight = moment.time().replace(microsecond=0) == dt.time()
    return moment.strftime("%Y-%m-%d" if is_midnight else "%Y-%m-%d %H:%M")
