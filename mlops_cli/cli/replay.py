"""`mlops replay`: what another version would have answered to what was asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from mlops_cli.live.replaying import Replayed
    from mlops_cli.reporting import Table

__all__ = ["replay"]


def replay(
    version: Annotated[str, typer.Argument(help="Such as v0.2.0, latest, staging or workspace.")],
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Requests from then on, by monitor.time; or today."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Requests before that, by monitor.time.")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit code 5 if the stage's gate refuses it.")
    ] = False,
    stage: Annotated[
        str, typer.Option("--for", help="With --gate: the stage that it is to enter.")
    ] = "production",
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Score the logged requests by another version, and compare with what was answered.

    Tells how many decisions differ and how far scores move, for which rows most, and, where labels
    have come, whether it would have been better. `register.stages.<stage>.replay` asks for that
    before a promotion. Requests that either version has learnt from are left out. Dates are of
    when was asked, or with `monitor.time: moment` of when what it is about happens. Exit code 7:
    no request is left.

    Example: mlops replay latest --since 2013-11-01 --gate
    """
    import datetime as dt
    from dataclasses import asdict

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.core.moments import moment_of
    from mlops_cli.errors import ModelRefused
    from mlops_cli.live import replaying as live

    layout = find()
    params = parameters.load(layout.params)
    today = dt.datetime.now(dt.UTC).date()
    start, end = (
        None if text is None else moment_of(text, params.ingest.until, today)
        for text in (since, until)
    )
    rule = live.gate_of(params, stage) if gate else None
    with shown("replay", quiet=as_json) as progress:
        done = live.replay(
            params, layout, version, since=start, until=end, gate=rule, progress=progress
        )
    if as_json:
        drawing.draw_json(asdict(done))
    else:
        _draw(done)
    if done.gate is not None and not done.gate.passed:
        raise ModelRefused(
            f"{done.version} may not enter {stage}: {done.gate.reason}",
            live.remedy(done.gate, stage),
        )
    done.refuse_empty()


def _draw(done: Replayed) -> None:
    out, report = drawing.console(), done.report
    if report["rows"]:
        answered = ", ".join(f"{n:,} by {v}" for v, n in report["answered_by"].items())
        total = sum(report["answered_by"].values())
        of = "" if report["rows"] == total else f" of {total:,}"
        told = drawing.line(f"on {report['rows']:,}{of} requests ({answered})")
        out.print(f"[bold]{drawing.line(done.version)}[/bold] {told}")
        out.print(f"  {_difference(report)}; {report['labelled']:,} have labels", markup=False)
        for table in _tables(report):
            drawing.draw_table(table)
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
