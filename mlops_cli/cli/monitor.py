"""`mlops monitor`: check logged predictions for drift and lost performance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import Json, timestamp
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from mlops_cli.monitoring.monitor import MonitoringReport

__all__ = ["monitor"]

_EXIT_CODES = {"drift": 10, "degraded": 11}
_MAX_COLUMNS = 12
"""Maximum number of columns in the drift table."""

_Since = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="The window's start; by default monitor.window before its end."
    ),
]
_Until = Annotated[
    str | None,
    typer.Option(
        metavar="DATE", help="The window's end (exclusive); by default the newest prediction."
    ),
]
_Version = Annotated[
    str | None,
    typer.Option(
        "--version",
        "-v",
        metavar="VERSION",
        help="Check this version only; by default all, that of retrain.stage first.",
    ),
]
_FailOn = Annotated[
    str,
    typer.Option(metavar="LIST", help="Verdicts with exit code 10 or 11: drift, degraded, none."),
]


def monitor(
    since: _Since = None,
    until: _Until = None,
    version: _Version = None,
    fail_on: _FailOn = "drift,degraded",
    html: Annotated[
        str | None, typer.Option(metavar="PATH", help="Also write an HTML report, as one file.")
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(metavar="PATH", help="Also write metrics, for the node exporter.")
    ] = None,
    alert: Annotated[
        bool, typer.Option(help="Send alerts to the channels of monitor.alerts.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Check logged predictions for drift and lost performance.

    Performance needs labels (`mlops feedback import`); without them it is estimated. Exit code 10
    means drift, and 11 degraded performance, with or without drift. `mlops retrain --if-needed`
    reads the verdict.

    Example: mlops monitor --since 2013-11-01 --html report.html
    """
    from pathlib import Path

    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.monitoring import monitor as live

    failing = _parse_fail_on(fail_on)
    layout, params = open_project()
    first, last = timestamp(since, params), timestamp(until, params)
    with live_progress("monitor", quiet=as_json) as progress:
        report = live.monitor(params, layout, live.MonitorOptions(first, last, version), progress)
    # The verdict comes first, so that a later error can't prevent it.
    if as_json:
        console.draw_json(report.to_json())
    else:
        _draw(report)
    if alert:
        from mlops_cli.monitoring.alerts import send_alerts

        for channel, count, trouble in send_alerts(params.monitor.alerts, layout, report):
            _draw_alert(channel, count, trouble)
    if html is not None:
        _write_page(report, Path(html))
    if prometheus is not None:
        from mlops_cli.monitoring.prometheus import write

        write(report.to_json(), Path(prometheus))
    codes = [_EXIT_CODES[verdict] for verdict in report.problems if verdict in failing]
    if codes:
        raise typer.Exit(max(codes))


def _parse_fail_on(text: str) -> set[str]:
    """Parse --fail-on to a set of verdicts."""
    from mlops_cli.errors import Usage, nearest

    words = {word.strip() for word in text.split(",") if word.strip()}
    for word in sorted(words - {*_EXIT_CODES, "none"}):
        raise Usage(f"--fail-on is {word!r}", nearest(word, [*_EXIT_CODES, "none"]))
    return words - {"none"}


def _write_page(report: MonitoringReport, path: Path) -> None:
    from mlops_cli.data.atomic_files import atomic_write
    from mlops_cli.monitoring.html_report import html

    with atomic_write(path) as temporary:
        temporary.write_text(html(report.to_json(), report.previous_verdicts), encoding="utf-8")


def _draw_alert(channel: str, count: int, trouble: str | None) -> None:
    from mlops_cli.reporting import count_noun

    # To stderr, because stdout is for --json.
    out = console.console(stderr=True)
    if count:
        out.print(f"sent {count_noun(count, 'finding')} to {channel}", markup=False)
    if trouble is not None:
        mark = "but" if count else f"could not notify {channel}"
        out.print(f"! {mark}: {trouble}", markup=False, soft_wrap=True)


def _draw(report: MonitoringReport) -> None:
    facts, out = report.evaluation.results, console.console()
    colour = {"ok": "green", "not judged": "yellow"}.get(report.status, "red")
    out.print(f"[{colour}]{report.status}[/{colour}] ", end="")
    out.print(
        f"{report.name}@{report.version}: {facts['rows']:,} predictions from "
        f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M}",
        markup=False,
    )
    marks = {"degraded": "red", "drift": "red", "warning": "yellow", "note": "dim"}
    for finding in report.evaluation.findings:
        mark = marks[finding.severity]
        out.print(f"  [{mark}]{finding.severity:<8}[/{mark}] ", end="")
        out.print(finding.sentence, markup=False)
    for number, evaluation in report.other_versions.items():
        verdicts = " and ".join(
            {"degraded": "lost performance"}.get(f, f) for f in evaluation.problems
        )
        out.print(f"  {number} alone: {verdicts or 'no findings'}", markup=False)
    _draw_performance(facts)
    _draw_drift(facts)


def _draw_performance(facts: Mapping[str, Any]) -> None:
    from mlops_cli.reporting import Table, figure_text

    performance, estimate = facts["performance"] or {}, facts["estimate"] or {}
    realised, expected = performance.get("figures", {}), estimate.get("figures", {})
    rows = [
        (
            name,
            figure_text(facts["evaluation"].get(name)),
            figure_text(realised.get(name, {}).get("figure")),
            figure_text(expected.get(name)),
        )
        for name in dict.fromkeys([*realised, *expected])
    ]
    if rows:
        columns = ("metric", "evaluation", "realised", "expected without labels")
        console.draw_table(Table("Performance", columns, tuple(rows)))
    if estimate and not estimate["trusted"]:
        message = f"the expectation can't be trusted: {'; '.join(estimate['reasons'])}"
        console.console().print(f"  {message}", markup=False)


def _draw_drift(facts: Mapping[str, Any]) -> None:
    from mlops_cli.reporting import Table

    columns: Sequence[Mapping[str, Any]] = (facts["drift"] or {}).get("columns", ())
    keys = ("column", "part", "missing", "psi", "js", "ks")
    ranked = sorted(columns, key=lambda c: -(c["ks"] if c["ks"] is not None else c["js"] or 0.0))
    rows = tuple(tuple(c[key] for key in keys) for c in ranked[:_MAX_COLUMNS])
    if rows:
        console.draw_table(Table("Columns with the most drift", keys, rows))
