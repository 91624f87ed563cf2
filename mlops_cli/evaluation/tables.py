"""An evaluation's figures as the tables that a terminal shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_cli.reporting import Table, figure_text

__all__ = ["evaluation_tables"]

Figure = Mapping[str, float]
"""A value with the ends of its interval: ``value``, ``low``, ``high``."""


def evaluation_tables(
    figures: Mapping[str, Mapping[str, Figure]], report: Mapping[str, Any]
) -> list[Table]:
    """The metrics; the worst slice and segments, and gaps between groups, where there are any.

    Parameters
    ----------
    figures
        Model or baseline -> metric -> figure.
    report
        What the evaluation found, as its file has it.
    """
    first = report["metrics"][0]
    rows = [(m, *(figure_text(of.get(m)) for of in figures.values())) for m in report["metrics"]]
    shown = [Table("Test metrics", ("metric", *figures), tuple(rows))]
    worst = report["worst_slice"]
    if worst:
        row = (worst["column"], worst["value"], worst["rows"], worst["figure"])
        shown.append(Table("Worst slice", ("column", "value", "rows", first), (row,)))
    return shown + _segments(report, first) + _gaps(report)


def _segments(report: Mapping[str, Any], first: str) -> list[Table]:
    found = report["worst_segments"]
    rows = [
        (
            " and ".join(f"{k} = {v}" for k, v in part["where"].items()),
            part["rows"],
            figure_text(part["metrics"].get(first)),
            part["loss"],
        )
        for part in found["found"]
    ]
    columns = ("where", "rows", first, f"mean {found['loss']}")
    return [Table("Worst segments", columns, tuple(rows))] if rows else []


def _gaps(report: Mapping[str, Any]) -> list[Table]:
    rows = [
        (column, measure.replace("_", " "), figure_text(gap))
        for column, of in report["fairness"].items()
        for measure, gap in of["gaps"].items()
    ]
    return [Table("Gaps between groups", ("column", "measure", "gap"), tuple(rows))] if rows else []
