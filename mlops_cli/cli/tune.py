"""`mlops tune`: the search, by one process or by several that share it."""

from __future__ import annotations

from typing import Annotated

import typer

from mlops_cli.cli.pipeline import Force, Json, run_stage

__all__ = ["tune"]


def tune(
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes of this machine that search together.")
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="MLOPS_TUNE_STORAGE",
            show_envvar=False,
            help="postgresql://..., for processes of several machines. With a password, put it "
            "into MLOPS_TUNE_STORAGE: others can see arguments.",
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Search model families and their settings.

    Brings the stage, and what it needs, up to date through DVC. The same command with the same
    --storage in another clone of the commit joins the search.

    Example: mlops tune --workers 4
    """
    import os

    from mlops_cli.store.shared import STORAGE, WORKERS

    if workers > 1:
        os.environ[WORKERS] = str(workers)
    if storage is not None:
        os.environ[STORAGE] = storage
    run_stage("tune", force=force, as_json=as_json)
