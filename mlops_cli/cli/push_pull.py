"""`mlops push` and `mlops pull`: exchange data, branch and registry tags with the remotes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mlops_cli.cli.options import Json, Remote
from mlops_cli.cli.output import console

if TYPE_CHECKING:
    from mlops_cli.registry.sync.push_pull import Transferred

__all__ = ["pull", "push"]

_MAX_NAMES = 5
"""Maximum number of names in a line."""


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
        result = send(layout.root, params.register_.name, remote, progress)
    _draw_result("pushed", "to", result, as_json=as_json)


def pull(
    rebase: Annotated[
        bool,
        typer.Option(
            "--rebase",
            help="Rebase your edits and commits, and drop generated files.",
        ),
    ] = False,
    prefer: Annotated[
        str | None,
        typer.Option(
            "--prefer",
            metavar="mine|theirs",
            help="With --rebase: whose lines to keep if both sides changed them.",
        ),
    ] = None,
    remote: Remote = None,
    as_json: Json = False,
) -> None:
    """Fetch branch, registry tags and data from the remotes.

    The branch is only fast-forwarded. Nothing changes if it has diverged, or if files that only you
    have would be overwritten.

    With --rebase, your edits (params.yaml, code, staged changes) and your commits are put on top of
    the remote's commits, for example if somebody else has registered a model first. dvc.lock,
    reports and models/registration.json are taken from the remote: the next run writes them again.
    The state before stays in refs/mlops/before-pull (git stash apply REF).

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
            result = pull_rebased(layout.root, params.register_.name, remote, prefer, progress)  # type: ignore[arg-type]
        else:
            result = bring(layout.root, params.register_.name, remote, progress)
    _draw_result("pulled", "from", result, as_json=as_json)


def _draw_result(verb: str, direction: str, result: Transferred, *, as_json: bool) -> None:
    if as_json:
        console.draw_json(vars(result))
        return
    out = console.console()
    parts = []
    if result.files:
        parts.append(
            f"{result.files} files of data ({_format_size(result.bytes)}) {direction} {result.data}"
        )
    if result.branch:
        parts.append(f"{result.branch} {direction} {result.git}")
    if result.tags:
        tags = f"{len(result.tags)} tag{'s' if result.tags[1:] else ''}"
        parts.append(f"{tags} {direction} {result.git}: {', '.join(result.tags)}")
    for part in parts:
        out.print(f"{verb} {part}", markup=False)
    if not parts:
        out.print("nothing to do: all is there already")
    for part in _own_work(result):
        out.print(part, markup=False)
    if result.missing:
        names = ", ".join(result.missing[:5]) + (", ..." if result.missing[5:] else "")
        out.print(
            f"  ! {len(result.missing)} files or folders of data aren't available: {names}; "
            "`mlops run` writes the outputs of stages again",
            markup=False,
        )


def _own_work(result: Transferred) -> list[str]:
    """Say what happened to own edits and commits, in a sentence each."""
    lines = []
    if result.commits:
        lines.append(
            f"rebased: {result.commits} commit{'s' if result.commits > 1 else ''} of yours"
        )
    if result.kept:
        lines.append(f"your edits are kept: {_list_names(result.kept)}")
    if result.decided:
        lines.append(f"  ! both sides had changed the same lines: {_list_names(result.decided)}")
    if result.dropped:
        lines.append(f"dropped, as the pipeline makes it: {_list_names(result.dropped)}")
    if result.commits or result.kept or result.dropped:
        lines.append("next: mlops run, or mlops register")
    return lines


def _list_names(names: tuple[str, ...]) -> str:
    return ", ".join(names[:_MAX_NAMES]) + (
        f" and {len(names) - _MAX_NAMES} more" if names[_MAX_NAMES:] else ""
    )


def _format_size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"  # noqa: PLR2004
