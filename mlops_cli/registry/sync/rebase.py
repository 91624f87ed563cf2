"""Rebase own work onto the remote's branch: edits, staged edits and commits.

Generated files (`dvc.lock`, reports, `models/registration.json`) are taken from the remote, as the
next run writes them again. All other files are merged in Git's object store. The clone changes only
after the complete result is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mlops_cli.errors import NotProject
from mlops_cli.layout import Layout
from mlops_cli.params.reading import read_yaml
from mlops_cli.project.attempts import refuse_unfinished
from mlops_cli.project.dvc import UnsavedOutputs, keep_outputs, open_repo
from mlops_cli.project.dvc_files import refuse_dvc_errors
from mlops_cli.project.dvc_lock import refuse_large
from mlops_cli.project.git import Git
from mlops_cli.project.merge import Merger, Overlap, Prefer, changed_paths
from mlops_cli.project.switch import BEFORE_PULL_REF, Switch, unfinished_switch
from mlops_cli.project.tracked import refuse_unsafe
from mlops_cli.project.worktree import worktree_top
from mlops_cli.registry.commit_outputs import PipelineFiles
from mlops_cli.registry.sync.conflicts import overlap
from mlops_cli.registry.sync.fast_forward import BranchEnds, fetch_ends, refuse_unsaved
from mlops_cli.registry.sync.own_work import list_files, rebase_commits, tree_of, worktree_states

__all__ = ["RebasedWork", "plan_rebase"]

_SHORT = 7
_SHOWN = 5


@dataclass(frozen=True)
class RebasedWork:
    """Own work rebased onto the remote's branch, ready to be checked out.

    Attributes
    ----------
    target
        The remote's commit.
    branch_update
        Such as ``main: 1a2b3c4..5d6e7f8``; None if there is nothing new.
    commits
        Number of own commits on top of the remote's.
    kept
        Files with own edits.
    dropped
        Generated files whose local content is dropped.
    decided
        Files with conflicts that ``prefer`` resolved.
    """

    root: Path
    switch: Switch | None
    target: str
    branch_update: str | None
    commits: int = 0
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()

    def apply(self) -> list[str]:
        """Check out files, index, branch and data; return the outputs that lack data.

        Raises
        ------
        NotProject
            If a file of the user is in the way; everything is then as it was.
        """
        if self.switch is None:
            return _checkout_data(self.root)
        git = Git(self.root)
        git.run("update-ref", "ORIG_HEAD", self.switch.head)
        self.switch.begin(self.root)
        return _complete(self.root, self.switch)


def plan_rebase(layout: Layout, git: Git, remote: str, prefer: Prefer | None = None) -> RebasedWork:
    """Rebase own work in Git's object store, after completing an interrupted rebase.

    Raises
    ------
    NotProject
        If both sides changed the same lines (see ``prefer``), if there are merges among the own
        commits, or if outputs exist only in the workspace.
    SourceUnreadable
        If the remote cannot be reached.
    """
    refuse_unfinished(layout)
    _complete_interrupted(layout.root, git)
    if conflict := git.run("ls-files", "--unmerged"):
        file = conflict.splitlines()[0].partition("\t")[2]
        raise NotProject(f"a merge is unfinished: {file} is in conflict", "Finish it first.")
    ends = fetch_ends(git, remote)
    refuse_unsaved(layout.root)
    head, target = ends.head, ends.target
    if target is None or git.try_run("merge-base", "--is-ancestor", target, head) is not None:
        return RebasedWork(layout.root, None, head, None)
    refuse_large(git, target)
    refuse_unsafe(layout.root, target)
    with open_repo(layout.root) as repo, refuse_dvc_errors(layout.root):
        keep_outputs(repo, layout.root)
    return _plan(layout, git, ends, target, f"{remote}/{ends.branch}", prefer)


def _plan(
    layout: Layout,
    git: Git,
    ends: BranchEnds,
    target: str,
    remote_branch: str,
    prefer: Prefer | None,
) -> RebasedWork:
    top = worktree_top(git.root)
    prefix = git.run("rev-parse", "--show-prefix").rstrip("\n")
    generated, lists = _pipeline_paths(git, layout, target, prefix)
    merger = Merger(top, lambda path: _inside(path, generated), lists.__contains__, prefer)
    remote_files = list_files(top, target, generated)
    worktree, staged = worktree_states(top, lists | remote_files)
    head_tree = tree_of(top, ends.head)
    try:
        tip, commits = rebase_commits(top, ends.head, target, merger)
        after = merger.merge(head_tree, worktree, tree_of(top, tip))
    except Overlap as error:
        raise overlap(git, prefix, error.path, ends, target, remote_branch) from None
    # Staged content that differs from the file may conflict where the file doesn't.
    staging = Merger(top, merger.is_generated, merger.is_line_list, prefer or "theirs")
    index = staging.merge(head_tree, staged, tree_of(top, tip))
    _save_state(top, ends.head, worktree, staged)
    edited = changed_paths(top, head_tree, worktree)
    switch = Switch(
        ends.branch, ends.head, tip, worktree, after, staged, index, tuple(sorted(generated))
    )
    return RebasedWork(
        layout.root,
        switch,
        target,
        f"{ends.branch}: {ends.head[:_SHORT]}..{tip[:_SHORT]}",
        commits,
        tuple(sorted(changed_paths(top, tree_of(top, tip), after))),
        tuple(sorted(path for path in edited if _inside(path, generated))),
        tuple(sorted(merger.resolved_paths)),
    )


def _complete_interrupted(root: Path, git: Git) -> None:
    switch = unfinished_switch(root)
    if switch is None:
        return
    if git.branch() == switch.branch and git.resolve("HEAD") in {switch.head, switch.tip}:
        _complete(root, switch)
    else:  # the user went on with Git's own commands: keep the present state
        switch.end(root)


def _complete(root: Path, switch: Switch) -> list[str]:
    switch.apply(root)
    try:
        lacking = _checkout_data(root)
    except UnsavedOutputs:
        switch.reverse().apply(root)
        switch.end(root)
        raise
    switch.end(root)
    return lacking


def _checkout_data(root: Path) -> list[str]:
    with open_repo(root) as repo, refuse_dvc_errors(root):
        return sorted(repo.checkout(allow_missing=True).get("failed", []))


def _pipeline_paths(
    git: Git, layout: Layout, target: str, prefix: str
) -> tuple[set[str], set[str]]:
    """Generated files and DVC's `.gitignore` files, by the pipelines of both sides."""
    generated: set[str] = set()
    lists: set[str] = set()
    texts = [git.read(target, "dvc.yaml")]
    if layout.dvc_yaml.is_file():
        texts.append(layout.dvc_yaml.read_text(encoding="utf-8", errors="replace"))
    for text in texts:
        files = PipelineFiles(read_yaml(text or "", "dvc.yaml") or {}, {})
        generated |= {_from_top(prefix, name) for name in files.generated}
        lists |= {_from_top(prefix, name) for name in files.gitignore_files}
    return generated, lists


def _from_top(prefix: str, name: str) -> str:
    return (PurePosixPath(prefix) / name).as_posix()


def _inside(path: str, folders: set[str]) -> bool:
    return path in folders or any(
        parent.as_posix() in folders for parent in PurePosixPath(path).parents
    )


def _save_state(top: Git, head: str, worktree: str, staged: str) -> None:
    """Save the present state under a reference, in the form that `git stash apply` takes."""
    message = "Before mlops pull --rebase\n"
    index = top.run("commit-tree", staged, "-p", head, "-F", "-", stdin=message).strip()
    command = ("commit-tree", worktree, "-p", head, "-p", index, "-F", "-")
    top.run("update-ref", BEFORE_PULL_REF, top.run(*command, stdin=message).strip())
