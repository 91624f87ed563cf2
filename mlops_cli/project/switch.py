"""Crash-safe switch of a working tree, its index and its branch to another state.

A journal is written before anything changes. Each file is replaced at once. If a run is killed, the
next one completes it, and tells from a file's content whether the file is done. Content that isn't
in Git's object store is never overwritten.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from mlops_cli.data.atomic_files import read_json, write_json
from mlops_cli.errors import NotFound, NotProject
from mlops_cli.project.git import Git
from mlops_cli.project.merge import changed_paths, index_of
from mlops_cli.project.worktree import changed_files, find_obstacle, remove, worktree_top

__all__ = ["BEFORE_PULL_REF", "Switch", "refuse_half_pulled", "unfinished_switch"]

BEFORE_PULL_REF = "refs/mlops/before-pull"
"""The ref of the state before the last pull that rebased local work."""

_MAX_SHOWN = 10


@dataclass(frozen=True)
class Switch:
    """A change of a clone from one state to another.

    Attributes
    ----------
    branch
        The branch that moves from the commit ``head`` to ``tip``.
    before, after
        Git trees of the files.
    index_before, index
        Git trees of the index.
    generated
        Paths that may be overwritten whatever they contain, because the pipeline generates them.
    """

    branch: str
    head: str
    tip: str
    before: str
    after: str
    index_before: str
    index: str
    generated: tuple[str, ...] = ()

    def reverse(self) -> Switch:
        """The opposite switch."""
        return replace(
            self,
            head=self.tip,
            tip=self.head,
            before=self.after,
            after=self.before,
            index_before=self.index,
            index=self.index_before,
        )

    def begin(self, root: Path) -> None:
        """Write the journal.

        Raises
        ------
        NotProject
            If a file would be overwritten whose content exists nowhere else.
        """
        self._refuse_lost_work(worktree_top(root))
        write_json(_journal(root), asdict(self))

    def apply(self, root: Path) -> None:
        """Update files, index and branch; those that are up to date already stay.

        Raises
        ------
        NotProject
            If a file was edited since the switch began; nothing was changed then.
        """
        git = worktree_top(root)
        self._refuse_lost_work(git)
        self._write_files(git, _journal(root).parent)
        git.run("read-tree", "--reset", self.index)
        git.run_unchecked("update-index", "-q", "--refresh")
        if git.resolve(f"refs/heads/{self.branch}") != self.tip:
            reason = "mlops pull --rebase"
            git.run("update-ref", "-m", reason, f"refs/heads/{self.branch}", self.tip, self.head)

    def end(self, root: Path) -> None:
        """Remove the journal: the switch is complete."""
        _journal(root).unlink(missing_ok=True)

    def _write_files(self, git: Git, scratch: Path) -> None:
        changed = changed_paths(git, self.before, self.after)
        removed = [p for p, c in changed.items() if c.after[0] == "000000"]
        for path in removed:
            remove(git.root, path)
        new = [path for path in changed if path not in set(removed)]
        with (
            tempfile.TemporaryDirectory(prefix="pull-", dir=scratch) as folder,
            index_of(git, self.after) as index,
        ):
            names = "\0".join(new) + "\0" if new else ""
            prefix = f"--prefix={folder}/"
            git.run("checkout-index", "-z", "--stdin", prefix, stdin=names, environment=index)
            for path in new:
                source, target = Path(folder) / path, git.root / path
                if os.path.lexists(source):  # a submodule has no file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    source.replace(target)

    def _refuse_lost_work(self, git: Git) -> None:
        """Refuse if a file to be changed has content that none of the known trees has."""
        changed = set(changed_paths(git, self.before, self.after))
        for path in changed:
            if obstacle := find_obstacle(git.root, path, changed):
                raise NotProject(
                    f"{path} cannot be put in place: {obstacle}",
                    "Move or rename it, or bring the branch here with Git's own commands.",
                )
        unsaved = {path for path in changed if not self._is_generated(path)}
        for tree in (self.before, self.after, self.head, self.tip, self.index_before):
            if unsaved:
                unsaved &= changed_files(git, tree, unsaved)
        if unsaved:
            more = f" and {len(unsaved) - _MAX_SHOWN} more" if len(unsaved) > _MAX_SHOWN else ""
            raise NotProject(
                "pulling would overwrite what only you have: "
                f"{', '.join(sorted(unsaved)[:_MAX_SHOWN])}{more}",
                "Move them elsewhere or commit them, then pull again.",
            )

    def _is_generated(self, path: str) -> bool:
        return any(path == prefix or path.startswith(f"{prefix}/") for prefix in self.generated)


def unfinished_switch(root: Path) -> Switch | None:
    """The switch that a kill interrupted; None if there is none."""
    try:
        content = read_json(_journal(root))
    except NotFound:
        return None
    return Switch(**{**content, "generated": tuple(content["generated"])})


def refuse_half_pulled(root: Path) -> None:
    """Refuse to work on the mix of old and new files that an interrupted pull leaves.

    Raises
    ------
    NotProject
        If a pull was interrupted.
    """
    if _journal(root).is_file():
        raise NotProject(
            "`mlops pull --rebase` was interrupted, so some files here are old and some new",
            "Complete it: mlops pull --rebase",
        )


def _journal(root: Path) -> Path:
    return root / ".mlops" / "pull.json"
