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
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> None:
    """Compare metrics, parameters and data with a Git revision.

    Metrics with their intervals, slices that got worse, and what was changed.

    Example: mlops compare origin/main
    """
    from mlops_cli.cli import comparing
    from mlops_cli.cli.project import find
    from mlops_cli.core import comparing as core
    from mlops_cli.errors import Usage
    from mlops_cli.store.revisions import facts_at

    if markdown and as_json:
        raise Usage("--markdown and --json exclude each other", "Give one of them.")
    root = find().root
    before = facts_at(root, old, allow_missing=allow_missing)
    difference = core.compare(before, facts_at(root, new))
    if as_json:
        drawing.draw_json(comparing.as_json(difference))
    elif markdown:
        sys.stdout.write(drawing.visible(comparing.as_markdown(difference)))
    else:
        comparing.draw_difference(difference)
