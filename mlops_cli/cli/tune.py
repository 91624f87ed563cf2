"""`mlops tune`: search model families and settings, in one or several processes."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli.options import Force, Json
from mlops_cli.cli.pipeline import run_stage

__all__ = ["tune"]


def tune(
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=256, metavar="N", help="The number of search processes on this machine."
        ),
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="MLOPS_TUNE_STORAGE",
            show_envvar=False,
            help="postgresql://..., for a search by several machines. Put a URL with a password "
            "into MLOPS_TUNE_STORAGE, as others can see arguments.",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Search model families and their settings.

    DVC brings the stage, and what it needs, up to date. The same command with the same --storage
    in another clone of the commit joins the search.

    Example: mlops tune --workers 4
    """
    import os

    from mlops_cli.training.search.shared_study import STORAGE_VARIABLE, WORKERS_VARIABLE

    if workers > 1:
        os.environ[WORKERS_VARIABLE] = str(workers)
    if storage is not None:
        os.environ[STORAGE_VARIABLE] = storage
    run_stage("tune", force=force, as_json=as_json)
