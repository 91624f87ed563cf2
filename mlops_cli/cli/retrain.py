"""`mlops retrain`: a new model of newer data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli import drawing
from mlops_cli.cli.pipeline import OUTPUT

if TYPE_CHECKING:
    from mlops_cli.live.retraining import Retrained

__all__ = ["draw_retrained", "retrain"]


def retrain(
    until: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="A date, today or +1mo; or as far as labels are there."),
    ] = None,
    if_needed: Annotated[
        bool,
        typer.Option("--if-needed", help="Only if `mlops monitor` or the model's age says so."),
    ] = False,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; kept in the tags.")] = "",
    local: Annotated[
        bool, typer.Option("--local", help="Only in this clone: ask no Git remote, tell none.")
    ] = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Put back what an interrupted retraining changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Move the data clock on, run the pipeline, register what is approved, promote if allowed.

    A model that the gates or the comparison with the champion refuse ends with exit code 5, and
    the project is put back as it was; so it is where a stage fails. A run that was killed is gone
    on with by the same command.

    Example: mlops retrain --if-needed
    """
    import datetime as dt
    from dataclasses import asdict

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.core.moments import moment_of
    from mlops_cli.live import retraining as live

    layout = find()
    done: Retrained | None
    if abandon:
        done = live.abandon(layout)
    else:
        params = parameters.load(layout.params)
        today = dt.datetime.now(dt.UTC).date()
        moment = None if until is None else moment_of(until, params.ingest.until, today)
        os.environ[OUTPUT] = "none" if as_json else "brief"
        with shown("retrain", quiet=as_json) as progress:
            wanted = live.Wanted(moment, reason, if_needed, local)
            done = live.retrain(layout, wanted, progress)
    if as_json:
        drawing.draw_json(None if done is None else asdict(done))
    elif done is None:
        drawing.console().print("nothing to do: no retraining was interrupted")
    else:
        draw_retrained(done)


def draw_retrained(done: Retrained) -> None:
    """What came of a retraining, in a line or two."""
    out = drawing.console()
    colour = "green" if done.outcome in {"promoted", "registered"} else "yellow"
    what = "" if done.version is None else f" {drawing.line(done.version)}"
    out.print(f"[{colour}]{drawing.line(done.outcome)}[/{colour}]{what}: the data clock ", end="")
    moved = done.version is not None
    told = f"went from {done.was or 'none'} to {done.until}" if moved else f"stays at {done.was}"
    out.print(told, markup=False)
    if done.reason:
        out.print(f"  why: {done.reason}", markup=False)
    if done.detail:
        out.print(f"  {done.detail}", markup=False)
