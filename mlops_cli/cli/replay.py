"""`mlops replay`: what another version would have answered to what was asked."""

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

    It shows how many decisions differ, how far scores move and for which rows most; and, where
    there are labels, whether the other version is better. `register.stages.<stage>.replay` demands
    that before a promotion. Requests that either version was trained on are left out. Dates are the
    time of the request, or with `monitor.time: moment` the time that it is about. Exit code 7 means
    that no request is left.

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
        done = live.replay(
            params, layout, version, since=start, until=end, gate=rule, progress=progress
        )
    if as_json:
        console.draw_json(asdict(done))
    else:
        _draw(done)
    if done.gate is not None and not done.gate.passed:
        raise ModelRefused(
            f"{done.version} may not enter {stage}: {done.gate.reason}",
            live.remedy(done.gate, stage),
        )
    done.refuse_empty()


def _draw(done: ReplayResult) -> None:
    out, report = console.console(), done.report
    if report["rows"]:
        answered = ", ".join(f"{n:,} by {v}" for v, n in report["answered_by"].items())
        total = sum(report["answered_by"].values())
        of = "" if report["rows"] == total else f" of {total:,}"
        told = console.line(f"on {report['rows']:,}{of} requests ({answered})")
        out.print(f"[bold]{console.line(done.version)}[/bold] {told}")
        out.print(f"  {_difference(report)}; {report['labelled']:,} have labels", markup=False)
        for table in _tables(report):
            console.draw_table(table)
    if report["features_made_anew"]:
        out.print(
            f"[yellow]![/yellow] features of {report['features_made_anew']:,} requests were made "
            "anew from the data that are here, not as they were when they were asked"
        )
    for why, rows in report["left_out"].items():
        out.print(f"[yellow]![/yellow] {rows:,} left out: ", end="")
        out.print(why, markup=False)
    if done.gate is not None:
        out.print(f"gate: {done.gate.reason}", markup=False)


def _difference(report: Mapping[str, Any]) -> str:
    shift = report["shift"]
    told = (
        f"scores move by {shift['mean']:+.4g} on average, {shift['mean_absolute']:.4g} either way"
    )
    if flips := report.get("flips"):
        told = f"{flips['rows']:,} decisions ({flips['share']:.1%}) differ; {told}"
    if judged := report.get("flips_judged"):
        told += (
            f"; of labelled flips {judged['to_right']:,} to right, {judged['to_wrong']:,} to wrong"
        )
    return told


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
        if found := report.get(key):
            yield Table(title, ("where", "rows", "mean", "elsewhere"), _segments(found))


def _segments(found: Sequence[Mapping[str, Any]]) -> tuple[tuple[Any, ...], ...]:
    return tuple(
        (
            ", ".join(f"{c} {'missing' if v is None else v}" for c, v in s["where"].items()),
            s["rows"],
            s["mean"],
            s["elsewhere"],
        )
        for s in found
    )
