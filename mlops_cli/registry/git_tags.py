"""The registry: tags read from Git, and written so that a change happens wholly or not at all.

A tag is made as an object first, which nobody sees. Where there is a remote, it is offered there
next: the remote takes a reference that doesn't exist yet, or refuses, so of two people one wins.
Only then it becomes a reference here. A run that is killed has changed nothing, or all that
others see; the same command run again brings the rest about.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.errors import Busy, NotProject, SourceUnreadable
from mlops_cli.project.branches import remember_default
from mlops_cli.project.git import Git, GitFailed
from mlops_cli.project.signing import signs_by_default, unsigned
from mlops_cli.registry.tag_objects import split_signature, tags
from mlops_cli.registry.versions import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["OutdatedTags", "RefChange", "apply", "fetch", "new_tag", "read", "trailers"]

_NONE = "0" * 40
_DAY = 86_400
_SIGNING = (
    "user.name",
    "user.email",
    "user.signingkey",
    "gpg.format",
    "gpg.program",
    "gpg.openpgp.program",
    "gpg.x509.program",
    "gpg.ssh.program",
    "gpg.ssh.defaultKeyCommand",
)
"""Git's settings by which it signs."""
_SAID = 200
"""Characters of what a hook wrote that are shown."""
_OVERTAKEN = ("exist", "lock ref", "to lock", "update ref", "fast-forward", "old value", "atomic")
"""In Git's reasons where the remote has something else meanwhile."""
_STALE = 10
"""Seconds after which a reference's lock file is of a Git that was killed."""


class OutdatedTags(Busy):
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
        remember_default(git, remote)
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
        With the key that Git is configured for (``user.signingkey``); also where Git is set to
        sign every tag (``tag.gpgsign``).
    """
    now = int(time.time())
    # Not later than tomorrow: a date far off must not be passed on from tag to tag.
    moment = max(now, min(int(after.timestamp()) + 1, now + _DAY) if after else 0)
    ref = f"refs/tags/{tag}"
    if not (sign or signs_by_default(git, "tag")):
        head = f"object {commit}\ntype commit\ntag {tag}\ntagger {git.identity()} {moment} +0000\n"
        return RefChange(ref, git.run("mktag", given=f"{head}\n{message.strip()}\n").strip())
    return RefChange(ref, _signed(git, tag, commit, message, moment))


def _signed(git: Git, tag: str, commit: str, message: str, moment: int) -> str:
    """Sign in an empty repository that shares the objects: Git signs only what it also names."""
    objects = git.root / git.run("rev-parse", "--git-path", "objects").strip()
    settings = [
        part
        for key in _SIGNING
        if (value := git.ask("config", key))
        for part in ("-c", f"{key}={_from_here(git, key, value)}")
    ]
    git.identity()
    environment = {
        "GIT_OBJECT_DIRECTORY": str(objects.resolve()),
        "GIT_COMMITTER_DATE": f"@{moment} +0000",
    }
    with tempfile.TemporaryDirectory(prefix="mlops-signing-") as folder:
        aside = Git(Path(folder))
        aside.run("init", "--quiet", ".")
        tagging = ("tag", "--sign", "--cleanup=whitespace", tag, commit, "--message", message)
        words = (*settings, *tagging)
        code, _, said = aside.attempt(*words, environment=environment)
        content = "" if code else aside.run("cat-file", "tag", tag, environment=environment)
        # Some versions of Git make an unsigned tag, and no fuss, where an SSH key is missing.
        if not split_signature(content.encode())[1]:
            raise unsigned(git, tag, said)
        return aside.run("rev-parse", f"refs/tags/{tag}", environment=environment).strip()


def _from_here(git: Git, key: str, value: str) -> str:
    """A key's file by its whole path: Git signs in another folder."""
    file = git.root / Path(value).expanduser()
    return str(file.resolve()) if key == "user.signingkey" and file.is_file() else value


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
            raise OutdatedTags(
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
        if reason := _refusal(error.said):
            raise SourceUnreadable(
                f"the Git remote {remote!r} refused it: {reason}",
                "A rule there forbids it (a hook, a protected or checked out branch): change it, "
                "or keep it in this clone with --local.",
            ) from None
        if any(
            sign in said
            for sign in ("rejected", "already exists", "cannot lock ref", "failed to update ref")
        ):
            raise OutdatedTags(
                f"{remote} was changed by somebody else meanwhile, so nothing was done",
                "Look at `mlops models`, then run again.",
            ) from error
        raise SourceUnreadable(
            f"the Git remote {remote!r} did not take it: {said}",
            "Try again later, or keep it in this clone with --local.",
        ) from None


def _refusal(said: str) -> str | None:
    """Why a remote doesn't take what would fit; None where somebody else was faster.

    Git's lines are ``! [remote rejected] FROM -> TO (REASON)``, and ``remote: ...`` what a hook
    wrote.
    """
    reasons = re.findall(r"! \[remote rejected\] .*\((.*)\)\s*$", said, re.MULTILINE)
    rules = [r for r in reasons if not any(sign in r for sign in _OVERTAKEN)]
    if not rules:
        return None
    lines = [" ".join(line.split()) for line in re.findall(r"^remote:(.*)$", said, re.MULTILINE)]
    more = " ".join(line for line in lines if line and rules[0] not in line)[:_SAID]
    return f"{rules[0]}; it says: {more}" if more else rules[0]


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
    return "\n".join(
        f"{key}: {' '.join(str(value).split())}"
        for key, value in facts.items()
        if value is not None
    )
