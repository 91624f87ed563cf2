"""Copies of a project's files, folders and links, restored without the loss of newer work.

A path is compared by fingerprints: of its former content, of what the owner of the snapshot has
written since, and of its present content. Content that is neither of the first two is somebody's
work.
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

_MAX_SHOWN = 5


def fingerprint(path: Path) -> str | None:
    """Fingerprint of a link's target, a file's content or a folder's tree; None if absent."""
    if path.is_symlink():
        return f"link {path.readlink()}"
    if path.is_dir():
        children = [(child.name, fingerprint(child)) for child in sorted(path.iterdir())]
        return f"folder {hashlib.sha256(json.dumps(children).encode()).hexdigest()}"
    if path.is_file():
        return _file_fingerprint(sha256(path), executable=bool(path.stat().st_mode & 0o100))
    return "other" if os.path.lexists(path) else None


def text_fingerprint(text: str) -> str:
    """The fingerprint of a file that holds this text."""
    return _file_fingerprint(hashlib.sha256(text.encode()).hexdigest(), executable=False)


class Plan:
    """What restoring would do.

    Attributes
    ----------
    to_replace
        Paths that get their old content.
    to_back_up
        Those of them that may contain somebody's work: a stage was writing them when it was killed.
    to_keep
        Paths that stay, because their present content is committed.
    uncommitted
        Paths with uncommitted work, which restoring would lose.
    """

    def __init__(self) -> None:
        self.to_replace: list[str] = []
        self.to_back_up: list[str] = []
        self.to_keep: list[str] = []
        self.uncommitted: list[str] = []

    def refuse_uncommitted(self, reason: str, hint: str) -> None:
        """Refuse if work would be lost.

        Raises
        ------
        NotProject
            With the paths.
        """
        if self.uncommitted:
            more = len(self.uncommitted) - _MAX_SHOWN
            names = ", ".join(self.uncommitted[:_MAX_SHOWN])
            names += f" and {more} more" if more > 0 else ""
            raise NotProject(
                f"{reason}, and putting back would lose what changed in: {names}", hint
            )


class Snapshot:
    """Copies of some paths of a project in a folder, and a record of later writes to them.

    Paths are relative to the project. If one is a link, the file or folder it leads to is copied
    too.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self._root = root
        self._copies = folder / "before"
        self._index = self._copies / "index.json"
        self._writes = folder / "writes.json"
        self._aside = folder / "aside"

    def take(self, names: Iterable[str]) -> None:
        """Copy these paths; an earlier snapshot is replaced."""
        write_json(self._writes, {"writes": {}, "at_work": []})
        with atomic_write(self._copies) as folder:
            folder.mkdir(parents=True)
            entries = {}
            for number, path in enumerate(self._expand_links(names)):
                mark = fingerprint(path)
                entries[self._key(path)] = {"copy": str(number), "was": mark}
                if mark is not None:
                    _copy(path, folder / str(number))
            staged = _list_staged(Git(self._root), entries)
            write_json(folder / "index.json", {"entries": entries, "staged": staged})

    def drop(self) -> None:
        """Remove the copies; files that were put aside stay."""
        shutil.rmtree(self._copies, ignore_errors=True)
        self._writes.unlink(missing_ok=True)

    def record_expected_text(self, path: Path, text: str) -> None:
        """Record beforehand which text will be written to a file."""
        self._add_to_record(
            {self._key(path.resolve()): text_fingerprint(text)}, self._paths_at_work()
        )

    def record_write_start(self, names: Iterable[str]) -> None:
        """Record beforehand which paths will change."""
        self._add_to_record({}, self._paths_at_work() | self._keys(names))

    def record_write_end(self, names: Iterable[str] | None = None) -> None:
        """Record that these paths have been written (None: all from ``record_write_start``)."""
        at_work = self._paths_at_work()
        keys = at_work if names is None else self._keys(names)
        marks = {key: fingerprint(self._root / key) for key in keys}
        self._add_to_record(
            {key: mark for key, mark in marks.items() if mark is not None}, at_work - keys
        )

    def plan(self, commit: str) -> Plan:
        """What restoring would do; the snapshot was taken at this commit."""
        git, plan = Git(self._root), Plan()
        record = self._read_record()
        for key, entry in self._read_entries().items():
            current = fingerprint(self._root / key)
            if current == entry["was"]:
                continue
            ours = current is None or current in record["writes"].get(key, ())
            committed = self._is_committed(git, key)
            if committed and (not ours or self._changed_since(git, key, commit)):
                plan.to_keep.append(key)
            elif ours or key in record["at_work"]:
                plan.to_replace.append(key)
                plan.to_back_up += [] if ours else [key]
            else:
                plan.uncommitted.append(key)
        return plan

    def restore(self, plan: Plan) -> None:
        """Carry out a plan; after a kill, the same plan can be made and carried out again."""
        for key in plan.to_back_up:
            _copy(self._root / key, self._aside / key)
        git, index = Git(self._root), self._read_index()
        entries = index["entries"]
        # Somebody may have staged a path that is replaced now.
        newly_staged = set(_list_staged(git, plan.to_replace)) - set(index["staged"])
        if newly_staged:
            git.run("reset", "--quiet", "HEAD", "--", *sorted(newly_staged))
        for key in plan.to_replace:
            target, entry = self._root / key, entries[key]
            if entry["was"] is None:
                _remove(target)
            else:
                _copy(self._copies / entry["copy"], target)
        for key in entries:
            target = self._root / key
            # The temporary file of a writer that was killed.
            _remove(target.parent / f".{target.name}.part")

    def _expand_links(self, names: Iterable[str]) -> list[Path]:
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

    def _read_entries(self) -> dict[str, Any]:
        entries: dict[str, Any] = self._read_index()["entries"]
        return entries

    def _read_index(self) -> dict[str, Any]:
        try:
            index: dict[str, Any] = read_json(self._index)
        except NotFound:
            raise NotProject(
                f"the copies in {self._copies} are gone, so nothing can be put back from them",
                "Use Git's (`git checkout HEAD -- .`, `dvc checkout`), then remove "
                f"{self._copies.parent}.",
            ) from None
        return index

    def _read_record(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = read_json(self._writes)
        except NotFound:
            return {"writes": {}, "at_work": []}
        return record

    def _keys(self, names: Iterable[str]) -> set[str]:
        return {self._key(path) for path in self._expand_links(names)} & self._read_entries().keys()

    def _paths_at_work(self) -> set[str]:
        return set(self._read_record()["at_work"])

    def _add_to_record(self, marks: Mapping[str, str], at_work: set[str]) -> None:
        writes = self._read_record()["writes"]
        for key, mark in marks.items():
            writes[key] = sorted({*writes.get(key, ()), mark})
        write_json(self._writes, {"writes": writes, "at_work": sorted(at_work)})

    def _is_committed(self, git: Git, key: str) -> bool:
        """Whether the present content of a path is HEAD's."""
        if Path(key).is_absolute():
            return False
        entry = git.try_run("ls-tree", "HEAD", "--", f"./{key}")
        if fingerprint(self._root / key) is None:
            return not entry
        same = git.try_run("diff", "--quiet", "HEAD", "--", key) is not None
        untracked = git.try_run("ls-files", "--others", "--", key)
        return bool(entry) and same and not untracked

    def _changed_since(self, git: Git, key: str, since: str) -> bool:
        return git.try_run("diff", "--quiet", since, "HEAD", "--", key) is None


def _list_staged(git: Git, keys: Iterable[str]) -> list[str]:
    """The paths whose index entry differs from HEAD."""
    relative = [key for key in keys if not Path(key).is_absolute()]
    if not relative:
        return []
    output = git.run("diff", "--cached", "--name-only", "--relative", "-z", "HEAD", "--", *relative)
    return [name for name in output.split("\0") if name]


def _file_fingerprint(digest: str, *, executable: bool) -> str:
    return f"file {'x' if executable else '-'} {digest}"


def _copy(source: Path, target: Path) -> None:
    """Make ``target`` a copy of ``source``, whatever kind of file either is."""
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
