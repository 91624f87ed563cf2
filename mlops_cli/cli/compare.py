"""`mlops compare`: what changed between two Git revisions of the project."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import Fetch, Json
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["compare"]


def compare(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD", help="A commit, branch, tag, version or stage to compare with."
        ),
    ] = "HEAD",
    new: Annotated[
        str | None,
        typer.Argument(metavar="NEW", help="Another one; by default the workspace."),
    ] = None,
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print GitHub-flavoured Markdown.")
    ] = False,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Accept that OLD has no reports yet.")
    ] = False,
    fetch: Fetch = False,
    as_json: Json = False,
) -> None:
    """Compare metrics, parameters and data with a Git revision.

    It shows metrics with their intervals, slices that got worse, and what was changed. If the
    data are the same, both models are compared on their common test rows.

    Example: mlops compare origin/main

    Example: mlops compare v0.1.0 production
    """
    from mlops_cli.cli.output import compare_views
    from mlops_cli.cli.project import find
    from mlops_cli.errors import Usage
    from mlops_cli.registry.paired_models import compare_models

    if markdown and as_json:
        raise Usage("--markdown and --json exclude each other", "Give one of them.")
    layout = find()
    before, after = _revision(layout, old), new and _revision(layout, new)
    difference = compare_models(
        layout.root, before, after, fetch=fetch, allow_missing=allow_missing
    )
    if as_json:
        console.draw_json(compare_views.as_json(difference))
    elif markdown:
        sys.stdout.write(console.escape_controls(compare_views.as_markdown(difference)))
    else:
        compare_views.draw_difference(difference)


def _revision(layout: Layout, text: str) -> str:
    """Return a Git revision as it is, and the tag of a version or stage."""
    from mlops_cli import params as parameters
    from mlops_cli.errors import MlopsError
    from mlops_cli.project.git import Git
    from mlops_cli.registry.approvals.stage_rules import find_trusted

    if Git(layout.root).resolve(text) is not None:
        return text
    try:
        name = parameters.load(layout.params).register_.name
        return find_trusted(layout.root, name, text, console.draw_note).tag.name
    except MlopsError:
        return text  # is refused later as an unknown revision, with similar names
