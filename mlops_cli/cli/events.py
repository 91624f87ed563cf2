"""`mlops events`: what was logged, and erasing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from mlops_cli.live.erasure import Erasure, Holdings

__all__ = ["events"]

events = typer.Typer(
    help="The log of predictions and labels.\n\nExample: mlops events purge --before 2024-01-01",
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]


@events.callback(invoke_without_command=True)
def show(context: typer.Context, as_json: Json = False) -> None:
    """What the log holds: how many predictions and labels, since when, and where.

    Example: mlops events purge --before 2024-01-01
    """
    from mlops_cli import params as parameters
    from mlops_cli.cli.project import find
    from mlops_cli.live import erasure

    if context.invoked_subcommand is not None:
        return
    layout = find()
    held = erasure.holdings(parameters.load(layout.params), layout)
    if as_json:
        drawing.draw_json(vars(held))
    else:
        _draw_holdings(held)


@events.command("purge")
def purge(
    before: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="What was asked for, or received, before."),
    ] = None,
    entity: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="All of one entity: the values of serve.entity."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    as_json: Json = False,
) -> None:
    """Erase predictions and labels for good: by age, or all of one entity.

    From the log, its spill files and what was set aside; an entity also from the online store.
    A service may go on meanwhile. What else holds personal data: docs/personal-data.md.

    Example: mlops events purge --entity '["A-17"]'
    """
    import datetime as dt

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.core.moments import moment_of
    from mlops_cli.errors import Usage
    from mlops_cli.live import erasure
    from mlops_cli.store.events.erasure import Selection

    if (before is None) == (entity is None):
        raise Usage(
            "give either --before or --entity", "Example: mlops events purge --before 2024-01-01"
        )
    layout = find()
    params = parameters.load(layout.params)
    if before is not None:
        moment = moment_of(before, params.ingest.until, dt.datetime.now(dt.UTC).date())
        selection = Selection(before=moment.timestamp())
    else:
        selection = Selection(entities=erasure.entity_texts(params, str(entity)))
    if not dry_run and not yes:
        _confirm()
    with shown("events", quiet=as_json) as progress:
        done = erasure.erase(layout, selection, progress, dry_run=dry_run)
    if as_json:
        drawing.draw_json({**vars(done), "dry_run": dry_run})
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


def _draw(done: Erasure, *, dry_run: bool) -> None:
    out = drawing.console()
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


def _draw_holdings(held: Holdings) -> None:
    out = drawing.console()
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
