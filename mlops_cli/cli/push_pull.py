"""`mlops push` and `mlops pull`: data, branch and registry tags, to and from the remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import Json, Remote
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.registry.sync.push_pull import Transferred

__all__ = ["pull", "push"]

_NAMES = 5
"""Names of a list that a line shows."""


def push(remote: Remote = None, as_json: Json = False) -> None:
    """Send data, branch and registry tags to the remotes.

    The data go to the DVC remote first; then branch and tags go to the Git remote.

    Example: mlops push
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.registry.sync.push_pull import push as send

    layout, params = open_project()
    with live_progress("push", quiet=as_json) as progress:
        moved = send(layout.root, params.register_.name, remote, progress)
    _draw_moved("pushed", "to", moved, as_json=as_json)


def pull(
    rebase: Annotated[
        bool,
        typer.Option(
            "--rebase",
            help="Put your edits and commits on top, and drop what the pipeline made.",
        ),
    ] = False,
    prefer: Annotated[
        str | None,
        typer.Option(
            "--prefer",
            metavar="mine|theirs",
            help="With --rebase: whose lines count where both sides changed them.",
        ),
    ] = None,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Fetch branch, registry tags and data from the remotes.

    The branch only moves forward. Nothing changes where it has diverged, or where files that only
    you have would be overwritten.

    With --rebase, your edits (params.yaml, code, what is staged) and your commits come on top of
    what the remote has, as where somebody else has registered a model first. dvc.lock, reports and
    models/registration.json are taken from the remote: the next run makes them anew. What was here
    before stays in refs/mlops/before-pull (git stash apply REF).

    Example: mlops pull --rebase
    """
    from mlops_cli.cli.output.progress import live_progress
    from mlops_cli.cli.project import open_project
    from mlops_cli.errors import Usage
    from mlops_cli.registry.sync.push_pull import pull as bring
    from mlops_cli.registry.sync.push_pull import pull_rebased

    if prefer is not None and (not rebase or prefer not in {"mine", "theirs"}):
        raise Usage(
            f"--prefer {prefer} is not one of mine and theirs, with --rebase",
            "mlops pull --rebase --prefer mine",
        )
    layout, params = open_project()
    with live_progress("pull", quiet=as_json) as progress:
        if rebase:
            moved = pull_rebased(layout.root, params.register_.name, remote, prefer, progress)  # type: ignore[arg-type]
        else:
            moved = bring(layout.root, params.register_.name, remote, progress)
    _draw_moved("pulled", "from", moved, as_json=as_json)


def _draw_moved(did: str, way: str, moved: Transferred, *, as_json: bool) -> None:
    if as_json:
        console.draw_json(vars(moved))
        return
    out = console.console()
    parts = []
    if moved.files:
        parts.append(f"{moved.files} files of data ({_size(moved.bytes)}) {way} {moved.data}")
    if moved.branch:
        parts.append(f"{moved.branch} {way} {moved.git}")
    if moved.tags:
        tags = f"{len(moved.tags)} tag{'s' if moved.tags[1:] else ''}"
        parts.append(f"{tags} {way} {moved.git}: {', '.join(moved.tags)}")
    for part in parts:
        out.print(f"{did} {part}", markup=False)
    if not parts:
        out.print("nothing to do: all is there already")
    for part in _own_work(moved):
        out.print(part, markup=False)
    if moved.missing:
        some = ", ".join(moved.missing[:5]) + (", ..." if moved.missing[5:] else "")
        out.print(
            f"  ! {len(moved.missing)} files or folders of data are nowhere to be had: {some}; "
            "`mlops run` makes what a stage makes",
            markup=False,
        )


def _own_work(moved: Transferred) -> list[str]:
    """What became of one's own edits and commits, a sentence each."""
    told = []
    if moved.commits:
        told.append(
            f"on top of it: {moved.commits} commit{'s' if moved.commits > 1 else ''} of yours"
        )
    if moved.kept:
        told.append(f"your edits are kept: {_some(moved.kept)}")
    if moved.decided:
        told.append(f"  ! both sides had changed the same lines: {_some(moved.decided)}")
    if moved.dropped:
        told.append(f"dropped, as the pipeline makes it: {_some(moved.dropped)}")
    if moved.commits or moved.kept or moved.dropped:
        told.append("next: mlops run, or mlops register")
    return told


def _some(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_NAMES]) + (
        f" and {len(names) - _NAMES} more" if names[_NAMES:] else ""
    )


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"  # noqa: PLR2004
