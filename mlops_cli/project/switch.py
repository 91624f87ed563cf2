"""A working tree, its index and its branch brought to another state: wholly, also after a kill.

What is to be done is written down before anything changes. Each file is replaced at once; a run
that was killed is completed by the next one, which sees by a file's content whether it was
reached. No content is overwritten that isn't in Git's object store.
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

__all__ = ["BEFORE", "Switch", "refuse_half_pulled", "unfinished_switch"]

BEFORE = "refs/mlops/before-pull"
"""Names what was here before the last pull that moved own work."""

_SHOWN = 10


@dataclass(frozen=True)
class Switch:
    """From one state of a clone to another.

    Attributes
    ----------
    branch
        The branch that moves from the commit ``head`` to ``tip``.
    before, after
        Trees of the files.
    index_before, index
        Trees of the index.
    generated
        Paths that may be overwritten whatever they hold: the pipeline makes them.
    """

    branch: str
    head: str
    tip: str
    before: str
    after: str
    index_before: str
    index: str
    generated: tuple[str, ...] = ()

    def reversed(self) -> Switch:
        """The way back."""
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
        """Write down what is going to be done.

        Raises
        ------
        NotProject
            If a file would be overwritten that is nowhere else.
        """
        self._refuse_losing(worktree_top(root))
        write_json(_journal(root), asdict(self))

    def apply(self, root: Path) -> None:
        """Bring files, index and branch there; what is there already stays.

        Raises
        ------
        NotProject
            If a file was edited since it was begun; all else is as it was.
        """
        git = worktree_top(root)
        self._refuse_losing(git)
        self._write_files(git, _journal(root).parent)
        git.run("read-tree", "--reset", self.index)
        git.attempt("update-index", "-q", "--refresh")
        if git.resolve(f"refs/heads/{self.branch}") != self.tip:
            why = "mlops pull --rebase"
            git.run("update-ref", "-m", why, f"refs/heads/{self.branch}", self.tip, self.head)

    def end(self, root: Path) -> None:
        """Note that it is done."""
        _journal(root).unlink(missing_ok=True)

    def _write_files(self, git: Git, scratch: Path) -> None:
        changed = changed_paths(git, self.before, self.after)
        gone = [p for p, c in changed.items() if c.after[0] == "000000"]
        for path in gone:
            remove(git.root, path)
        new = [path for path in changed if path not in set(gone)]
        with (
            tempfile.TemporaryDirectory(prefix="pull-", dir=scratch) as folder,
            index_of(git, self.after) as index,
        ):
            names = "\0".join(new) + "\0" if new else ""
            prefix = f"--prefix={folder}/"
            git.run("checkout-index", "-z", "--stdin", prefix, given=names, environment=index)
            for path in new:
                made, target = Path(folder) / path, git.root / path
                if os.path.lexists(made):  # a submodule has no file
                    target.parent.mkdir(parents=True, exist_ok=True)
                    made.replace(target)

    def _refuse_losing(self, git: Git) -> None:
        """Refuse where a file to be changed holds what none of the known trees has."""
        changed = set(changed_paths(git, self.before, self.after))
        for path in changed:
            if odd := find_obstacle(git.root, path, changed):
                raise NotProject(
                    f"{path} cannot be put in place: {odd}",
                    "Move or rename it, or bring the branch here with Git's own commands.",
                )
        mine = {path for path in changed if not self._is_generated(path)}
        for tree in (self.before, self.after, self.head, self.tip, self.index_before):
            if mine:
                mine &= changed_files(git, tree, mine)
        if mine:
            more = f" and {len(mine) - _SHOWN} more" if len(mine) > _SHOWN else ""
            raise NotProject(
                "pulling would overwrite what only you have: "
                f"{', '.join(sorted(mine)[:_SHOWN])}{more}",
                "Move them elsewhere or commit them, then pull again.",
            )

    def _is_generated(self, path: str) -> bool:
        return any(path == own or path.startswith(f"{own}/") for own in self.generated)


def unfinished_switch(root: Path) -> Switch | None:
    """The switch that a kill has left half done; None if there is none."""
    try:
        content = read_json(_journal(root))
    except NotFound:
        return None
    return Switch(**{**content, "generated": tuple(content["generated"])})


def refuse_half_pulled(root: Path) -> None:
    """Refuse to work on files that a killed pull has left half old, half new.

    Raises
    ------
    NotProject
        If there are such.
    """
    if _journal(root).is_file():
        raise NotProject(
            "`mlops pull --rebase` was interrupted, so some files here are old and some new",
            "Complete it: mlops pull --rebase",
        )


def _journal(root: Path) -> Path:
    return root / ".mlops" / "pull.json"
