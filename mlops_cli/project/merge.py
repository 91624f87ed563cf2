"""Three-way merge of Git trees in the object store; index and files aren't touched."""

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
"""Whose lines win where both sides changed the same ones."""

_ABSENT = "000000"
_REGULAR = ("100644", "100755")


class Overlap(Exception):
    """Both sides changed the same lines of a file, or one of them changed its type."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


@dataclass(frozen=True)
class _Change:
    """A path's mode and object id on two sides; the mode is 000000 if it is absent."""

    before: tuple[str, str]
    after: tuple[str, str]


@dataclass
class Merger:
    """Applies the changes between two trees to a third one.

    Attributes
    ----------
    git
        Git at the top of the repository: paths are relative to it.
    is_generated
        Whether the pipeline generates a path: its changes are never applied.
    is_line_list
        Whether a file is a list of lines in any order, such as ``.gitignore``: the lines of both
        sides are kept.
    resolved_paths
        Paths for which ``prefer`` decided.
    """

    git: Git
    is_generated: Callable[[str], bool]
    is_line_list: Callable[[str], bool]
    prefer: Prefer | None = None
    resolved_paths: set[str] = field(default_factory=set)

    def merge(self, base: str, mine: str, theirs: str) -> str:
        """The tree ``theirs`` with the changes from ``base`` to ``mine``.

        Raises
        ------
        Overlap
            If both sides changed the same lines, and ``prefer`` is None.
        """
        my_changes = changed_paths(self.git, base, mine)
        their_changes = changed_paths(self.git, base, theirs)
        entries: dict[str, tuple[str, str]] = {}
        for path, change in my_changes.items():
            if self.is_generated(path):
                continue
            if path not in their_changes:
                entries[path] = change.after
            elif their_changes[path].after != change.after:
                entries[path] = self._merge_entry(path, change, their_changes[path].after)
        with index_of(self.git, theirs) as index:
            paths = set(self._list_paths(index))
            # Removals first: a file may replace a folder.
            for path, (mode, oid) in sorted(entries.items(), key=lambda e: e[1][0] != _ABSENT):
                line = f"{'0' if mode == _ABSENT else mode} {oid}\t{path}\0"
                command = ("update-index", "-z", "--index-info")
                self.git.run(*command, stdin=line, environment=index)
                paths = paths - {path} if mode == _ABSENT else paths | {path}
            # Git drops a folder if a file is added in its place, and the other way round.
            if dropped := paths ^ set(self._list_paths(index)):
                raise Overlap(min(dropped))
            return self.git.run("write-tree", environment=index).strip()

    def _list_paths(self, index: dict[str, str]) -> list[str]:
        return self.git.run("ls-files", "-z", environment=index).split("\0")

    def _merge_entry(self, path: str, change: _Change, theirs: tuple[str, str]) -> tuple[str, str]:
        """Merge the entry of a path that differs between the two sides."""
        mine, base = change.after, change.before
        kinds = {mode for mode, _ in (mine, theirs)}
        if not kinds <= set(_REGULAR):
            return self._choose_side(path, mine, theirs)
        mode = mine[0] if base[0] == theirs[0] else theirs[0]
        contents = [
            b"" if m == _ABSENT else self._read_blob(oid) for m, oid in (mine, base, theirs)
        ]
        with tempfile.TemporaryDirectory(prefix="mlops-merge-") as folder:
            files = [Path(folder) / name for name in ("mine", "base", "theirs")]
            for file, content in zip(files, contents, strict=True):
                file.write_bytes(content)
            names = [str(file) for file in files]
            option = ["--union"] if self.is_line_list(path) else []
            code, _, _ = self.git.run_unchecked("merge-file", "--quiet", *option, *names)
            if code:
                return self._merge_preferred(path, mode, contents, files, mine, theirs)
            return mode, self._store_blob(files[0])

    def _merge_preferred(
        self,
        path: str,
        mode: str,
        contents: list[bytes],
        files: list[Path],
        mine: tuple[str, str],
        theirs: tuple[str, str],
    ) -> tuple[str, str]:
        """Merge with ``prefer``, which decides single lines, or the whole file if it is binary."""
        self._choose_side(path, mine, theirs)
        files[0].write_bytes(contents[0])
        side = "--ours" if self.prefer == "mine" else "--theirs"
        code, _, _ = self.git.run_unchecked("merge-file", "--quiet", side, *map(str, files))
        if code:  # it is binary
            return self._choose_side(path, mine, theirs)
        return mode, self._store_blob(files[0])

    def _choose_side(
        self, path: str, mine: tuple[str, str], theirs: tuple[str, str]
    ) -> tuple[str, str]:
        if self.prefer is None:
            raise Overlap(path)
        self.resolved_paths.add(path)
        return mine if self.prefer == "mine" else theirs

    def _read_blob(self, oid: str) -> bytes:
        return self.git.run_bytes("cat-file", "blob", oid, stdin=b"")

    def _store_blob(self, file: Path) -> str:
        return self.git.run("hash-object", "-w", "--no-filters", str(file)).strip()


def changed_paths(git: Git, before: str, after: str) -> Mapping[str, _Change]:
    """Path -> mode and object id on both sides, for each path that differs between two trees."""
    fields = iter(
        git.run("diff-tree", "-r", "-z", "--no-renames", "--raw", before, after).split("\0")
    )
    changes = {}
    for header in fields:
        if not header.startswith(":"):
            continue
        old_mode, new_mode, old, new, _ = header[1:].split(" ")
        changes[next(fields)] = _Change((old_mode, old), (new_mode, new))
    return changes


@contextmanager
def index_of(git: Git, tree: str) -> Iterator[dict[str, str]]:
    """A temporary index that contains a tree, as the environment variables that select it."""
    with tempfile.TemporaryDirectory(prefix="mlops-index-") as folder:
        environment = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        git.run("read-tree", tree, environment=environment)
        yield environment
