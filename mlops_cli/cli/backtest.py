"""`mlops backtest`: simulate retraining policies on past data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import Force, Json, require_duration, timestamp
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["backtest"]

_DEFAULT_POLICIES = ("never", "monthly", "drift", "performance")

_Policies = Annotated[
    list[str] | None,
    typer.Option(
        metavar="POLICY",
        help="never, monthly, 14d, drift, performance, monthly+drift; repeatable.",
    ),
]
_LabelDelay = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION",
        help="The time from a row's values to its label; by default feedback.delay.",
    ),
]


def backtest(
    since: Annotated[
        str, typer.Option("--from", metavar="DATE", help="When the first model is trained.")
    ],
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="DATE", help="The end; by default the last row of history."),
    ] = None,
    every: Annotated[
        str,
        typer.Option(metavar="DURATION", help="The time between two checks of the model: 7d, 1mo."),
    ] = "1mo",
    policy: _Policies = None,
    label_delay: _LabelDelay = None,
    jobs: Annotated[
        int, typer.Option(min=0, metavar="N", help="The processes; 0: one for each core.")
    ] = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Simulate retraining policies on past data, and compare costs.

    At each step, a policy trains on what was known then, serves, gets labels, monitors and decides.
    The report shows each policy's metric over time, trainings, alarms and cost (backtest in
    params.yaml), and which policy costs least: reports/backtest.json, backtest-plot.json and
    backtest.html. After an interruption, the same command continues. The project's own data, models
    and versions don't change.

    Example: mlops backtest --from 2013-04-01 --policy never --policy drift
    """
    from mlops_cli.backtest import BacktestRequest
    from mlops_cli.backtest import backtest as run
    from mlops_cli.backtest.policies import policy_of
    from mlops_cli.backtest.report import make_report, write_report
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.models.families.threads import available_cores

    layout, params = open_project()
    start, end = timestamp(since, params), timestamp(until, params)
    assert start is not None  # noqa: S101 - the option is required
    policies = tuple(policy_of(name) for name in dict.fromkeys(policy or _DEFAULT_POLICIES))
    delay = label_delay or params.feedback.delay
    for name, span in (("--every", every), ("--label-delay", delay)):
        require_duration(name, span)
    request = BacktestRequest(start, end, every, policies, delay, jobs or available_cores(), force)
    with live_progress("backtest", quiet=as_json) as progress:
        result = run(params, layout, request, progress)
    report = make_report(params, result, every)
    paths = write_report(layout, report)
    if as_json:
        console.draw_json(report)
        return
    _draw(report)
    console.console().print(f"page: {paths[-1].relative_to(layout.root)}", markup=False)


def _draw(report: Mapping[str, Any]) -> None:
    from mlops_cli.reporting import Table

    out, metric = console.console(), report["metric"]
    for note in report["notes"]:
        out.print("[yellow]![/yellow] ", end="")
        out.print(note, markup=False)
    periods = report["policies"][0]["rounds"]
    rows: list[tuple[Any, ...]] = []
    for i, entry in enumerate(periods):
        cells = (_format_period(policy["rounds"][i]) for policy in report["policies"])
        rows.append((entry["from"][:10], entry["rows"], *cells))
    columns = ("period from", "rows", *(p["name"] for p in report["policies"]))
    title = f"{metric} by period (* new model, (*) refused, ! alarm)"
    console.draw_table(Table(title, columns, tuple(rows)))
    console.draw_table(
        Table(
            f"from {report['from']} to {report['to']}",
            ("policy", f"{metric}, mean by rows", "cost", "over the best", "trained", "in use",
             "alarms", "false", "missed"),
            tuple(_policy_row(policy) for policy in report["policies"]),
        )
    )  # fmt: skip
    out.print(
        f"[bold]{report['best']}[/bold] costs least at {report['error_cost']:g} for a unit of "
        f"error and {report['retrain_cost']:g} for a training"
    )
    if len(prices := report["best_by_retrain_cost"]) > 1:
        ranges = [f"{p['policy']} from {p['from']:,.4g}" for p in prices]
        out.print(f"best by the cost of a training: {', '.join(ranges)}", markup=False)


def _format_period(entry: Mapping[str, Any]) -> str:
    """Format one policy's metric in one period, with marks for a new model and an alarm."""
    figure = entry["metric"]
    marks = {None: "", "deployed": " *", "too few rows": ""}.get(entry["outcome"], " (*)")
    alarm = " !" if entry["alarm"] else ""
    return ("" if figure is None else f"{figure['value']:.4f}") + marks + alarm


def _policy_row(policy: Mapping[str, Any]) -> tuple[Any, ...]:
    over, alarms = policy.get("over_best"), policy["alarms"]
    gap = "" if over is None else f"{over['value']:,.4g} [{over['low']:,.4g}, {over['high']:,.4g}]"
    alarm_counts = (
        (None, None, None)
        if alarms is None
        else (alarms["true"] + alarms["false"], alarms["false"], alarms["missed"])
    )
    return (
        policy["name"], policy["metric"], policy["cost"]["total"], gap, policy["trained"],
        policy["deployed"], *alarm_counts,
    )  # fmt: skip
