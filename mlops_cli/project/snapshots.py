"""Files, folders and links of a project as they were, to be put back without losing newer work.

A path is compared by fingerprints: of what was there before, of what has been written since by
whoever took the snapshot, and of what is there now. What is none of these is somebody's work.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_cli.data.atomic_files import atomic_write, read_json, sha256, write_json
from mlops_cli.errors import NotFound, NotProject
from mlops_cli.project.git import Git

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Plan", "Snapshot", "fingerprint", "text_fingerprint"]

_SHOWN = 5


def fingerprint(path: Path) -> str | None:
    """What lies at a path: a link's target, a file's content, a folder's tree; None: nothing."""
    if path.is_symlink():
        return f"link {path.readlink()}"
    if path.is_dir():
        inside = [(child.name, fingerprint(child)) for child in sorted(path.iterdir())]
        return f"folder {hashlib.sha256(json.dumps(inside).encode()).hexdigest()}"
    if path.is_file():
        return _file_mark(sha256(path), executable=bool(path.stat().st_mode & 0o100))
    return "other" if os.path.lexists(path) else None


def text_fingerprint(text: str) -> str:
    """The fingerprint of a file that holds this text."""
    return _file_mark(hashlib.sha256(text.encode()).hexdigest(), executable=False)


class Plan:
    """What putting back would do.

    Attributes
    ----------
    replace
        Paths that get their old content.
    aside
        Those of them that may hold somebody's work: a stage was at work on them when it was killed.
    keep
        Paths that stay: their present content is committed.
    newer
        Paths with work that no commit holds: putting back would lose it.
    """

    def __init__(self) -> None:
        self.replace: list[str] = []
        self.aside: list[str] = []
        self.keep: list[str] = []
        self.newer: list[str] = []

    def refuse_newer(self, what: str, remedy: str) -> None:
        """Refuse where work would be lost.

        Raises
        ------
        NotProject
            Naming the paths.
        """
        if self.newer:
            more = len(self.newer) - _SHOWN
            names = ", ".join(self.newer[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
            raise NotProject(
                f"{what}, and putting back would lose what changed in: {names}", remedy
            )


class Snapshot:
    """Copies of some paths of a project in a folder, and what was written to them since.

    Paths are relative to the project; where one is a link, what it leads to is copied as well.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._copies = folder / "before"
        self._index = self._copies / "index.json"
        self._writes = folder / "writes.json"
        self._aside = folder / "aside"

    def take(self, names: Iterable[str]) -> None:
        """Copy what is at these paths; a former snapshot is replaced."""
        write_json(self._writes, {"writes": {}, "at_work": []})
        with atomic_write(self._copies) as folder:
            folder.mkdir(parents=True)
            entries = {}
            for number, path in enumerate(self._places(names)):
                mark = fingerprint(path)
                entries[self._key(path)] = {"copy": str(number), "was": mark}
                if mark is not None:
                    _copy(path, folder / str(number))
            staged_then = _staged(Git(self._root), entries)
            write_json(folder / "index.json", {"entries": entries, "staged": staged_then})

    def drop(self) -> None:
        """Remove the copies; what was put aside stays."""
        shutil.rmtree(self._copies, ignore_errors=True)
        self._writes.unlink(missing_ok=True)

    def expect(self, path: Path, text: str) -> None:
        """State beforehand what is going to be written to a file."""
        self._add({self._key(path.resolve()): text_fingerprint(text)}, self._at_work())

    def working(self, names: Iterable[str]) -> None:
        """State beforehand which paths are going to change."""
        self._add({}, self._at_work() | self._keys(names))

    def worked(self, names: Iterable[str] | None = None) -> None:
        """State that these paths (None: all that were to change) hold now what was written."""
        at_work = self._at_work()
        keys = at_work if names is None else self._keys(names)
        marks = {key: fingerprint(self._root / key) for key in keys}
        self._add({key: mark for key, mark in marks.items() if mark is not None}, at_work - keys)

    def plan(self, since: str) -> Plan:
        """What putting back would do, where the snapshot was taken at the commit ``since``."""
        git, plan = Git(self._root), Plan()
        stated = self._stated()
        for key, entry in self._entries().items():
            now = fingerprint(self._root / key)
            if now == entry["was"]:
                continue
            ours = now is None or now in stated["writes"].get(key, ())
            committed = self._is_committed(git, key)
            if committed and (not ours or self._changed_since(git, key, since)):
                plan.keep.append(key)
            elif ours or key in stated["at_work"]:
                plan.replace.append(key)
                plan.aside += [] if ours else [key]
            else:
                plan.newer.append(key)
        return plan

    def put_back(self, plan: Plan) -> None:
        """Replace what a plan says; killed in it, the same plan is made and done again."""
        for key in plan.aside:
            _copy(self._root / key, self._aside / key)
        git, index = Git(self._root), self._content()
        entries = index["entries"]
        # Somebody may have staged what is replaced now.
        later = set(_staged(git, plan.replace)) - set(index["staged"])
        if later:
            git.run("reset", "--quiet", "HEAD", "--", *sorted(later))
        for key in plan.replace:
            target, entry = self._root / key, entries[key]
            if entry["was"] is None:
                _remove(target)
            else:
                _copy(self._copies / entry["copy"], target)
        for key in entries:
            target = self._root / key
            # Left where a writer was killed.
            _remove(target.parent / f".{target.name}.part")

    def _places(self, names: Iterable[str]) -> list[Path]:
        places = []
        for name in sorted(set(names)):
            path = self._root / name
            places.append(path)
            if path.is_symlink() and path.exists():
                places.append(path.resolve())
        return places

    def _key(self, path: Path) -> str:
        for root in (self._root, self._root.resolve()):
            if path.is_relative_to(root):
                return path.relative_to(root).as_posix()
        return str(path)

    def _entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self._content()["entries"]
        return entries

    def _content(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = read_json(self._index)
        except NotFound:
            raise NotProject(
                f"the copies in {self._copies} are gone, so nothing can be put back from them",
                "Use Git's (`git checkout HEAD -- .`, `dvc checkout`), then remove "
                f"{self._copies.parent}.",
            ) from None
        return content

    def _stated(self) -> dict[str, Any]:
        try:
            stated: dict[str, Any] = read_json(self._writes)
        except NotFound:
            return {"writes": {}, "at_work": []}
        return stated

    def _keys(self, names: Iterable[str]) -> set[str]:
        return {self._key(path) for path in self._places(names)} & self._entries().keys()

    def _at_work(self) -> set[str]:
        return set(self._stated()["at_work"])

    def _add(self, done: Mapping[str, str], at_work: set[str]) -> None:
        writes = self._stated()["writes"]
        for key, mark in done.items():
            writes[key] = sorted({*writes.get(key, ()), mark})
        write_json(self._writes, {"writes": writes, "at_work": sorted(at_work)})

    def _is_committed(self, git: Git, key: str) -> bool:
        """Whether HEAD has at a path what is there now."""
        if Path(key).is_absolute():
            return False
        listed = git.ask("ls-tree", "HEAD", "--", f"./{key}")
        if fingerprint(self._root / key) is None:
            return not listed
        same = git.ask("diff", "--quiet", "HEAD", "--", key) is not None
        others = git.ask("ls-files", "--others", "--", key)
        return bool(listed) and same and not others

    def _changed_since(self, git: Git, key: str, since: str) -> bool:
        return git.ask("diff", "--quiet", since, "HEAD", "--", key) is None


def _staged(git: Git, keys: Iterable[str]) -> list[str]:
    """Those of some paths whose index isn't HEAD's."""
    inside = [key for key in keys if not Path(key).is_absolute()]
    if not inside:
        return []
    listed = git.run("diff", "--cached", "--name-only", "--relative", "-z", "HEAD", "--", *inside)
    return [name for name in listed.split("\0") if name]


def _file_mark(digest: str, *, executable: bool) -> str:
    return f"file {'x' if executable else '-'} {digest}"


def _copy(source: Path, target: Path) -> None:
    """Let ``target`` be what ``source`` is, whatever either of them is."""
    both_files = source.is_file() and target.is_file() and not target.is_symlink()
    if not both_files:
        _remove(target)
    with atomic_write(target) as temporary:
        if source.is_symlink():
            temporary.symlink_to(source.readlink())
        elif source.is_dir():
            shutil.copytree(source, temporary, symlinks=True)
        else:
            shutil.copy2(source, temporary)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()
