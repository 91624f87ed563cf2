"""`mlops ci`: workflows for GitHub or GitLab."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlops_cli.cli import drawing

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["ci"]


def ci(
    provider: Annotated[
        Literal["github", "gitlab"], typer.Argument(help="Who runs the workflows.")
    ],
    *,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace files that are there.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> None:
    """Write workflows: pull requests, retraining, delivery.

    docs/ci.md says what each does and what can be set.

    Example: mlops ci github
    """
    from mlops_cli.cli.project import find
    from mlops_cli.store.ci import LOCK, write

    root = find().root
    written = write(root, provider, force=force)
    if as_json:
        drawing.draw_json({"provider": provider, "written": written})
    else:
        _draw(written, locked=(root / LOCK).is_file())


def _draw(written: Iterable[str], *, locked: bool) -> None:
    from mlops_cli.store.ci import LOCK

    out = drawing.console()
    for path in written:
        out.print(f"[green]✓[/green] {path}")
    if not locked:
        out.print(f"First: write {LOCK}, which says what they install (docs/ci.md)", markup=False)
    out.print("Next: git add and commit them; a DVC remote lets the workflows have the data")
