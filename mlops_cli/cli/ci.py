"""`mlops ci`: write CI workflows for GitHub or GitLab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops_cli.cli.options import Json, Overwrite
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ci"]


def ci(
    provider: Annotated[
        Literal["github", "gitlab"],
        typer.Argument(metavar="PROVIDER", help="Who runs the workflows: github or gitlab."),
    ],
    *,
    force: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write the workflows of a project for GitHub or GitLab.

    They check pull requests, retrain on a schedule and deliver what is promoted; docs/ci.md
    describes them.

    Example: mlops ci github
    """
    from mlops_cli.cli.project import find
    from mlops_cli.scaffold.ci import LOCK, write

    root = find().root
    written = write(root, provider, force=force)
    if as_json:
        console.draw_json({"provider": provider, "written": written})
    else:
        _draw(written, locked=(root / LOCK).is_file())


def _draw(written: Iterable[str], *, locked: bool) -> None:
    from mlops_cli.scaffold.ci import LOCK

    out = console.console()
    for path in written:
        out.print(f"[green]✓[/green] {path}")
    if not locked:
        out.print(f"First: write {LOCK}, which says what they install (docs/ci.md)", markup=False)
    out.print("Next: git add and commit them; a DVC remote lets the workflows have the data")
