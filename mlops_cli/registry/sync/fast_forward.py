"""Fast-forward a branch to its remote's, only if no local work would be lost."""

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
    """A planned move of a branch.

    Attributes
    ----------
    head, target
        Commit of the branch before and after; the same if there is nothing new.
    branch_update
        Such as ``main: 1a2b3c4..5d6e7f8``; None if there is nothing new.
    """

    git: Git
    head: str
    target: str
    branch_update: str | None

    def apply(self) -> list[str]:
        """Move the branch and check out the commit's data; return the outputs that lack data.

        Raises
        ------
        NotProject
            If a file would be overwritten after all; the branch is then where it was.
        DataRefused, BadParams
            If the commit has paths that lead DVC, or this program, out of the project.
        """
        if self.target != self.head:
            refuse_large(self.git, self.target)
            refuse_unsafe(self.git.root, self.target)
            try:
                self.git.run("merge", "--ff-only", "--quiet", self.target)
            except GitFailed as error:
                raise NotProject(
                    f"the branch cannot be moved on: {' '.join(error.stderr.split())}",
                    "Commit or put aside (git stash) what is in the way, then pull again.",
                ) from None
        try:
            with open_repo(self.git.root) as repo, refuse_dvc_errors(self.git.root):
                result = repo.checkout(allow_missing=True)
        except UnsavedOutputs:
            if self.target != self.head:
                self.git.run_unchecked("reset", "--keep", "--quiet", self.head)
            raise
        return sorted(result.get("failed", []))


def git_remote(git: Git) -> str:
    """The name of the Git remote for push and pull.

    Raises
    ------
    NotFound
        If there is none.
    NotProject
        If the folder is not under Git.
    """
    if git.try_run("rev-parse", "--git-dir") is None:
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
    """Commits of a branch in this clone and on the remote.

    Attributes
    ----------
    head
        The commit in this clone.
    target
        The remote's commit; None if it has no such branch.
    """

    branch: str
    head: str
    target: str | None


def fetch_ends(git: Git, remote: str) -> BranchEnds:
    """Fetch the commits of the current branch.

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
    return BranchEnds(branch, head, _fetch_branch(git, remote, branch))


def plan_fast_forward(git: Git, remote: str) -> FastForward:
    """Fetch the commits of the current branch, and check that it can be fast-forwarded.

    Raises
    ------
    NotProject
        On a detached HEAD, if the branches have diverged, or if files would be overwritten.
    SourceUnreadable
        If the remote cannot be reached.
    """
    ends = fetch_ends(git, remote)
    branch, head, target = ends.branch, ends.head, ends.target
    if target is None or git.try_run("merge-base", "--is-ancestor", target, head) is not None:
        refuse_unsaved(git.root)
        return FastForward(git, head, head, None)
    if git.try_run("merge-base", "--is-ancestor", head, target) is None:
        ahead, behind = (
            git.run("rev-list", "--count", f"{a}..{b}").strip()
            for a, b in ((target, head), (head, target))
        )
        raise NotProject(
            f"{branch} and {remote}/{branch} have diverged: {ahead} commits are only here, "
            f"{behind} only there",
            "Put yours on top of theirs: mlops pull --rebase",
        )
    _refuse_overwriting(git, head, target)
    refuse_unsaved(git.root)
    with open_repo(git.root) as repo, refuse_dvc_errors(git.root):
        # Outputs of the old commit may exist only in the workspace: save them in the cache.
        keep_outputs(repo, git.root)
    return FastForward(git, head, target, f"{branch}: {head[:_SHORT]}..{target[:_SHORT]}")


def _fetch_branch(git: Git, remote: str, branch: str) -> str | None:
    """Fetch the remote's branch; return its commit, or None if there is no such branch."""
    remote_ref = git.try_run("config", f"branch.{branch}.merge") or f"refs/heads/{branch}"
    tracking_ref = f"refs/remotes/{remote}/{remote_ref.removeprefix('refs/heads/')}"
    try:
        git.run("fetch", "--quiet", "--no-tags", remote, f"+{remote_ref}:{tracking_ref}")
    except GitFailed as error:
        if "couldn't find remote ref" in error.stderr:
            return None
        raise SourceUnreadable(
            f"the Git remote {remote!r} cannot be reached: {' '.join(error.stderr.split())}",
            f"See that its address is right: git remote get-url {remote}",
        ) from None
    return git.resolve(tracking_ref)


def _refuse_overwriting(git: Git, head: str, target: str) -> None:
    changed = set(git.run("diff", "--name-only", "--no-renames", "-z", head, target).split("\0"))
    status = git.run("status", "--porcelain", "--no-renames", "--untracked-files=all", "-z")
    dirty = {line[3:] for line in status.split("\0") if line}
    _refuse(
        sorted((changed & dirty) - {""}),
        "`mlops pull --rebase` keeps your edits, and drops what the pipeline creates again; or "
        "commit them, or put them aside (git stash), then pull again.",
    )


def refuse_unsaved(root: Path) -> None:
    """Raise if outputs have content that neither `dvc.lock` nor DVC's cache has.

    Raises
    ------
    NotProject
        Naming these outputs.
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
