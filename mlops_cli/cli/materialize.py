"""`mlops materialize`: fill the online store."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli import drawing

__all__ = ["materialize"]


def materialize(
    version: Annotated[
        str,
        typer.Argument(
            metavar="[VERSION]", help="Such as v0.2.0, latest or production; or workspace."
        ),
    ] = "production",
    history: Annotated[
        str,
        typer.Option(help="How long before the data clock requests may lie: 7d, 1mo, or all."),
    ] = "7d",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print it as JSON, and nothing else.")
    ] = False,
) -> None:
    """Fill the online store with what a version's features look up.

    It is made of data/validated, by the version's own feature program. Without MLOPS_ONLINE_URL,
    the store is .mlops/online.sqlite. A service that runs takes up what is new within a second.

    Example: mlops materialize production --history 30d
    """
    import os

    from pydantic import TypeAdapter, ValidationError

    from mlops_cli import params as parameters
    from mlops_cli.cli.progress import shown
    from mlops_cli.cli.project import find
    from mlops_cli.errors import Usage
    from mlops_cli.live.materializing import materialize as fill
    from mlops_cli.live.scoring import Scorer
    from mlops_cli.live.selecting import selected
    from mlops_cli.params.base import Duration
    from mlops_cli.store.online import open_store

    try:
        span = None if history == "all" else TypeAdapter(Duration).validate_python(history)
    except ValidationError:
        raise Usage(
            f"--history is {history!r}", "Write a number and a unit, such as 7d or 1mo, or all."
        ) from None
    layout = find()
    params = parameters.load(layout.params)
    with shown("materialize", quiet=as_json) as progress:
        choice = selected(params, layout, version, progress)
        program = Scorer.open(choice.folder, layout.root).program
        store = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online, create=True)
        try:
            done = fill(program, layout, store, span, progress)
        finally:
            store.close()
    if as_json:
        drawing.draw_json({"version": choice.label, **vars(done)})
        return
    out = drawing.console()
    total = sum(done.entries.values())
    out.print(
        f"{total:,} entries in {len(done.entries)} tables for {choice.label}, "
        f"as of {done.clock or 'now'}",
        markup=False,
    )
    if done.since is not None:
        out.print(f"they answer requests from {done.since} on", markup=False)
