"""The team's default branch: settings that are committed there apply to everybody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.errors import NotProject

if TYPE_CHECKING:
    from mlops_cli.project.git import Git

__all__ = ["Branch", "agreed_branch", "remember_default"]

_USUAL_NAMES = ("main", "master")


@dataclass(frozen=True)
class Branch:
    """A branch, such as ``origin/main``, and its commit."""

    name: str
    commit: str


def agreed_branch(git: Git) -> Branch:
    """The default branch of the remote as it was last fetched; without a remote, the local one.

    Raises
    ------
    NotProject
        If this clone has no such branch, or it isn't known which branch is the default.
    """
    remote = git.remote()
    if remote is not None and (remote_branches := _list_branches(git, f"refs/remotes/{remote}/")):
        head = git.try_run("symbolic-ref", "--quiet", f"refs/remotes/{remote}/HEAD") or ""
        name = _choose_default(remote_branches, head.removeprefix(f"refs/remotes/{remote}/"))
        if name is None:
            raise NotProject(
                f"which branch of the Git remote {remote!r} is its default one is not known here",
                f"Tell Git: git remote set-head {remote} --auto (or the branch's name)",
            )
        return Branch(f"{remote}/{name}", remote_branches[name])
    local_branches = _list_branches(git, "refs/heads/")
    configured = git.try_run("config", "init.defaultBranch") or ""
    name = _choose_default(local_branches, configured) or git.branch()
    if name not in local_branches:
        raise NotProject(
            "this clone has no branch, so no stage rules are known",
            "Bring the default branch here: git fetch origin '+refs/heads/*:refs/remotes/origin/*'",
        )
    return Branch(name, local_branches[name])


def remember_default(git: Git, remote: str) -> None:
    """Look up a remote's default branch and fetch it, unless this clone knows it."""
    head = f"refs/remotes/{remote}/HEAD"
    if git.try_run("rev-parse", "--verify", "--quiet", head) is not None:
        return
    output = git.try_run("ls-remote", "--symref", remote, "HEAD") or ""
    name = next(
        (
            line.removeprefix("ref: refs/heads/").partition("\t")[0]
            for line in output.splitlines()
            if line.startswith("ref: refs/heads/")
        ),
        None,
    )
    if name is None:
        return
    ref = f"refs/remotes/{remote}/{name}"
    if git.try_run("rev-parse", "--verify", "--quiet", ref) is None:  # a clone of a single branch
        git.try_run("fetch", "--quiet", "--no-tags", remote, f"+refs/heads/{name}:{ref}")
    if git.try_run("rev-parse", "--verify", "--quiet", ref) is not None:
        git.try_run("symbolic-ref", head, ref)


def _list_branches(git: Git, prefix: str) -> dict[str, str]:
    """Branch -> commit, of the refs below a prefix."""
    output = git.try_run("for-each-ref", "--format=%(refname) %(objectname)", prefix) or ""
    pairs = (line.rpartition(" ") for line in output.splitlines())
    commits = {ref.removeprefix(prefix): commit for ref, _, commit in pairs}
    return {name: commit for name, commit in commits.items() if name != "HEAD"}


def _choose_default(branches: dict[str, str], configured: str) -> str | None:
    """The configured branch, else the only one, else one with a usual name."""
    if configured in branches:
        return configured
    if len(branches) == 1:
        return next(iter(branches))
    return next((name for name in _USUAL_NAMES if name in branches), None)
