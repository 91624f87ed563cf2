"""Own work put on top of what others have pushed: edits, staged edits and commits.

What the pipeline makes (`dvc.lock`, reports, `models/registration.json`) is taken as the remote
has it, as the next run makes it anew; all else is merged in Git's object store. Nothing here
changes before it is clear how everything ends.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlops_cli.errors import NotProject
from mlops_cli.layout import Layout
from mlops_cli.live.updating import Ends, ends, refuse_unsaved
from mlops_cli.params.reading import BadYaml, load_yaml, read_yaml
from mlops_cli.store.attempts import refuse_unfinished
from mlops_cli.store.commits import Owned
from mlops_cli.store.dvc import Unsaved, keep_outputs, opened
from mlops_cli.store.dvc_files import answering
from mlops_cli.store.git import Git
from mlops_cli.store.lockfile import refuse_large
from mlops_cli.store.merging import Merger, Overlap, Prefer, changed_paths
from mlops_cli.store.switching import BEFORE, Switch, unfinished
from mlops_cli.store.tracked import refuse_unsafe

__all__ = ["Rebased", "rebased"]

_SHORT = 7
_SHOWN = 5


@dataclass(frozen=True)
class Rebased:
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


def rebased(layout: Layout, git: Git, remote: str, prefer: Prefer | None = None) -> Rebased:
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
    found = ends(git, remote)
    refuse_unsaved(layout.root)
    head, target = found.head, found.target
    if target is None or git.ask("merge-base", "--is-ancestor", target, head) is not None:
        return Rebased(layout.root, None, head, None)
    refuse_large(git, target)
    refuse_unsafe(layout.root, target)
    with opened(layout.root) as repo, answering(layout.root):
        keep_outputs(repo, layout.root)
    return _planned(layout, git, found, target, f"{remote}/{found.branch}", prefer)


def _planned(
    layout: Layout, git: Git, found: Ends, target: str, theirs: str, prefer: Prefer | None
) -> Rebased:
    top = Git(Path(git.run("rev-parse", "--show-toplevel").rstrip("\n")))
    prefix = git.run("rev-parse", "--show-prefix").rstrip("\n")
    generated, lists = _paths_of_pipeline(git, layout, target, prefix)
    merger = Merger(top, lambda path: _inside(path, generated), lists.__contains__, prefer)
    theirs_too = _listed(top, target, generated)
    now, staged_now = _states(top, lists | theirs_too)
    head_tree = _tree(top, found.head)
    try:
        tip, commits = _moved_commits(top, found.head, target, merger)
        after = merger.merged(head_tree, now, _tree(top, tip))
    except Overlap as error:
        raise _overlap(git, prefix, error.path, found, target, theirs) from None
    # What is staged and differs from the file may overlap where the file doesn't.
    staging = Merger(top, merger.generated, merger.lists, prefer or "theirs")
    index = staging.merged(head_tree, staged_now, _tree(top, tip))
    _remember(top, found.head, now, staged_now)
    own = changed_paths(top, head_tree, now)
    switch = Switch(
        found.branch, found.head, tip, now, after, staged_now, index, tuple(sorted(generated))
    )
    return Rebased(
        layout.root,
        switch,
        target,
        f"{found.branch}: {found.head[:_SHORT]}..{tip[:_SHORT]}",
        commits,
        tuple(sorted(changed_paths(top, _tree(top, tip), after))),
        tuple(sorted(path for path in own if _inside(path, generated))),
        tuple(sorted(merger.overlaps)),
    )


def _complete_interrupted(root: Path, git: Git) -> None:
    switch = unfinished(root)
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
    except Unsaved:
        switch.reversed().apply(root)
        switch.end(root)
        raise
    switch.end(root)
    return lacking


def _data_in_place(root: Path) -> list[str]:
    with opened(root) as repo, answering(root):
        return sorted(repo.checkout(allow_missing=True).get("failed", []))


def _paths_of_pipeline(
    git: Git, layout: Layout, target: str, prefix: str
) -> tuple[set[str], set[str]]:
    """What runs make, and DVC's `.gitignore` files, by the pipelines of both sides."""
    generated: set[str] = set()
    lists: set[str] = set()
    texts = [git.ask("show", f"{target}:./dvc.yaml")]
    if layout.dvc_yaml.is_file():
        texts.append(layout.dvc_yaml.read_text(encoding="utf-8", errors="replace"))
    for text in texts:
        owned = Owned(read_yaml(text or "", "dvc.yaml") or {}, {})
        generated |= {_from_top(prefix, name) for name in owned.generated}
        lists |= {_from_top(prefix, name) for name in owned.lists}
    return generated, lists


def _from_top(prefix: str, name: str) -> str:
    return (PurePosixPath(prefix) / name).as_posix()


def _inside(path: str, folders: set[str]) -> bool:
    return path in folders or any(
        parent.as_posix() in folders for parent in PurePosixPath(path).parents
    )


def _tree(git: Git, commit: str) -> str:
    return git.run("rev-parse", f"{commit}^{{tree}}").strip()


def _listed(top: Git, commit: str, folders: set[str]) -> set[str]:
    """Files that a commit has at or below some paths."""
    words = ("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit, "--", *sorted(folders))
    return {name for name in top.run(*words).split("\0") if name}


def _states(top: Git, besides: set[str]) -> tuple[str, str]:
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


def _moved_commits(top: Git, head: str, target: str, merger: Merger) -> tuple[str, int]:
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
        tree = merger.merged(_tree(top, parents[0]), _tree(top, commit), _tree(top, tip))
        if tree != _tree(top, tip):
            tip, count = _recommitted(top, commit, tree, tip), count + 1
    return tip, count


def _recommitted(top: Git, commit: str, tree: str, parent: str) -> str:
    """A commit with another's author, date and message."""
    name, address, date = top.run(
        "show", "-s", "--format=%an%n%ae%n%ad", "--date=raw", commit
    ).splitlines()[:3]
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": address, "GIT_AUTHOR_DATE": date}
    message = top.run("show", "-s", "--format=%B", commit)
    signed = ["-S"] if top.ask("config", "--bool", "commit.gpgsign") == "true" else []
    words = ("commit-tree", tree, "-p", parent, *signed, "-F", "-")
    return top.run(*words, given=message, environment=author).strip()


def _remember(top: Git, head: str, now: str, staged: str) -> None:
    """Name what is here before it changes, in the form that `git stash apply` takes."""
    message = "Before mlops pull --rebase\n"
    index = top.run("commit-tree", staged, "-p", head, "-F", "-", given=message).strip()
    words = ("commit-tree", now, "-p", head, "-p", index, "-F", "-")
    top.run("update-ref", BEFORE, top.run(*words, given=message).strip())


def _overlap(git: Git, prefix: str, path: str, found: Ends, target: str, theirs: str) -> NotProject:
    name = path.removeprefix(prefix)
    what = ""
    if name == "params.yaml":
        keys = _keys_of_both(git, found, target)
        what = f" ({'; '.join(keys[:_SHOWN])}{'; ...' if keys[_SHOWN:] else ''})" if keys else ""
    return NotProject(
        f"{name} was changed in the same place here and in {theirs}{what}, so nothing was changed",
        "`mlops pull --rebase --prefer mine` keeps your lines there, `--prefer theirs` theirs.",
    )


def _keys_of_both(git: Git, found: Ends, target: str) -> list[str]:
    """What both sides set otherwise in `params.yaml`: ``tune.trials: 30 here, 20 there``."""
    base = git.ask("merge-base", found.head, target) or found.head
    text = git.root / "params.yaml"
    try:
        before, there = (
            dict(_leaves(load_yaml(git.ask("show", f"{commit}:./params.yaml") or "")))
            for commit in (base, target)
        )
        here = dict(_leaves(load_yaml(text.read_text(encoding="utf-8", errors="replace"))))
    except (BadYaml, OSError):
        return []
    return [
        f"{key}: {here.get(key, 'nothing')} here, {there.get(key, 'nothing')} there"
        for key in sorted(here.keys() | there.keys())
        if here.get(key) != there.get(key)
        and before.get(key) not in (here.get(key), there.get(key))
    ]


def _leaves(tree: Any, place: str = "") -> Any:
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{place}.{key}" if place else str(key))
    else:
        yield place, tree
