"""What a backtest found, as files: figures, points to plot, and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mlops_cli.backtest.costs import compare_costs
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


def make_report(params: Params, walked: BacktestResult, every: str) -> dict[str, Any]:
    """All figures, as plain values; the same for the same data and parameters."""
    rules = params.backtest
    figures = compare_costs(
        walked.courses,
        walked.steps,
        error_cost=rules.error_cost,
        retrain_cost=rules.retrain_cost,
    )
    return {
        "project": params.project.name,
        "from": format_timestamp(walked.steps[0].start),
        "to": format_timestamp(walked.steps[-1].end),
        "every": every,
        "label_delay": walked.delay,
        "metric": metric_of(params),
        "error_cost": rules.error_cost,
        "retrain_cost": rules.retrain_cost,
        "search_trials": rules.trials,
        "notes": [*walked.notes, *_free(figures, rules.retrain_cost)],
        **figures,
    }


def _free(figures: dict[str, Any], retrain_cost: float) -> list[str]:
    """What the best policy owes to trainings that cost nothing."""
    best = next(p for p in figures["policies"] if p["name"] == figures["best"])
    if retrain_cost or not best["trained"]:
        return []
    alarms = best["alarms"] or {}
    wrong = alarms.get("false", 0)
    said = f"; {wrong} of its {wrong + alarms['true']} alarms were false" if wrong else ""
    told = (
        "backtest.retrain_cost is 0, so a training costs nothing, and who trains for nothing loses "
        f"nothing: {best['name']} trained {best['trained']} times{said}. State what a training "
        "costs; from which price on which policy is best stands below"
    )
    return [told]


def write_report(layout: Layout, report: dict[str, Any]) -> tuple[Path, Path, Path]:
    """Write ``reports/backtest.json``, the points for ``dvc plots``, and the page."""
    path = layout.backtest
    points, shown = path.with_name("backtest-plot.json"), path.with_suffix(".html")
    write_json(path, report)
    write_json(points, {"backtest": _points(report)})
    with atomic_write(shown) as temporary:
        temporary.write_text(page(report), encoding="utf-8")
    return path, points, shown


def _points(report: dict[str, Any]) -> list[dict[str, Any]]:
    """One for each policy and period, as ``dvc plots`` draws them."""
    points = []
    for policy in report["policies"]:
        cost = 0.0
        for entry in policy["rounds"]:
            paid = entry["outcome"] not in {None, "too few rows"}
            cost += report["error_cost"] * entry["error"] + report["retrain_cost"] * paid
            figure = entry["metric"] or {}
            points.append(
                {
                    "policy": policy["name"],
                    "period": entry["from"],
                    report["metric"]: figure.get("value"),
                    "cost": round(cost, 6),
                }
            )
    return points
