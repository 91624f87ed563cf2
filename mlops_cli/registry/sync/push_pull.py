"""Push and pull: data by a DVC remote, tags and branches by a Git remote.

Data is sent first and Git references last, so that a published tag always has its bundle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.errors import MlopsError, NotFound, NotProject, SourceUnreadable
from mlops_cli.layout import Layout
from mlops_cli.project.dvc_lock import lock_at
from mlops_cli.project.dvc_push import upload
from mlops_cli.project.git import Git, GitFailed
from mlops_cli.project.locks import lock
from mlops_cli.project.merge import Prefer
from mlops_cli.project.remote_objects import RemoteObjects
from mlops_cli.project.switch import refuse_half_pulled
from mlops_cli.registry.fetch_bundle import bundle_md5
from mlops_cli.registry.git_tags import fetch, read
from mlops_cli.registry.sync.fast_forward import FastForward, git_remote, plan_fast_forward
from mlops_cli.registry.sync.rebase import RebasedWork, plan_rebase
from mlops_cli.registry.tag_objects import tags
from mlops_cli.reporting import Progress, Silent

if TYPE_CHECKING:
    from mlops_cli.registry.versions import Version

__all__ = ["Transferred", "pull", "pull_rebased", "push"]

_SHOWN = 5
_HEADS, _TAGS = "refs/heads/", "refs/tags/"


@dataclass(frozen=True)
class Transferred:
    """Result of a push or a pull.

    Attributes
    ----------
    files, bytes
        Amount of data.
    data, git
        Names of the remotes; ``data`` is empty if no DVC remote was needed.
    tags
        Names of the registry's tags.
    branch
        Such as ``main: 1a2b3c4..5d6e7f8``; None if it was up to date.
    missing
        Data of the commit that is neither here nor on a remote.
    commits
        Number of own commits that were rebased onto the remote's.
    kept, dropped, decided
        Files with own edits; generated files whose local content was dropped; files that both
        sides changed in the same place.
    """

    files: int
    bytes: int
    data: str
    git: str
    tags: tuple[str, ...]
    branch: str | None
    missing: tuple[str, ...] = ()
    commits: int = 0
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()


def push(
    root: Path, name: str, remote: str | None = None, progress: Progress | None = None
) -> Transferred:
    """Send data and bundles, then the branch and the tags.

    It sends the data of HEAD and of versions that the Git remote doesn't have yet, and the bundles
    of every version. So a version can be verified as soon as its tag is published, and data that
    were deleted from the remote don't come back.

    Parameters
    ----------
    name
        The name of the model whose tags are pushed.
    remote
        The DVC remote; by default DVC's default remote.

    Raises
    ------
    NotFound
        If there is no Git or DVC remote, or if neither cache nor remote has a version's bundle.
    NotProject
        If the Git remote has commits or tags that are not here; nothing was sent.
    DataRefused
        If an object in the cache was changed.
    SourceUnreadable
        If a remote cannot be reached.
    """
    progress = progress or Silent()
    git = Git(root)
    git_name = git_remote(git)
    specs = _refspecs(git, name)
    progress.update("asking Git")
    new_refs = {ref for ref, _ in _git_push(git, git_name, specs, "--dry-run")}
    versions = read(root, name).versions
    bundles = _bundles(root, versions)
    data = _data(root, [v for v in versions if f"{_TAGS}{v.tag.name}" in new_refs])
    result = upload(root, bundles, remote, progress, data)
    if absent := sorted(name for md5, name in result.missing.items() if md5 in bundles):
        raise NotFound(
            f"neither DVC's cache nor the remote {result.remote!r} has "
            f"{', '.join(absent[:_SHOWN])}, so no tag was published",
            "Push from the clone that registered it, or delete its tag (git tag -d TAG).",
        )
    progress.update("pushing branch and tags")
    moves = _git_push(git, git_name, specs)
    heads = [f"{ref.removeprefix(_HEADS)}: {how}" for ref, how in moves if ref.startswith(_HEADS)]
    return Transferred(
        files=result.files,
        bytes=result.bytes,
        data=result.remote,
        git=git_name,
        tags=tuple(ref.removeprefix(_TAGS) for ref, _ in moves if ref.startswith(_TAGS)),
        branch=heads[0] if heads else None,
        missing=tuple(sorted(result.missing.values())),
    )


def pull(
    root: Path, name: str, remote: str | None = None, progress: Progress | None = None
) -> Transferred:
    """Fetch tags, branch (fast-forward only) and the data of its commit.

    Raises
    ------
    NotFound
        If there is no Git remote, or no DVC remote while data is missing.
    NotProject
        If the branch has diverged, HEAD is detached, or files here would be overwritten;
        nothing was changed.
    SourceUnreadable
        If a remote cannot be reached.
    """
    refuse_half_pulled(root)
    git = Git(root)
    source = git_remote(git)
    (progress or Silent()).update("asking Git")
    return _fetch_and_apply(
        git, name, source, remote, plan_fast_forward(git, source), progress or Silent()
    )


def pull_rebased(
    root: Path,
    name: str,
    remote: str | None = None,
    prefer: Prefer | None = None,
    progress: Progress | None = None,
) -> Transferred:
    """Pull as ``pull`` does, but rebase own edits and commits onto the remote's branch.

    Parameters
    ----------
    prefer
        Whose lines to keep where both sides changed the same ones; None: that is an error.

    Raises
    ------
    Busy
        If a run of this project is in progress.
    NotFound, NotProject, SourceUnreadable
        As for ``pull``; nothing was changed.
    """
    progress = progress or Silent()
    layout, git = Layout(root), Git(root)
    with lock(layout.work / "run.lock", f"the project {root.name}"):
        source = git_remote(git)
        progress.update("asking Git")
        update = plan_rebase(layout, git, source, prefer)
        result = _fetch_and_apply(git, name, source, remote, update, progress)
    return replace(
        result,
        commits=update.commits,
        kept=update.kept,
        dropped=update.dropped,
        decided=update.decided,
    )


def _fetch_and_apply(
    git: Git,
    name: str,
    source: str,
    remote: str | None,
    update: FastForward | RebasedWork,
    progress: Progress,
) -> Transferred:
    """Fetch data and tags, then move the branch."""
    root = git.root
    dvc_lock = lock_at(root, update.target)
    data = {} if dvc_lock is None else {md5: path for path, md5 in dvc_lock.dvc_hashes.items()}
    sizes = {} if dvc_lock is None else dvc_lock.sizes
    transfer = RemoteObjects(root, remote, progress).fetch(data, sizes)
    if transfer.missing and not transfer.tried_remotes:
        raise transfer.missing_error("the data of the branch")
    old_tags = {tag.name for tag in tags(git, name)}
    fetch(git, source)
    progress.update("putting data in place")
    missing = update.apply()
    return Transferred(
        files=transfer.files,
        bytes=transfer.bytes,
        data=", ".join(transfer.tried_remotes),
        git=source,
        tags=tuple(sorted({tag.name for tag in tags(git, name)} - old_tags)),
        branch=update.branch_update,
        missing=tuple(missing),
    )


def _bundles(root: Path, versions: Iterable[Version]) -> dict[str, str]:
    """MD5 -> description of each version's bundle."""
    bundles = {}
    for version in versions:
        try:
            bundles[bundle_md5(root, version)] = f"the bundle of {version.label}"
        except MlopsError as error:
            raise NotProject(
                f"{error.message}, so it is not published",
                f"Delete the tag (git tag -d {version.tag.name}), then push again.",
            ) from None
    return bundles


def _data(root: Path, versions: Iterable[Version]) -> dict[str, str]:
    """MD5 -> path of all data that verifying the versions needs."""
    locks = (lock_at(root, version.commit) for version in versions)
    return {md5: path for lock in locks if lock for path, md5 in lock.dvc_hashes.items()}


def _refspecs(git: Git, name: str) -> list[str]:
    """Refspecs to push: the branch, if HEAD is on one, and all tags of the model."""
    branch = git.branch()
    if git.resolve("HEAD") is None:
        raise NotProject("there is no commit to push", "Commit the project first.")
    # Explicit names: a pattern would also take the tags of a model whose name begins the same.
    names = [tag.name for tag in tags(git, name)]
    specs = [f"{_TAGS}{tag}:{_TAGS}{tag}" for tag in names]
    return ([f"{_HEADS}{branch}:{_HEADS}{branch}"] if branch else []) + specs


def _git_push(git: Git, remote: str, specs: list[str], *options: str) -> list[tuple[str, str]]:
    """Push all or nothing; return (reference, how) of each update."""
    if not specs:
        return []
    try:
        output = git.run("push", "--atomic", "--porcelain", *options, remote, *specs)
    except GitFailed:
        raise _push_error(git, remote, specs) from None
    # A line has a flag, from:to, and what was done, with tabs between.
    lines = [line.split("\t") for line in output.splitlines() if line.count("\t") > 1]
    return [
        (reference.partition(":")[2], how.strip("[] "))
        for flag, reference, how in lines
        if flag.strip() != "="
    ]


def _push_error(git: Git, remote: str, specs: list[str]) -> MlopsError:
    """Find why Git rejects a push, by a dry run without --porcelain: its reasons are on stderr."""
    try:
        git.run("push", "--atomic", "--dry-run", remote, *specs)
    except GitFailed as error:
        lines = [" ".join(line.split()) for line in error.stderr.splitlines()]
        rejected = [line.removeprefix("! [rejected] ") for line in lines if "[rejected]" in line]
        if rejected:
            return NotProject(
                f"{remote} has what is not here, so nothing was pushed: {'; '.join(rejected[:3])}",
                "Bring it here with `mlops pull`; a tag that differs was moved by hand.",
            )
        return SourceUnreadable(
            f"the Git remote {remote!r} cannot be reached: {' '.join(lines)[:300]}",
            f"See that its address is right: git remote get-url {remote}",
        )
    return NotProject(
        f"{remote} did not take branch and tags; the data is there already",
        "It may have changed meanwhile, or a rule there forbids it: `mlops pull`, then push again.",
    )
