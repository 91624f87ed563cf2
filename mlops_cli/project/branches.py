"""The branch that a team agrees on: what is committed there holds for everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.errors import NotProject

if TYPE_CHECKING:
    from mlops_cli.project.git import Git

__all__ = ["Branch", "agreed_branch", "remember_default"]

_USUAL = ("main", "master")


@dataclass(frozen=True)
class Branch:
    """A branch, such as ``origin/main``, and the commit that it is at."""

    name: str
    commit: str


def agreed_branch(git: Git) -> Branch:
    """The default branch of the remote as it was last fetched; without a remote, the local one.

    Raises
    ------
    NotProject
        If there is no such branch in this clone, or no way to tell which one it is.
    """
    remote = git.remote()
    if remote is not None and (theirs := _branches(git, f"refs/remotes/{remote}/")):
        head = git.ask("symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD") or ""
        name = _default(theirs, head.removeprefix(f"refs/remotes/{remote}/"))
        if name is None:
            raise NotProject(
                f"which branch of the Git remote {remote!r} is its default one is not known here",
                f"Tell Git: git remote set-head {remote} --auto (or the branch's name)",
            )
        return Branch(f"{remote}/{name}", theirs[name])
    ours = _branches(git, "refs/heads/")
    usual = git.ask("config", "init.defaultBranch") or ""
    name = _default(ours, usual) or git.branch()
    if name not in ours:
        raise NotProject(
            "this clone has no branch, so no stage rules are known",
            "Bring the default branch here: git fetch origin '+refs/heads/*:refs/remotes/origin/*'",
        )
    return Branch(name, ours[name])


def remember_default(git: Git, remote: str) -> None:
    """Ask a remote for its default branch, and bring it here, where this clone doesn't know it."""
    head = f"refs/remotes/{remote}/HEAD"
    if git.ask("rev-parse", "--verify", "--quiet", head) is not None:
        return
    told = git.ask("ls-remote", "--symref", remote, "HEAD") or ""
    name = next(
        (
            line.removeprefix("ref: refs/heads/").partition("\t")[0]
            for line in told.splitlines()
            if line.startswith("ref: refs/heads/")
        ),
        None,
    )
    if name is None:
        return
    ref = f"refs/remotes/{remote}/{name}"
    if git.ask("rev-parse", "--verify", "--quiet", ref) is None:  # a clone of a single branch
        git.ask("fetch", "--quiet", "--no-tags", remote, f"+refs/heads/{name}:{ref}")
    if git.ask("rev-parse", "--verify", "--quiet", ref) is not None:
        git.ask("symbolic-ref", head, ref)


def _branches(git: Git, prefix: str) -> dict[str, str]:
    """Branch -> commit, of the references below a prefix."""
    listed = git.ask("for-each-ref", "--format=%(refname) %(objectname)", prefix) or ""
    pairs = (line.rpartition(" ") for line in listed.splitlines())
    found = {ref.removeprefix(prefix): commit for ref, _, commit in pairs}
    return {name: commit for name, commit in found.items() if name != "HEAD"}


def _default(branches: dict[str, str], stated: str) -> str | None:
    """The stated branch, else the only one, else one of a usual name."""
    if stated in branches:
        return stated
    if len(branches) == 1:
        return next(iter(branches))
    return next((name for name in _USUAL if name in branches), None)
