"""`mlops replay`: score logged requests with another version and compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli.options import Json, ModelArgument, timestamp
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.promotion.replay import ReplayResult
    from mlops_cli.reporting import Table

__all__ = ["replay"]


def replay(
    version: ModelArgument,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Requests from this time on, by monitor.time."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Requests before this time, by monitor.time.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="End with exit code 5 if the stage's gate refuses it.")
    ] = False,
    stage: Annotated[
        str, typer.Option("--for", metavar="STAGE", help="With --gate: the stage to enter.")
    ] = "production",
    as_json: Json = False,
) -> None:
    """Score logged requests with another version, and compare.

    It shows how many decisions differ, how far scores move and for which rows most; and, if there
    are labels, whether the other version is better. `register.stages.<stage>.replay` requires this
    before a promotion. Requests that either version was trained on are left out. Dates are request
    times or, with `monitor.time: moment`, times of the predicted events. Exit code 7 means that no
    request is left.

    Example: mlops replay latest --since 2013-11-01 --gate
    """
    from dataclasses import asdict

    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.errors import ModelRefused
    from mlops_cli.promotion import replay as live

    layout, params = open_project()
    start, end = timestamp(since, params), timestamp(until, params)
    rule = live.gate_of(params, stage) if gate else None
    with live_progress("replay", quiet=as_json) as progress:
        result = live.replay(
            params, layout, version, since=start, until=end, gate=rule, progress=progress
        )
    if as_json:
        console.draw_json(asdict(result))
    else:
        _draw(result)
    if result.gate is not None and not result.gate.passed:
        raise ModelRefused(
            f"{result.version} may not enter {stage}: {result.gate.reason}",
            live.remedy(result.gate, stage),
        )
    result.refuse_empty()


def _draw(result: ReplayResult) -> None:
    out, report = console.console(), result.report
    if report["rows"]:
        answered = ", ".join(f"{n:,} by {v}" for v, n in report["answered_by"].items())
        total = sum(report["answered_by"].values())
        of_total = "" if report["rows"] == total else f" of {total:,}"
        details = console.line(f"on {report['rows']:,}{of_total} requests ({answered})")
        out.print(f"[bold]{console.line(result.version)}[/bold] {details}")
        out.print(
            f"  {_describe_difference(report)}; {report['labelled']:,} have labels", markup=False
        )
        for table in _tables(report):
            console.draw_table(table)
    if report["features_recomputed"]:
        out.print(
            f"[yellow]![/yellow] features of {report['features_recomputed']:,} requests were "
            "computed again from the current data, and may differ from those at request time"
        )
    for why, rows in report["left_out"].items():
        out.print(f"[yellow]![/yellow] {rows:,} left out: ", end="")
        out.print(why, markup=False)
    if result.gate is not None:
        out.print(f"gate: {result.gate.reason}", markup=False)


def _describe_difference(report: Mapping[str, Any]) -> str:
    shift = report["shift"]
    text = (
        f"scores move by {shift['mean']:+.4g} on average, {shift['mean_absolute']:.4g} either way"
    )
    if flips := report.get("flips"):
        text = f"{flips['rows']:,} decisions ({flips['share']:.1%}) differ; {text}"
    if judged := report.get("flips_judged"):
        text += (
            f"; of labelled flips {judged['to_right']:,} to right, {judged['to_wrong']:,} to wrong"
        )
    return text


def _tables(report: Mapping[str, Any]) -> Iterator[Table]:
    from mlops_cli.reporting import Table, figure_text

    if metrics := report.get("metrics"):
        rows = tuple(
            (name, figure_text(m["old"]), figure_text(m["new"]), figure_text(m["gain"]))
            for name, m in metrics.items()
        )
        yield Table("on labelled requests", ("metric", "answered", "replayed", "gain"), rows)
    for name, parts in report["slices"].items():
        if parts:
            rows = tuple((p["value"], p["rows"], p["shift"], p.get("flips")) for p in parts)
            yield Table(f"by {name}", (name, "rows", "mean shift", "flips"), rows)
    titles = {
        "changed_most": "where scores move most",
        "worse_where": "where it is worse",
        "better_where": "where it is better",
    }
    for key, title in titles.items():
        if segments := report.get(key):
            yield Table(title, ("where", "rows", "mean", "elsewhere"), _segment_rows(segments))


def _segment_rows(segments: Sequence[Mapping[str, Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (
            ", ".join(f"{c} {'missing' if v is None else v}" for c, v in s["where"].items()),
            s["rows"],
            s["mean"],
            s["elsewhere"],
        )
        for s in segments
    )
