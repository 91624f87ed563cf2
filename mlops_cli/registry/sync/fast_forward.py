"""A branch brought up to its remote's: looked at first, moved only when nothing can be lost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlops_cli.errors import NotFound, NotProject, SourceUnreadable
from mlops_cli.project.dvc import UnsavedOutputs, keep_outputs, open_repo, unsaved_outputs
from mlops_cli.project.dvc_files import refuse_dvc_errors
from mlops_cli.project.dvc_lock import refuse_large
from mlops_cli.project.git import Git, GitFailed
from mlops_cli.project.tracked import refuse_unsafe

__all__ = [
    "BranchEnds",
    "FastForward",
    "fetch_ends",
    "git_remote",
    "plan_fast_forward",
    "refuse_unsaved",
]

_SHOWN = 10
_SHORT = 7


@dataclass(frozen=True)
class FastForward:
    """Where a branch goes.

    Attributes
    ----------
    head, target
        Commits; the same where there is nothing new.
    said
        Such as ``main: 1a2b3c4..5d6e7f8``; None where there is nothing new.
    """

    git: Git
    head: str
    target: str
    said: str | None

    def apply(self) -> list[str]:
        """Move the branch and put the commit's data in place; give the outputs that lack data.

        Raises
        ------
        NotProject
            If a file would be overwritten after all; the branch is then where it was.
        DataRefused, BadParams
            If the commit would lead DVC, or us, out of the project.
        """
        if self.target != self.head:
            refuse_large(self.git, self.target)
            refuse_unsafe(self.git.root, self.target)
            try:
                self.git.run("merge", "--ff-only", "--quiet", self.target)
            except GitFailed as error:
                raise NotProject(
                    f"the branch cannot be moved on: {' '.join(error.said.split())}",
                    "Commit or put aside (git stash) what is in the way, then pull again.",
                ) from None
        try:
            with open_repo(self.git.root) as repo, refuse_dvc_errors(self.git.root):
                done = repo.checkout(allow_missing=True)
        except UnsavedOutputs:
            if self.target != self.head:
                self.git.attempt("reset", "--keep", "--quiet", self.head)
            raise
        return sorted(done.get("failed", []))


def git_remote(git: Git) -> str:
    """The Git remote to exchange with.

    Raises
    ------
    NotFound
        If there is none.
    NotProject
        If the folder is not under Git.
    """
    if git.ask("rev-parse", "--git-dir") is None:
        raise NotProject(f"{git.root} is not under Git", "Run `git init` there.")
    name = git.remote()
    if name is None:
        raise NotFound(
            "the repository has no Git remote that branches and tags could go to",
            "Add one: git remote add origin URL",
        )
    return name


@dataclass(frozen=True)
class BranchEnds:
    """Where a branch is here, and where it is at the remote.

    Attributes
    ----------
    target
        The remote's commit; None if it has no such branch.
    """

    branch: str
    head: str
    target: str | None


def fetch_ends(git: Git, remote: str) -> BranchEnds:
    """Bring the branch's commits here.

    Raises
    ------
    NotProject
        On a detached HEAD, or without any commit.
    SourceUnreadable
        If the remote cannot be reached.
    """
    branch = git.branch()
    if branch is None:
        raise NotProject("HEAD is detached: no branch can follow", "Go to one: git switch BRANCH")
    head = git.resolve("HEAD")
    if head is None:
        raise NotProject(f"{branch} has no commit yet", f"Run `git pull {remote} {branch}` once.")
    return BranchEnds(branch, head, _fetched(git, remote, branch))


def plan_fast_forward(git: Git, remote: str) -> FastForward:
    """Bring the branch's commits here, and see whether the branch can follow them.

    Raises
    ------
    NotProject
        On a detached HEAD, if the branches have diverged, or if files would be overwritten.
    SourceUnreadable
        If the remote cannot be reached.
    """
    found = fetch_ends(git, remote)
    branch, head, target = found.branch, found.head, found.target
    if target is None or git.ask("merge-base", "--is-ancestor", target, head) is not None:
        refuse_unsaved(git.root)
        return FastForward(git, head, head, None)
    if git.ask("merge-base", "--is-ancestor", head, target) is None:
        mine, theirs = (
            git.run("rev-list", "--count", f"{a}..{b}").strip()
            for a, b in ((target, head), (head, target))
        )
        raise NotProject(
            f"{branch} and {remote}/{branch} have diverged: {mine} commits are only here, "
            f"{theirs} only there",
            "Put yours on top of theirs: mlops pull --rebase",
        )
    _refuse_overwriting(git, head, target)
    refuse_unsaved(git.root)
    with open_repo(git.root) as repo, refuse_dvc_errors(git.root):
        # What the branch leaves behind may be nowhere but in the workspace.
        keep_outputs(repo, git.root)
    return FastForward(git, head, target, f"{branch}: {head[:_SHORT]}..{target[:_SHORT]}")


def _fetched(git: Git, remote: str, branch: str) -> str | None:
    """The commit of the remote's branch; None if it has no such branch."""
    theirs = git.ask("config", f"branch.{branch}.merge") or f"refs/heads/{branch}"
    own = f"refs/remotes/{remote}/{theirs.removeprefix('refs/heads/')}"
    try:
        git.run("fetch", "--quiet", "--no-tags", remote, f"+{theirs}:{own}")
    except GitFailed as error:
        if "couldn't find remote ref" in error.said:
            return None
        raise SourceUnreadable(
            f"the Git remote {remote!r} cannot be reached: {' '.join(error.said.split())}",
            f"See that its address is right: git remote get-url {remote}",
        ) from None
    return git.resolve(own)


def _refuse_overwriting(git: Git, head: str, target: str) -> None:
    changed = set(git.run("diff", "--name-only", "--no-renames", "-z", head, target).split("\0"))
    listed = git.run("status", "--porcelain", "--no-renames", "--untracked-files=all", "-z")
    dirty = {line[3:] for line in listed.split("\0") if line}
    _refuse(
        sorted((changed & dirty) - {""}),
        "`mlops pull --rebase` keeps your edits, and drops what the pipeline makes anew; or commit "
        "them, or put them aside (git stash), then pull again.",
    )


def refuse_unsaved(root: Path) -> None:
    """Refuse where outputs hold bytes that neither `dvc.lock` knows nor DVC's cache has.

    Raises
    ------
    NotProject
        Naming them.
    """
    with open_repo(root) as repo, refuse_dvc_errors(root):
        names = unsaved_outputs(repo)
    _refuse(
        names,
        "Keep them (`mlops run`, or `dvc commit`) or drop them (dvc checkout), then pull again.",
    )


def _refuse(files: list[str], hint: str) -> None:
    if files:
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        raise NotProject(
            f"pulling would overwrite what only you have: {', '.join(files[:_SHOWN])}{more}", hint
        )
