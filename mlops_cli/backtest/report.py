"""Report files of a backtest: figures as JSON, points for plots, and an HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.backtest.costs import compare_costs, costs_so_far
from mlops_cli.backtest.html_report import page
from mlops_cli.backtest.score_period import metric_of
from mlops_cli.data.atomic_files import atomic_write, write_json
from mlops_cli.data.timestamps import format_timestamp

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.backtest import BacktestResult
    from mlops_cli.layout import Layout
    from mlops_cli.params import Params

__all__ = ["make_report", "write_report"]


def make_report(params: Params, result: BacktestResult, every: str) -> dict[str, Any]:
    """Collect all figures as plain values; same data and parameters give the same report."""
    rules = params.backtest
    figures = compare_costs(
        result.runs,
        result.steps,
        error_cost=rules.error_cost,
        retrain_cost=rules.retrain_cost,
    )
    return {
        "project": params.project.name,
        "from": format_timestamp(result.steps[0].start),
        "to": format_timestamp(result.steps[-1].end),
        "every": every,
        "label_delay": result.label_delay,
        "metric": metric_of(params),
        "error_cost": rules.error_cost,
        "retrain_cost": rules.retrain_cost,
        "search_trials": rules.trials,
        "notes": [*result.notes, *_note_on_free_training(figures, rules.retrain_cost)],
        **figures,
    }


def _note_on_free_training(figures: dict[str, Any], retrain_cost: float) -> list[str]:
    """Note that the best policy may be best only because trainings cost nothing."""
    best = next(p for p in figures["policies"] if p["name"] == figures["best"])
    if retrain_cost or not best["trained"]:
        return []
    alarms = best["alarms"] or {}
    false_alarms = alarms.get("false", 0)
    alarm_text = (
        f"; {false_alarms} of its {false_alarms + alarms['true']} alarms were false"
        if false_alarms
        else ""
    )
    note = (
        "backtest.retrain_cost is 0, so a training costs nothing, and a policy that trains "
        f"needlessly loses nothing: {best['name']} trained {best['trained']} times{alarm_text}. "
        "Set what a training costs; the best policy for each price is listed below"
    )
    return [note]


def write_report(layout: Layout, report: dict[str, Any]) -> tuple[Path, Path, Path]:
    """Write ``reports/backtest.json``, the points for ``dvc plots``, and the HTML page."""
    path = layout.backtest
    points, html = path.with_name("backtest-plot.json"), path.with_suffix(".html")
    write_json(path, report)
    write_json(points, {"backtest": _points(report)})
    with atomic_write(html) as temporary:
        temporary.write_text(page(report), encoding="utf-8")
    return path, points, html


def _points(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Make one point for each policy and period, for ``dvc plots``."""
    return [
        {
            "policy": policy["name"],
            "period": entry["from"],
            report["metric"]: (entry["metric"] or {}).get("value"),
            "cost": round(cost, 6),
        }
        for policy in report["policies"]
        for entry, cost in zip(policy["rounds"], costs_so_far(report, policy), strict=True)
    ]
