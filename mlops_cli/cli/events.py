"""`mlops events`: what was logged, and erasing it."""

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

    It shows how many predictions and labels there are, since when, and where they are kept.

    Example: mlops events
    """
    if runs_subcommand(context):
        return
    from mlops_cli.cli.project import open_project
    from mlops_cli.feedback import erasure

    layout, params = open_project()
    held = erasure.logged_data(params, layout)
    if as_json:
        console.draw_json(vars(held))
    else:
        _draw_holdings(held)


@events.command("purge")
def purge(
    before: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="Erase predictions and labels from before this time."),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Erase all of one entity: its values of serve.entity."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Erase without asking.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would be erased, and erase nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Erase predictions and labels by age, or all of one entity.

    They are erased for good from the log, its spill files and what was set aside; an entity also
    from the online store. A service may go on meanwhile. docs/personal-data.md says what else holds
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
        _confirm()
    with live_progress("events", quiet=as_json) as progress:
        done = erasure.erase(layout, selection, progress, dry_run=dry_run)
    if as_json:
        console.draw_json({**vars(done), "dry_run": dry_run})
    else:
        _draw(done, dry_run=dry_run)
    if done.left:
        raise typer.Exit(_LEFT)


_LEFT = 8
"""Exit code where a service holds what was to be erased."""


def _confirm() -> None:
    import sys

    from mlops_cli.errors import Usage

    if not sys.stdin.isatty():
        raise Usage(
            "what is erased can't be brought back, and nobody is there to say yes",
            "Add --yes, or look first with --dry-run.",
        )
    typer.confirm("What is erased can't be brought back. Go on?", abort=True, err=True)


def _draw(done: ErasureResult, *, dry_run: bool) -> None:
    out = console.console()
    counts = {
        "predictions": done.predictions,
        "labels": done.labels,
        "spilled": done.spilled,
        "set aside": done.damaged,
        "entries of the online store": done.entries,
    }
    listed = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    verb = "would erase" if dry_run else "erased"
    out.print(f"{verb}: {listed or 'nothing'}", markup=False)
    for sentence in done.left:
        out.print(f"[yellow]![/yellow] {sentence}", emoji=False)


def _draw_holdings(held: LoggedData) -> None:
    out = console.console()
    size = "" if held.size is None else f", {held.size / 1e6:,.1f} MB"
    lines = [
        f"log: {held.place}{size}",
        f"{held.predictions:,} predictions, {held.labels:,} labels",
    ]
    if held.oldest is not None and held.newest is not None:
        lines.append(f"from {_text(held.oldest)} to {_text(held.newest)}")
    lines.append(f"kept: {held.keep or 'until they are purged (serve.events.keep)'}")
    if held.spilled or held.damaged:
        lines.append(f"spilled: {held.spilled:,} bytes; set aside: {held.damaged:,} lines")
    for line in lines:
        out.print(line, markup=False)


def _text(at: float) -> str:
    import datetime as dt

    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
