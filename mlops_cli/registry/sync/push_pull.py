"""Data and registry to and from where a team keeps them: a DVC remote and a Git remote.

Data goes first and Git last, so that whoever sees a tag finds its bundle.
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
    """What went from here to there, or from there to here.

    Attributes
    ----------
    files, bytes
        Of data.
    data, git
        The remotes' names; ``data`` is empty where none had to be asked.
    tags
        Names of the registry's tags.
    branch
        Such as ``main: 1a2b3c4..5d6e7f8``; None if it was up to date.
    missing
        Data of the commit that is nowhere to be had.
    commits
        Own commits that were put on top of the remote's.
    kept, dropped, decided
        Files: with edits of one's own; of the pipeline, given up here; both sides changed in the
        same place.
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

    Data are those of HEAD and of versions that the Git remote doesn't have yet, bundles those of
    every version: so whoever sees a tag can verify its version, and data that were removed from
    the remote since don't come back.

    Parameters
    ----------
    name
        The model's name: its tags go.
    remote
        The DVC remote; by default the default one.

    Raises
    ------
    NotFound
        If there is no Git or DVC remote, or a version's bundle is nowhere.
    NotProject
        If the Git remote has what is not here; nothing was sent.
    DataRefused
        If an object in the cache was changed.
    SourceUnreadable
        If a remote cannot be reached.
    """
    progress = progress or Silent()
    git = Git(root)
    to = git_remote(git)
    specs = _specs(git, name)
    progress.update("asking Git")
    planned = {ref for ref, _ in _git_push(git, to, specs, "--dry-run")}
    versions = read(root, name).versions
    bundles = _bundles(root, versions)
    new = _data(root, [v for v in versions if f"{_TAGS}{v.tag.name}" in planned])
    sent = upload(root, bundles, remote, progress, new)
    if lost := sorted(name for md5, name in sent.missing.items() if md5 in bundles):
        raise NotFound(
            f"neither DVC's cache nor the remote {sent.remote!r} has {', '.join(lost[:_SHOWN])}, "
            "so no tag was published",
            "Push from the clone that registered it, or delete its tag (git tag -d TAG).",
        )
    progress.update("pushing branch and tags")
    moved = _git_push(git, to, specs)
    heads = [f"{ref.removeprefix(_HEADS)}: {how}" for ref, how in moved if ref.startswith(_HEADS)]
    return Transferred(
        files=sent.files,
        bytes=sent.bytes,
        data=sent.remote,
        git=to,
        tags=tuple(ref.removeprefix(_TAGS) for ref, _ in moved if ref.startswith(_TAGS)),
        branch=heads[0] if heads else None,
        missing=tuple(sorted(sent.missing.values())),
    )


def pull(
    root: Path, name: str, remote: str | None = None, progress: Progress | None = None
) -> Transferred:
    """Bring tags, branch (fast-forward only) and the data of its commit here.

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
    return _brought(git, name, source, remote, plan_fast_forward(git, source), progress or Silent())


def pull_rebased(
    root: Path,
    name: str,
    remote: str | None = None,
    prefer: Prefer | None = None,
    progress: Progress | None = None,
) -> Transferred:
    """Bring everything here as ``pull``, with own edits and commits on top of what came.

    Parameters
    ----------
    prefer
        Whose lines count where both sides changed the same ones; None: that is refused.

    Raises
    ------
    Busy
        If a run is at work here.
    NotFound, NotProject, SourceUnreadable
        As for ``pull``; nothing was changed.
    """
    progress = progress or Silent()
    layout, git = Layout(root), Git(root)
    with lock(layout.work / "run.lock", f"the project {root.name}"):
        source = git_remote(git)
        progress.update("asking Git")
        update = plan_rebase(layout, git, source, prefer)
        moved = _brought(git, name, source, remote, update, progress)
    return replace(
        moved,
        commits=update.commits,
        kept=update.kept,
        dropped=update.dropped,
        decided=update.decided,
    )


def _brought(
    git: Git,
    name: str,
    source: str,
    remote: str | None,
    update: FastForward | RebasedWork,
    progress: Progress,
) -> Transferred:
    """Bring data and tags here, then put the branch in its new place."""
    root = git.root
    lock = lock_at(root, update.target)
    data = {} if lock is None else {md5: path for path, md5 in lock.data.items()}
    sizes = {} if lock is None else lock.sizes
    brought = RemoteObjects(root, remote, progress).bring(data, sizes)
    if brought.missing and not brought.tried:
        raise brought.refusal("the data of the branch")
    before = {tag.name for tag in tags(git, name)}
    fetch(git, source)
    progress.update("putting data in place")
    lacking = update.apply()
    return Transferred(
        files=brought.files,
        bytes=brought.bytes,
        data=", ".join(brought.tried),
        git=source,
        tags=tuple(sorted({tag.name for tag in tags(git, name)} - before)),
        branch=update.said,
        missing=tuple(lacking),
    )


def _bundles(root: Path, versions: Iterable[Version]) -> dict[str, str]:
    """MD5 -> name of the bundles of versions."""
    found = {}
    for version in versions:
        try:
            found[bundle_md5(root, version)] = f"the bundle of {version.label}"
        except MlopsError as error:
            raise NotProject(
                f"{error.message}, so it is not published",
                f"Delete the tag (git tag -d {version.tag.name}), then push again.",
            ) from None
    return found


def _data(root: Path, versions: Iterable[Version]) -> dict[str, str]:
    """MD5 -> path of all data of versions, so that each of them can be verified."""
    locks = (lock_at(root, version.commit) for version in versions)
    return {md5: path for lock in locks if lock for path, md5 in lock.data.items()}


def _specs(git: Git, name: str) -> list[str]:
    """What goes: the branch, if HEAD is on one, and all tags of the model."""
    branch = git.branch()
    if git.resolve("HEAD") is None:
        raise NotProject("there is no commit to push", "Commit the project first.")
    # Explicit names: a pattern would also take the tags of a model whose name begins the same.
    names = [tag.name for tag in tags(git, name)]
    specs = [f"{_TAGS}{tag}:{_TAGS}{tag}" for tag in names]
    return ([f"{_HEADS}{branch}:{_HEADS}{branch}"] if branch else []) + specs


def _git_push(git: Git, remote: str, specs: list[str], *options: str) -> list[tuple[str, str]]:
    """Push all or nothing; give (reference, how) of what moved."""
    if not specs:
        return []
    try:
        said = git.run("push", "--atomic", "--porcelain", *options, remote, *specs)
    except GitFailed:
        raise _refused(git, remote, specs) from None
    # A line: a sign, then from:to, then what was done, with tabs between.
    lines = [line.split("\t") for line in said.splitlines() if line.count("\t") > 1]
    return [
        (reference.partition(":")[2], how.strip("[] "))
        for sign, reference, how in lines
        if sign.strip() != "="
    ]


def _refused(git: Git, remote: str, specs: list[str]) -> MlopsError:
    """Why Git refuses, asked again without --porcelain: its reasons are then on stderr."""
    try:
        git.run("push", "--atomic", "--dry-run", remote, *specs)
    except GitFailed as error:
        said = [" ".join(line.split()) for line in error.said.splitlines()]
        rejected = [line.removeprefix("! [rejected] ") for line in said if "[rejected]" in line]
        if rejected:
            return NotProject(
                f"{remote} has what is not here, so nothing was pushed: {'; '.join(rejected[:3])}",
                "Bring it here with `mlops pull`; a tag that differs was moved by hand.",
            )
        return SourceUnreadable(
            f"the Git remote {remote!r} cannot be reached: {' '.join(said)[:300]}",
            f"See that its address is right: git remote get-url {remote}",
        )
    return NotProject(
        f"{remote} did not take branch and tags; the data is there already",
        "It may have changed meanwhile, or a rule there forbids it: `mlops pull`, then push again.",
    )
