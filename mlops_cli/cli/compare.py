"""`mlops compare`: what changed between two Git revisions of the project."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from mlops_cli.cli import drawing

__all__ = ["compare"]


def compare(
    old: Annotated[
        str, typer.Argument(metavar="[REV]", help="A commit, branch or tag to compare with.")
    ] = "HEAD",
    new: Annotated[
        str | None,
        typer.Argument(metavar="[REV2]", help="Another one; by default the workspace."),
    ] = None,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print GitHub-flavoured Markdown.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Accept that REV has no reports yet.")
    ] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Bring models and test rows that aren't here.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> None:
    """Compare metrics, parameters and data with a Git revision.

    Metrics with their intervals, slices that got worse, and what was changed. Of the same data,
    both models are compared on the test rows that they have in common.

    Example: mlops compare origin/main
    """
    from mlops_cli.cli import comparing
    from mlops_cli.cli.project import find
    from mlops_cli.errors import Usage
    from mlops_cli.live.pairing import compared

    if markdown and as_json:
        raise Usage("--markdown and --json exclude each other", "Give one of them.")
    difference = compared(find().root, old, new, fetch=fetch, allow_missing=allow_missing)
    if as_json:
        drawing.draw_json(comparing.as_json(difference))
    elif markdown:
        sys.stdout.write(drawing.visible(comparing.as_markdown(difference)))
    else:
        comparing.draw_difference(difference)
