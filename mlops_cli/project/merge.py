"""Trees of Git's merged three ways in its object store; neither index nor files are touched."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from mlops_cli.project.git import Git

__all__ = ["Merger", "Overlap", "Prefer", "changed_paths", "index_of"]

Prefer = Literal["mine", "theirs"]
"""Whose lines are taken where both sides changed the same ones."""

_ABSENT = "000000"
_REGULAR = ("100644", "100755")


class Overlap(Exception):
    """Both sides changed the same lines of a file, or one of them its kind."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class _Change:
    """A path's mode and object on two sides; the mode is 000000 where it is absent."""

    before: tuple[str, str]
    after: tuple[str, str]


@dataclass
class Merger:
    """What differs between two trees, brought into a third.

    Attributes
    ----------
    git
        At the top of the repository: paths are relative to it.
    generated
        Which paths are made by the pipeline: they are never brought along.
    lists
        Which files are lists of lines in any order, such as ``.gitignore``: both sides' lines stay.
    overlaps
        Paths where ``prefer`` has decided.
    """

    git: Git
    generated: Callable[[str], bool]
    lists: Callable[[str], bool]
    prefer: Prefer | None = None
    overlaps: set[str] = field(default_factory=set)

    def merged(self, base: str, mine: str, theirs: str) -> str:
        """The tree ``theirs`` with what changed from ``base`` to ``mine``.

        Raises
        ------
        Overlap
            If both changed the same, and ``prefer`` is None.
        """
        own = changed_paths(self.git, base, mine)
        other = changed_paths(self.git, base, theirs)
        entries: dict[str, tuple[str, str]] = {}
        for path, change in own.items():
            if self.generated(path):
                continue
            if path not in other:
                entries[path] = change.after
            elif other[path].after != change.after:
                entries[path] = self._both(path, change, other[path].after)
        with index_of(self.git, theirs) as index:
            paths = set(self._paths(index))
            # Removals first: a file may be where a folder was.
            for path, (mode, oid) in sorted(entries.items(), key=lambda e: e[1][0] != _ABSENT):
                line = f"{'0' if mode == _ABSENT else mode} {oid}\t{path}\0"
                words = ("update-index", "-z", "--index-info")
                self.git.run(*words, given=line, environment=index)
                paths = paths - {path} if mode == _ABSENT else paths | {path}
            # Git gives up a folder where a file is put in its place, and the other way round.
            if lost := paths ^ set(self._paths(index)):
                raise Overlap(min(lost))
            return self.git.run("write-tree", environment=index).strip()

    def _paths(self, index: dict[str, str]) -> list[str]:
        return self.git.run("ls-files", "-z", environment=index).split("\0")

    def _both(self, path: str, own: _Change, theirs: tuple[str, str]) -> tuple[str, str]:
        """One entry of two that differ."""
        mine, base = own.after, own.before
        kinds = {mode for mode, _ in (mine, theirs)}
        if not kinds <= set(_REGULAR):
            return self._chosen(path, mine, theirs)
        mode = mine[0] if base[0] == theirs[0] else theirs[0]
        contents = [b"" if m == _ABSENT else self._blob(oid) for m, oid in (mine, base, theirs)]
        with tempfile.TemporaryDirectory(prefix="mlops-merge-") as folder:
            files = [Path(folder) / name for name in ("mine", "base", "theirs")]
            for file, content in zip(files, contents, strict=True):
                file.write_bytes(content)
            names = [str(file) for file in files]
            option = ["--union"] if self.lists(path) else []
            code, _, _ = self.git.attempt("merge-file", "--quiet", *option, *names)
            if code:
                return self._of_lines(path, mode, contents, files, mine, theirs)
            return mode, self._stored(files[0])

    def _of_lines(
        self,
        path: str,
        mode: str,
        contents: list[bytes],
        files: list[Path],
        mine: tuple[str, str],
        theirs: tuple[str, str],
    ) -> tuple[str, str]:
        """As ``prefer`` says: only in the lines that both changed, if the file has lines."""
        self._chosen(path, mine, theirs)
        files[0].write_bytes(contents[0])
        side = "--ours" if self.prefer == "mine" else "--theirs"
        code, _, _ = self.git.attempt("merge-file", "--quiet", side, *map(str, files))
        if code:  # it is binary
            return self._chosen(path, mine, theirs)
        return mode, self._stored(files[0])

    def _chosen(self, path: str, mine: tuple[str, str], theirs: tuple[str, str]) -> tuple[str, str]:
        if self.prefer is None:
            raise Overlap(path)
        self.overlaps.add(path)
        return mine if self.prefer == "mine" else theirs

    def _blob(self, oid: str) -> bytes:
        return self.git.run_bytes("cat-file", "blob", oid, given=b"")

    def _stored(self, file: Path) -> str:
        return self.git.run("hash-object", "-w", "--no-filters", str(file)).strip()


def changed_paths(git: Git, before: str, after: str) -> Mapping[str, _Change]:
    """Path -> what it is on both sides, for each that differs between two trees."""
    fields = iter(
        git.run("diff-tree", "-r", "-z", "--no-renames", "--raw", before, after).split("\0")
    )
    found = {}
    for head in fields:
        if not head.startswith(":"):
            continue
        old_mode, new_mode, old, new, _ = head[1:].split(" ")
        found[next(fields)] = _Change((old_mode, old), (new_mode, new))
    return found


@contextmanager
def index_of(git: Git, tree: str) -> Iterator[dict[str, str]]:
    """An index of its own that holds a tree, as the environment that names it."""
    with tempfile.TemporaryDirectory(prefix="mlops-index-") as folder:
        environment = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.run("read-tree", tree, environment=environment)
        yield environment
