"""Own work put on top of what others have pushed: edits, staged edits and commits.

What the pipeline makes (`dvc.lock`, reports, `models/registration.json`) is taken as the remote
has it, as the next run makes it anew; all else is merged in Git's object store. Nothing here
changes before it is clear how everything ends.
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
from mlops_cli.project.switch import BEFORE, Switch, unfinished_switch
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
    """Own work on top of the remote's branch, ready to be put in place.

    Attributes
    ----------
    target
        The remote's commit.
    said
        Such as ``main: 1a2b3c4..5d6e7f8``; None where there is nothing new.
    commits
        How many own commits are on top of the remote's.
    kept
        Files with own edits.
    dropped
        Files of the pipeline whose content here is given up.
    decided
        Files in which ``prefer`` has decided.
    """

    root: Path
    switch: Switch | None
    target: str
    said: str | None
    commits: int = 0
    kept: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    decided: tuple[str, ...] = ()

    def apply(self) -> list[str]:
        """Put files, index, branch and data in place; give the outputs that lack data.

        Raises
        ------
        NotProject
            If a file of yours is in the place of another; everything is then as it was.
        """
        if self.switch is None:
            return _data_in_place(self.root)
        git = Git(self.root)
        git.run("update-ref", "ORIG_HEAD", self.switch.head)
        self.switch.begin(self.root)
        return _completed(self.root, self.switch)


def plan_rebase(layout: Layout, git: Git, remote: str, prefer: Prefer | None = None) -> RebasedWork:
    """See how own work comes on top of the remote's branch; an interrupted call is completed first.

    Raises
    ------
    NotProject
        If both sides changed the same lines (see ``prefer``), if there are merges among the own
        commits, or outputs that are nowhere else.
    SourceUnreadable
        If the remote cannot be reached.
    """
    refuse_unfinished(layout)
    _complete_interrupted(layout.root, git)
    if conflict := git.run("ls-files", "--unmerged"):
        file = conflict.splitlines()[0].partition("\t")[2]
        raise NotProject(f"a merge is unfinished: {file} is in conflict", "Finish it first.")
    found = fetch_ends(git, remote)
    refuse_unsaved(layout.root)
    head, target = found.head, found.target
    if target is None or git.ask("merge-base", "--is-ancestor", target, head) is not None:
        return RebasedWork(layout.root, None, head, None)
    refuse_large(git, target)
    refuse_unsafe(layout.root, target)
    with open_repo(layout.root) as repo, refuse_dvc_errors(layout.root):
        keep_outputs(repo, layout.root)
    return _planned(layout, git, found, target, f"{remote}/{found.branch}", prefer)


def _planned(
    layout: Layout, git: Git, found: BranchEnds, target: str, theirs: str, prefer: Prefer | None
) -> RebasedWork:
    top = worktree_top(git.root)
    prefix = git.run("rev-parse", "--show-prefix").rstrip("\n")
    generated, lists = _paths_of_pipeline(git, layout, target, prefix)
    merger = Merger(top, lambda path: _inside(path, generated), lists.__contains__, prefer)
    theirs_too = list_files(top, target, generated)
    now, staged_now = worktree_states(top, lists | theirs_too)
    head_tree = tree_of(top, found.head)
    try:
        tip, commits = rebase_commits(top, found.head, target, merger)
        after = merger.merged(head_tree, now, tree_of(top, tip))
    except Overlap as error:
        raise overlap(git, prefix, error.path, found, target, theirs) from None
    # What is staged and differs from the file may overlap where the file doesn't.
    staging = Merger(top, merger.generated, merger.lists, prefer or "theirs")
    index = staging.merged(head_tree, staged_now, tree_of(top, tip))
    _remember(top, found.head, now, staged_now)
    own = changed_paths(top, head_tree, now)
    switch = Switch(
        found.branch, found.head, tip, now, after, staged_now, index, tuple(sorted(generated))
    )
    return RebasedWork(
        layout.root,
        switch,
        target,
        f"{found.branch}: {found.head[:_SHORT]}..{tip[:_SHORT]}",
        commits,
        tuple(sorted(changed_paths(top, tree_of(top, tip), after))),
        tuple(sorted(path for path in own if _inside(path, generated))),
        tuple(sorted(merger.overlaps)),
    )


def _complete_interrupted(root: Path, git: Git) -> None:
    switch = unfinished_switch(root)
    if switch is None:
        return
    if git.branch() == switch.branch and git.resolve("HEAD") in {switch.head, switch.tip}:
        _completed(root, switch)
    else:  # somebody went on with Git's own commands: what is here now is their work
        switch.end(root)


def _completed(root: Path, switch: Switch) -> list[str]:
    switch.apply(root)
    try:
        lacking = _data_in_place(root)
    except UnsavedOutputs:
        switch.reversed().apply(root)
        switch.end(root)
        raise
    switch.end(root)
    return lacking


def _data_in_place(root: Path) -> list[str]:
    with open_repo(root) as repo, refuse_dvc_errors(root):
        return sorted(repo.checkout(allow_missing=True).get("failed", []))


def _paths_of_pipeline(
    git: Git, layout: Layout, target: str, prefix: str
) -> tuple[set[str], set[str]]:
    """What runs make, and DVC's `.gitignore` files, by the pipelines of both sides."""
    generated: set[str] = set()
    lists: set[str] = set()
    texts = [git.read(target, "dvc.yaml")]
    if layout.dvc_yaml.is_file():
        texts.append(layout.dvc_yaml.read_text(encoding="utf-8", errors="replace"))
    for text in texts:
        owned = PipelineFiles(read_yaml(text or "", "dvc.yaml") or {}, {})
        generated |= {_from_top(prefix, name) for name in owned.generated}
        lists |= {_from_top(prefix, name) for name in owned.lists}
    return generated, lists


def _from_top(prefix: str, name: str) -> str:
    return (PurePosixPath(prefix) / name).as_posix()


def _inside(path: str, folders: set[str]) -> bool:
    return path in folders or any(
        parent.as_posix() in folders for parent in PurePosixPath(path).parents
    )


def _remember(top: Git, head: str, now: str, staged: str) -> None:
    """Name what is here before it changes, in the form that `git stash apply` takes."""
    message = "Before mlops pull --rebase\n"
    index = top.run("commit-tree", staged, "-p", head, "-F", "-", given=message).strip()
    words = ("commit-tree", now, "-p", head, "-p", index, "-F", "-")
    top.run("update-ref", BEFORE, top.run(*words, given=message).strip())
