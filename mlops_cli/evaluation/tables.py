"""Terminal tables of an evaluation's figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_cli.reporting import Table, figure_text

__all__ = ["evaluation_tables"]

Figure = Mapping[str, float]
"""A value with its confidence interval: ``value``, ``low``, ``high``."""


def evaluation_tables(
    figures: Mapping[str, Mapping[str, Figure]], report: Mapping[str, Any]
) -> list[Table]:
    """Make tables of metrics and, if there are any, worst slice, worst segments and group gaps.

    Parameters
    ----------
    figures
        Model or baseline -> metric -> figure.
    report
        The evaluation's report, as in its JSON file.
    """
    main_metric = report["metrics"][0]
    rows = [
        (m, *(figure_text(by_metric.get(m)) for by_metric in figures.values()))
        for m in report["metrics"]
    ]
    tables = [Table("Test metrics", ("metric", *figures), tuple(rows))]
    worst = report["worst_slice"]
    if worst:
        row = (worst["column"], worst["value"], worst["rows"], worst["figure"])
        tables.append(Table("Worst slice", ("column", "value", "rows", main_metric), (row,)))
    return tables + _segments(report, main_metric) + _gaps(report)


def _segments(report: Mapping[str, Any], main_metric: str) -> list[Table]:
    search = report["worst_segments"]
    rows = [
        (
            " and ".join(f"{k} = {v}" for k, v in segment["where"].items()),
            segment["rows"],
            figure_text(segment["metrics"].get(main_metric)),
            segment["loss"],
        )
        for segment in search["found"]
    ]
    columns = ("where", "rows", main_metric, f"mean {search['loss']}")
    return [Table("Worst segments", columns, tuple(rows))] if rows else []


def _gaps(report: Mapping[str, Any]) -> list[Table]:
    rows = [
        (column, measure.replace("_", " "), figure_text(gap))
        for column, fairness in report["fairness"].items()
        for measure, gap in fairness["gaps"].items()
    ]
    return [Table("Gaps between groups", ("column", "measure", "gap"), tuple(rows))] if rows else []
