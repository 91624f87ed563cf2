"""The user's own work in a clone: edited files, the index, and commits that aren't pushed."""

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
    """Files of a commit at or below some paths."""
    command = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--", *sorted(folders))
    return {name for name in top.run(*command).split("\0") if name}


def worktree_states(top: Git, extra_files: set[str]) -> tuple[str, str]:
    """Write the working tree and the index as Git trees; return both.

    Parameters
    ----------
    extra_files
        Files to include even if they are not tracked yet.
    """
    index = top.root / top.run("rev-parse", "--git-path", "index").strip()
    with tempfile.TemporaryDirectory(prefix="mlops-index-") as folder:
        own_index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        if index.is_file():
            shutil.copyfile(index, own_index["GIT_INDEX_FILE"])
        staged = top.run("write-tree", environment=own_index).strip()
        top.run("add", "--update", "--", ".", environment=own_index)
        if names := sorted(name for name in extra_files if (top.root / name).is_file()):
            top.run("add", "--force", "--", *names, environment=own_index)
        return top.run("write-tree", environment=own_index).strip(), staged


def rebase_commits(top: Git, head: str, target: str, merger: Merger) -> tuple[str, int]:
    """Rebase own commits onto the target; return the new tip and the number of commits.

    Commits that change nothing but generated files are dropped.
    """
    base = top.try_run("merge-base", head, target)
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
        tree = merger.merge(tree_of(top, parents[0]), tree_of(top, commit), tree_of(top, tip))
        if tree != tree_of(top, tip):
            tip, count = _recommit(top, commit, tree, tip), count + 1
    return tip, count


def _recommit(top: Git, commit: str, tree: str, parent: str) -> str:
    """Create a commit with the author, date and message of another one."""
    name, address, date = top.run(
        "show", "-s", "--format=%an%n%ae%n%ad", "--date=raw", commit
    ).splitlines()[:3]
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": address, "GIT_AUTHOR_DATE": date}
    message = top.run("show", "-s", "--format=%B", commit)
    signed = ["-S"] if signs_by_default(top, "commit") else []
    command = ("commit-tree", tree, "-p", parent, *signed, "-F", "-")
    return top.run(*command, stdin=message, environment=author).strip()
