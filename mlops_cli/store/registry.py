"""The registry: tags read from Git, and written so that a change happens wholly or not at all.

A tag is made as an object first, which nobody sees. Where there is a remote, it is offered there
next: the remote takes a reference that doesn't exist yet, or refuses, so of two people one wins.
Only then it becomes a reference here. A run that is killed has changed nothing, or all that
others see; the same command run again brings the rest about.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.core.versions import Registry, Tag
from mlops_cli.errors import Busy, NotProject, SourceUnreadable
from mlops_cli.store.git import Git, GitFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Outdated", "RefChange", "apply", "fetch", "new_tag", "read", "tags", "trailers"]

_FIELDS = (
    "%(refname:strip=2)%00%(objecttype)%00%(objectname)%00%(*objectname)%00"
    "%(creatordate:unix)%00%(taggername) %(taggeremail)%00%(contents)"
)
_NONE = "0" * 40
_STALE = 10
"""Seconds after which a reference's lock file is of a Git that was killed."""


class Outdated(Busy):
    """The remote already has what was to be made, or more than is known here."""


@dataclass(frozen=True)
class RefChange:
    """One reference to be set: a new tag (``old`` None) or a branch that moves on."""

    ref: str
    new: str
    old: str | None = None


def read(root: Path, name: str) -> Registry:
    """The registry of one model, from the tags of this clone.

    Raises
    ------
    NotProject
        If the folder is not under Git.
    """
    return Registry.of(name, tags(Git(root), name))


def tags(git: Git, name: str) -> list[Tag]:
    """All tags that begin with the model's name, from one Git process."""
    try:
        listed = git.run(
            "for-each-ref",
            f"--format={_FIELDS}%00%01",
            f"refs/tags/{name}*",
            f"refs/tags/{name}/**",
        )
    except GitFailed as error:
        if "not a git repository" in error.said:
            raise NotProject(f"{git.root} is not under Git", "Run `git init` there.") from None
        raise
    return [_tag(entry.lstrip("\n")) for entry in listed.split("\0\1") if entry.strip()]


def _tag(entry: str) -> Tag:
    name, kind, own, pointed_at, at, who, message = entry.split("\0", 6)
    annotated = kind == "tag"
    return Tag(
        name,
        pointed_at if annotated else own,
        datetime.fromtimestamp(int(at), UTC),
        who.strip(),
        message.strip() if annotated else "",
        annotated,
    )


def fetch(git: Git, remote: str | None) -> None:
    """Bring the remote's branches and tags here; nothing of this clone's is moved.

    Raises
    ------
    SourceUnreadable
        If the remote cannot be reached.
    """
    if remote is None:
        return
    try:
        git.run("fetch", "--quiet", "--tags", remote)
    except GitFailed as error:
        said = " ".join(error.said.split())
        if "would clobber existing tag" in said:
            raise NotProject(
                f"tags here and on {remote} differ: {said}",
                "One of both was moved by hand; delete the wrong one here (git tag -d TAG).",
            ) from None
        if "cannot lock ref" in said:  # another fetch of this clone has just brought it
            return
        raise SourceUnreadable(
            f"the Git remote {remote!r} cannot be reached: {said}",
            "Try again later, or keep it in this clone with --local.",
        ) from None


def new_tag(
    git: Git,
    tag: str,
    commit: str,
    message: str,
    *,
    after: datetime | None = None,
    sign: bool = False,
) -> RefChange:
    """Make the object of an annotated tag; it is not a reference yet.

    Parameters
    ----------
    after
        The tag is dated at least a second later: GTO orders assignments by their whole seconds.
    sign
        With the key that Git is configured for (``user.signingkey``).
    """
    moment = max(int(time.time()), int(after.timestamp()) + 1 if after else 0)
    ref = f"refs/tags/{tag}"
    if not sign:
        head = f"object {commit}\ntype commit\ntag {tag}\ntagger {git.identity()} {moment} +0000\n"
        return RefChange(ref, git.run("mktag", given=f"{head}\n{message.strip()}\n").strip())
    return RefChange(ref, _signed(git, tag, commit, message, moment))


def _signed(git: Git, tag: str, commit: str, message: str, moment: int) -> str:
    """Sign in an empty repository that shares the objects: Git signs only what it also names."""
    objects = git.root / git.run("rev-parse", "--git-path", "objects").strip()
    asked = ("user.signingkey", "gpg.format", "gpg.program", "gpg.ssh.program", "user.name")
    settings = [
        part
        for key in (*asked, "user.email", "gpg.ssh.defaultKeyCommand")
        if (value := git.ask("config", key))
        for part in ("-c", f"{key}={value}")
    ]
    git.identity()
    environment = {
        "GIT_OBJECT_DIRECTORY": str(objects.resolve()),
        "GIT_COMMITTER_DATE": f"@{moment} +0000",
    }
    with tempfile.TemporaryDirectory(prefix="mlops-signing-") as folder:
        aside = Git(Path(folder))
        aside.run("init", "--quiet", "--bare", ".")
        aside.run(
            *settings, "tag", "--sign", tag, commit, "--message", message, environment=environment
        )
        return aside.run("rev-parse", f"refs/tags/{tag}", environment=environment).strip()


def apply(git: Git, changes: Sequence[RefChange], remote: str | None) -> None:
    """Set references on the remote, then here, each side all at once.

    Raises
    ------
    Outdated
        If the remote, or this clone, has something else meanwhile; nothing was changed.
    SourceUnreadable
        If the remote cannot be reached; nothing was changed.
    """
    if remote is not None:
        _push(git, changes, remote)
    script = "".join(
        f"update {c.ref} {c.new} {c.old or _NONE}\n" for c in changes if not _is_set(git, c)
    )
    for last in (False, True):
        try:
            git.run("update-ref", "--stdin", given=f"start\n{script}prepare\ncommit\n")
        except GitFailed as error:
            if not last and ".lock'" in error.said and _unlocked(git, changes):
                continue
            raise Outdated(
                f"another command changed {changes[0].ref} in this clone at the same moment",
                "Look at `mlops models`, then run again.",
            ) from None
        return


def _push(git: Git, changes: Sequence[RefChange], remote: str) -> None:
    specs = [f"{c.new}:{c.ref}" for c in changes]
    try:
        git.run("push", "--quiet", "--atomic", remote, *specs)
    except GitFailed as error:
        said = " ".join(error.said.split())
        if any(
            sign in said
            for sign in ("rejected", "already exists", "cannot lock ref", "failed to update ref")
        ):
            raise Outdated(
                f"{remote} was changed by somebody else meanwhile, so nothing was done",
                "Look at `mlops models`, then run again.",
            ) from error
        raise SourceUnreadable(
            f"the Git remote {remote!r} did not take it: {said}",
            "Try again later, or keep it in this clone with --local.",
        ) from None


def _is_set(git: Git, change: RefChange) -> bool:
    return git.ask("rev-parse", "--verify", "--quiet", change.ref) == change.new


def _unlocked(git: Git, changes: Sequence[RefChange]) -> bool:
    """Remove lock files of these references that a killed Git has left behind."""
    common = git.ask("rev-parse", "--git-common-dir")
    found = False
    for change in changes:
        lock = git.root / (common or ".git") / f"{change.ref}.lock"
        if lock.is_file() and time.time() - lock.stat().st_mtime > _STALE:
            lock.unlink(missing_ok=True)
            found = True
    return found


def trailers(facts: Mapping[str, object]) -> str:
    """``Key: value`` lines for a tag's message; what is None is left out."""
    return "\n".join(f"{key}: {value}" for key, value in facts.items() if value is not None)
