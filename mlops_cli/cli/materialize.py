"""`mlops materialize`: fill the online store with the values that features look up."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli.options import Json, ModelArgument, require_duration
from mlops_cli.cli.output import console

__all__ = ["materialize"]


def materialize(
    version: ModelArgument = "production",
    history: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="How long before the data clock a request's time may be: 7d, 1mo, or all.",
        ),
    ] = "7d",
    as_json: Json = False,
) -> None:
    """Fill the online store with the values that features look up.

    The values come from data/validated, by the version's own feature program. Without
    MLOPS_ONLINE_URL, the store is .mlops/online.sqlite. A running service uses them within a
    second.

    Example: mlops materialize production --history 30d
    """
    import os

    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.online.materialize import materialize as fill
    from mlops_cli.online.store import open_store
    from mlops_cli.registry.select_version import select_model
    from mlops_cli.serving.scorer import RequestScorer

    span = None if history == "all" else history
    require_duration("--history", span)
    layout, params = open_project()
    with live_progress("materialize", quiet=as_json) as progress:
        model = select_model(params, layout, version, progress)
        program = RequestScorer.open(model.folder, layout.root).program
        store = open_store(os.environ.get("MLOPS_ONLINE_URL"), layout.online, create=True)
        try:
            result = fill(program, layout, store, span, progress)
        finally:
            store.close()
    if as_json:
        console.draw_json({"version": model.label, **vars(result)})
        return
    out = console.console()
    total = sum(result.entries.values())
    out.print(
        f"{total:,} entries in {len(result.entries)} tables for {model.label}, "
        f"as of {result.clock or 'now'}",
        markup=False,
    )
    if result.since is not None:
        out.print(f"valid for requests from {result.since} on", markup=False)
