"""`mlops retrain`: train on newer data, then register and promote the model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import Json, Local, Message, timestamp
from mlops_cli.cli.output import console
from mlops_cli.cli.pipeline import OUTPUT

if TYPE_CHECKING:
    from mlops_cli.retraining.retrain import RetrainResult

__all__ = ["draw_retrained", "retrain"]


def retrain(
    until: Annotated[
        str | None,
        typer.Option(
            metavar="DATE",
            help="The new data clock: a date, today or +1mo; by default up to the last complete "
            "labels.",
        ),
    ] = None,
    if_needed: Annotated[
        bool,
        typer.Option(
            "--if-needed", help="Retrain only if `mlops monitor` or the model's age is a reason."
        ),
    ] = False,
    message: Message = "",
    local: Local = False,
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Undo what an interrupted retraining changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train on newer data, then register and promote the model.

    It moves the data clock, runs the pipeline, registers the model if its gates approve, and
    promotes it if the stage's rule allows. Exit code 5 means that the gates, or the comparison with
    the champion, refuse the model. The project is then restored, as after a failed stage. After an
    interruption, the same command continues.

    Example: mlops retrain --if-needed
    """
    from dataclasses import asdict

    from mlops_cli import params as parameters
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import find
    from mlops_cli.retraining import retrain as live

    layout = find()
    result: RetrainResult | None
    if abandon:
        result = live.abandon(layout)
    else:
        params = parameters.load(layout.params)
        os.environ[OUTPUT] = "none" if as_json else "brief"
        with live_progress("retrain", quiet=as_json) as progress:
            options = live.RetrainOptions(timestamp(until, params), message, if_needed, local)
            result = live.retrain(layout, options, progress)
    if as_json:
        console.draw_json(None if result is None else asdict(result))
    elif result is None:
        console.console().print("nothing to do: no retraining was interrupted")
    else:
        draw_retrained(result)


def draw_retrained(done: RetrainResult) -> None:
    """Print the outcome of a retraining: version, data clock, reason and details."""
    out = console.console()
    colour = "green" if done.outcome in {"promoted", "registered"} else "yellow"
    label = "" if done.version is None else f" {console.line(done.version)}"
    out.print(f"[{colour}]{console.line(done.outcome)}[/{colour}]{label}: the data clock ", end="")
    moved = done.version is not None
    clock = f"went from {done.was or 'none'} to {done.until}" if moved else f"stays at {done.was}"
    out.print(clock, markup=False)
    if done.reason:
        out.print(f"  why: {done.reason}", markup=False)
    if done.detail:
        out.print(f"  {done.detail}", markup=False)
