"""Own work in a clone: files as they are, the index, and commits that the remote doesn't have."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from mlops_cli.errors import NotProject
from mlops_cli.project.git import Git
from mlops_cli.project.merge import Merger
from mlops_cli.project.signing import signs_by_default

__all__ = ["list_files", "rebase_commits", "tree_of", "worktree_states"]


def tree_of(git: Git, commit: str) -> str:
    """The tree of a commit."""
    return git.run("rev-parse", f"{commit}^{{tree}}").strip()


def list_files(top: Git, commit: str, folders: set[str]) -> set[str]:
    """Files that a commit has at or below some paths."""
    words = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--", *sorted(folders))
    return {name for name in top.run(*words).split("\0") if name}


def worktree_states(top: Git, besides: set[str]) -> tuple[str, str]:
    """Trees of the files as they are, and of the index.

    Parameters
    ----------
    besides
        Files that count also where they are not tracked yet.
    """
    index = top.root / top.run("rev-parse", "--git-path", "index").strip()
    with tempfile.TemporaryDirectory(prefix="mlops-index-") as folder:
        beside = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if index.is_file():
            shutil.copyfile(index, beside["GIT_INDEX_FILE"])
        staged = top.run("write-tree", environment=beside).strip()
        top.run("add", "--update", "--", ".", environment=beside)
        if names := sorted(name for name in besides if (top.root / name).is_file()):
            top.run("add", "--force", "--", *names, environment=beside)
        return top.run("write-tree", environment=beside).strip(), staged


def rebase_commits(top: Git, head: str, target: str, merger: Merger) -> tuple[str, int]:
    """Own commits on top of the target: the last one, and how many hold more than results."""
    base = top.ask("merge-base", head, target)
    if base is None:
        raise NotProject(
            "the branch here and the remote's have no commit in common",
            "See that it is the right remote: git remote get-url origin",
        )
    lines = top.run("rev-list", "--reverse", "--topo-order", "--parents", f"{base}..{head}")
    tip, count = target, 0
    for line in lines.splitlines():
        commit, *parents = line.split()
        if len(parents) != 1:
            raise NotProject(
                f"the commit {commit[:9]}, which is only here, is a merge of others",
                f"Bring them together by Git's own commands: git merge {target[:9]}",
            )
        tree = merger.merged(tree_of(top, parents[0]), tree_of(top, commit), tree_of(top, tip))
        if tree != tree_of(top, tip):
            tip, count = _recommitted(top, commit, tree, tip), count + 1
    return tip, count


def _recommitted(top: Git, commit: str, tree: str, parent: str) -> str:
    """A commit with another's author, date and message."""
    name, address, date = top.run(
        "show", "-s", "--format=%an%n%ae%n%ad", "--date=raw", commit
    ).splitlines()[:3]
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": address, "GIT_AUTHOR_DATE": date}
    message = top.run("show", "-s", "--format=%B", commit)
    signed = ["-S"] if signs_by_default(top, "commit") else []
    words = ("commit-tree", tree, "-p", parent, *signed, "-F", "-")
    return top.run(*words, given=message, environment=author).strip()
