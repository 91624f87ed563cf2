"""Read the registry from Git tags, and change tags and branches atomically.

A tag is first made as an object without a reference, so nobody sees it. If there is a remote, the
tag is pushed there next: the remote accepts only a reference that doesn't exist yet, so of two
people one wins. The local reference is set last. A killed run has changed either nothing or all
that others see; running the same command again completes the rest.
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
from mlops_cli.project.signing import signing_error, signs_by_default
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
"""Git's settings for signing."""
_HOOK_TEXT = 200
"""Characters of a hook's output that are shown."""
_OVERTAKEN = ("exist", "lock ref", "to lock", "update ref", "fast-forward", "old value", "atomic")
"""Parts of Git's reasons that mean the remote has changed meanwhile."""
_STALE = 10
"""Age in seconds from which a reference's lock file counts as left by a killed Git."""


class OutdatedTags(Busy):
    """The remote already has the tag, or has commits or tags that this clone lacks."""


@dataclass(frozen=True)
class RefChange:
    """One reference to set: a new tag (``old`` is None) or a branch that moves."""

    ref: str
    new: str
    old: str | None = None


def read(root: Path, name: str) -> Registry:
    """Read the registry of one model from the tags of this clone.

    Raises
    ------
    NotProject
        If the folder is not under Git.
    """
    return Registry.from_tags(name, tags(Git(root), name))


def fetch(git: Git, remote: str | None) -> None:
    """Fetch the remote's branches and tags; this clone's own branches and tags don't move.

    Raises
    ------
    NotProject
        If a tag here differs from the remote's tag of the same name.
    SourceUnreadable
        If the remote cannot be reached.
    """
    if remote is None:
        return
    try:
        git.run("fetch", "--quiet", "--tags", remote)
        remember_default(git, remote)
    except GitFailed as error:
        message = " ".join(error.stderr.split())
        if "would clobber existing tag" in message:
            raise NotProject(
                f"tags here and on {remote} differ: {message}",
                "One of both was moved by hand; delete the wrong one here (git tag -d TAG).",
            ) from None
        if "cannot lock ref" in message:  # another fetch of this clone has just brought it
            return
        raise SourceUnreadable(
            f"the Git remote {remote!r} cannot be reached: {message}",
            "Try again later, or keep it in this clone with --local.",
        ) from None


def new_tag(
    git: Git,
    tag: str,
    commit: str,
    message: str,
    *,
    later_than: datetime | None = None,
    sign: bool = False,
) -> RefChange:
    """Create the object of an annotated tag, without a reference yet.

    Parameters
    ----------
    later_than
        The tag is dated at least a second later than this: GTO orders assignments by whole seconds.
    sign
        Sign with the key that Git is configured for (``user.signingkey``). If Git is set to sign
        every tag (``tag.gpgsign``), the tag is signed in any case.
    """
    now = int(time.time())
    # At most a day ahead, so that a date far in the future doesn't spread from tag to tag.
    moment = max(now, min(int(later_than.timestamp()) + 1, now + _DAY) if later_than else 0)
    ref = f"refs/tags/{tag}"
    if not (sign or signs_by_default(git, "tag")):
        head = f"object {commit}\ntype commit\ntag {tag}\ntagger {git.identity()} {moment} +0000\n"
        return RefChange(ref, git.run("mktag", stdin=f"{head}\n{message.strip()}\n").strip())
    return RefChange(ref, _create_signed_tag(git, tag, commit, message, moment))


def _create_signed_tag(git: Git, tag: str, commit: str, message: str, moment: int) -> str:
    """Sign in a temporary repository that shares the objects: `git tag` sets a reference, too."""
    objects = git.root / git.run("rev-parse", "--git-path", "objects").strip()
    settings = [
        part
        for key in _SIGNING
        if (value := git.try_run("config", key))
        for part in ("-c", f"{key}={_absolute_key(git, key, value)}")
    ]
    git.identity()
    environment = {
        "GIT_OBJECT_DIRECTORY": str(objects.resolve()),
        "GIT_COMMITTER_DATE": f"@{moment} +0000",
    }
    with tempfile.TemporaryDirectory(prefix="mlops-signing-") as folder:
        scratch = Git(Path(folder))
        scratch.run("init", "--quiet", ".")
        tag_command = ("tag", "--sign", "--cleanup=whitespace", tag, commit, "--message", message)
        command = (*settings, *tag_command)
        code, _, stderr = scratch.run_unchecked(*command, environment=environment)
        content = "" if code else scratch.run("cat-file", "tag", tag, environment=environment)
        # Some versions of Git silently make an unsigned tag if an SSH key is missing.
        if not split_signature(content.encode())[1]:
            raise signing_error(git, tag, stderr)
        return scratch.run("rev-parse", f"refs/tags/{tag}", environment=environment).strip()


def _absolute_key(git: Git, key: str, value: str) -> str:
    """Make the path of a key file absolute, as Git signs in another folder."""
    file = git.root / Path(value).expanduser()
    return str(file.resolve()) if key == "user.signingkey" and file.is_file() else value


def apply(git: Git, changes: Sequence[RefChange], remote: str | None) -> None:
    """Set references on the remote, then here, each side atomically.

    Raises
    ------
    OutdatedTags
        If the remote, or this clone, has changed meanwhile; that side is then left as it is.
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
            git.run("update-ref", "--stdin", stdin=f"start\n{script}prepare\ncommit\n")
        except GitFailed as error:
            if not last and ".lock'" in error.stderr and _remove_stale_locks(git, changes):
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
        message = " ".join(error.stderr.split())
        if reason := _forbidding_rule(error.stderr):
            raise SourceUnreadable(
                f"the Git remote {remote!r} refused it: {reason}",
                "A rule there forbids it (a hook, a protected or checked out branch): change it, "
                "or keep it in this clone with --local.",
            ) from None
        if any(
            sign in message
            for sign in ("rejected", "already exists", "cannot lock ref", "failed to update ref")
        ):
            raise OutdatedTags(
                f"{remote} was changed by somebody else meanwhile, so nothing was done",
                "Look at `mlops models`, then run again.",
            ) from error
        raise SourceUnreadable(
            f"the Git remote {remote!r} did not take it: {message}",
            "Try again later, or keep it in this clone with --local.",
        ) from None


def _forbidding_rule(message: str) -> str | None:
    """The reason if a rule of the remote forbids a push; None if somebody else was faster.

    Git's lines are ``! [remote rejected] FROM -> TO (REASON)``, and ``remote: ...`` for the output
    of a hook.
    """
    reasons = re.findall(r"! \[remote rejected\] .*\((.*)\)\s*$", message, re.MULTILINE)
    rules = [r for r in reasons if not any(sign in r for sign in _OVERTAKEN)]
    if not rules:
        return None
    lines = [" ".join(line.split()) for line in re.findall(r"^remote:(.*)$", message, re.MULTILINE)]
    hook_text = " ".join(line for line in lines if line and rules[0] not in line)[:_HOOK_TEXT]
    return f"{rules[0]}; it says: {hook_text}" if hook_text else rules[0]


def _is_set(git: Git, change: RefChange) -> bool:
    return git.try_run("rev-parse", "--verify", "--quiet", change.ref) == change.new


def _remove_stale_locks(git: Git, changes: Sequence[RefChange]) -> bool:
    """Remove lock files that a killed Git has left for these references; return if any were."""
    common = git.try_run("rev-parse", "--git-common-dir")
    removed = False
    for change in changes:
        lock = git.root / (common or ".git") / f"{change.ref}.lock"
        if lock.is_file() and time.time() - lock.stat().st_mtime > _STALE:
            lock.unlink(missing_ok=True)
            removed = True
    return removed


def trailers(facts: Mapping[str, object]) -> str:
    """``Key: value`` lines for a tag's message; facts that are None are left out."""
    return "\n".join(
        f"{key}: {' '.join(str(value).split())}"
        for key, value in facts.items()
        if value is not None
    )
