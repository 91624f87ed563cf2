"""Files of a working tree, compared with Git trees."""

from __future__ import annotations

import os
from pathlib import Path

from mlops_cli.project.git import Git
from mlops_cli.project.merge import index_of

__all__ = ["changed_files", "find_obstacle", "remove", "worktree_top"]


def worktree_top(root: Path) -> Git:
    """Git at the top folder of the repository that contains a project."""
    return Git(Path(Git(root).run("rev-parse", "--show-toplevel").rstrip("\n")))


def changed_files(git: Git, tree: str, paths: set[str]) -> set[str]:
    """The paths whose files differ from a tree."""
    with index_of(git, tree) as index:
        git.run_unchecked("update-index", "-q", "--refresh", environment=index)
        modified = git.run("diff-files", "-z", "--name-only", environment=index)
        tracked = set(git.run("ls-files", "-z", environment=index).split("\0"))
    dirty = set(modified.split("\0"))
    return {p for p in paths if (p in dirty if p in tracked else os.path.lexists(git.root / p))}


def find_obstacle(top: Path, path: str, changed: set[str]) -> str | None:
    """Why a file can't be written; None if nothing is in its way."""
    if "\ufffd" in path:
        return "its name is not UTF-8"
    for parent in list(Path(path).parents)[:-1]:
        folder = top / parent
        if (folder.is_symlink() or folder.is_file()) and parent.as_posix() not in changed:
            return f"{parent} is a link or a file"
    return None


def remove(top: Path, path: str) -> None:
    """Remove a file, and the folders that become empty."""
    target = top / path
    if os.path.lexists(target):
        target.unlink()
    for folder in target.parents:
        if folder == top:
            break
        try:
            folder.rmdir()
        except OSError:  # not empty, or gone
            break
