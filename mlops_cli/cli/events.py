"""`mlops events`: show and erase what the event log holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import Json, runs_subcommand, timestamp
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.feedback.erasure import ErasureResult, LoggedData

__all__ = ["events"]

events = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@events.callback()
def show(context: typer.Context, as_json: Json = False) -> None:
    """Show what the log of predictions and labels holds, or erase it.

    It shows the numbers of predictions and labels, their first time, and the log's place.

    Example: mlops events
    """
    if runs_subcommand(context):
        return
    from mlops_cli.cli.project import open_project
    from mlops_cli.feedback import erasure

    layout, params = open_project()
    log = erasure.logged_data(params, layout)
    if as_json:
        console.draw_json(vars(log))
    else:
        _draw_log(log)


@events.command("purge")
def purge(
    before: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Erase predictions and labels from before this time."),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(
            metavar="JSON", help="Erase all data of one entity: its values of serve.entity."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Erase without asking.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be erased, and erase nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Erase predictions and labels by age, or all data of one entity.

    They are erased for good from the log, its spill files and damaged lines; an entity also from
    the online store. A service may keep running. docs/personal-data.md says what else holds
    personal data.

    Example: mlops events purge --before 2024-01-01

    Example: mlops events purge --entity '["A-17"]'
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.errors import Usage
    from mlops_cli.events.erasure import Selection
    from mlops_cli.feedback import erasure

    if (before is None) == (entity is None):
        raise Usage(
            "give either --before or --entity", "Example: mlops events purge --before 2024-01-01"
        )
    layout, params = open_project()
    if (moment := timestamp(before, params)) is not None:
        selection = Selection(before=moment.timestamp())
    else:
        selection = Selection(entities=erasure.entity_texts(params, str(entity)))
    if not dry_run and not yes:
        _ask_confirmation()
    with live_progress("events", quiet=as_json) as progress:
        result = erasure.erase(layout, selection, progress, dry_run=dry_run)
    if as_json:
        console.draw_json({**vars(result), "dry_run": dry_run})
    else:
        _draw(result, dry_run=dry_run)
    if result.left:
        raise typer.Exit(_INCOMPLETE)


_INCOMPLETE = 8
"""Exit code if some data couldn't be erased, as in files that a service has locked."""


def _ask_confirmation() -> None:
    """Ask before erasing; without a terminal, refuse."""
    import sys

    from mlops_cli.errors import Usage

    if not sys.stdin.isatty():
        raise Usage(
            "erased data can't be restored, and there is no terminal to confirm that",
            "Add --yes, or count first with --dry-run.",
        )
    typer.confirm("Erased data can't be restored. Continue?", abort=True, err=True)


def _draw(result: ErasureResult, *, dry_run: bool) -> None:
    out = console.console()
    counts = {
        "predictions": result.predictions,
        "labels": result.labels,
        "spilled": result.spilled,
        "set aside": result.damaged,
        "entries of the online store": result.entries,
    }
    listed = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    verb = "would erase" if dry_run else "erased"
    out.print(f"{verb}: {listed or 'nothing'}", markup=False)
    for sentence in result.left:
        out.print(f"[yellow]![/yellow] {sentence}", emoji=False)


def _draw_log(log: LoggedData) -> None:
    out = console.console()
    size = "" if log.size is None else f", {log.size / 1e6:,.1f} MB"
    lines = [
        f"log: {log.place}{size}",
        f"{log.predictions:,} predictions, {log.labels:,} labels",
    ]
    if log.oldest is not None and log.newest is not None:
        lines.append(f"from {_format_time(log.oldest)} to {_format_time(log.newest)}")
    lines.append(f"kept: {log.keep or 'until they are purged (serve.events.keep)'}")
    if log.spilled or log.damaged:
        lines.append(f"spilled: {log.spilled:,} bytes; set aside: {log.damaged:,} lines")
    for line in lines:
        out.print(line, markup=False)


def _format_time(at: float) -> str:
    import datetime as dt

    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
