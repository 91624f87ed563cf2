"""``dvc.lock`` at a commit, and a commit's files in a temporary folder."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlops_cli.data.untrusted import data_hash, data_path, refuse_malformed
from mlops_cli.errors import DataRefused
from mlops_cli.params.reading import BadYaml, load_yaml
from mlops_cli.project.dvc_objects import file_md5
from mlops_cli.project.git import Git
from mlops_cli.project.ignore_files import refuse_ignores
from mlops_cli.project.tracked import refuse_unsafe

__all__ = ["Entry", "Lock", "files_at_commit", "hash_of", "lock_at", "refuse_large"]

_MAX_FILES, _MAX_BYTES = 200_000, 8 << 30
"""Limits of a commit, in Git."""
_FULL_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HINT = "Register another version; this commit cannot be mended."


@dataclass(frozen=True)
class Entry:
    """One file or folder of a stage; ``md5`` ends in ``.dir`` for a folder."""

    stage: str
    path: str
    md5: str
    is_output: bool
    """Whether the stage writes it; else the stage reads it."""
    size: int | None = None
    """Bytes, if stated; of a folder, those of all its files."""


@dataclass(frozen=True)
class Lock:
    """``dvc.lock`` of a commit, with the data that ``*.dvc`` files track there.

    Attributes
    ----------
    stages
        In the file's order.
    entries
        Files and folders that stages read or write and that have a hash.
    params
        Stage -> file -> dotted key -> value.
    sources
        Path -> MD5 of the data that ``*.dvc`` files track: no stage makes it.
    git_paths
        Paths that Git has at the commit.
    sizes
        MD5 -> bytes, if stated; of a folder, those of all its files.
    """

    stages: tuple[str, ...]
    entries: tuple[Entry, ...]
    params: Mapping[str, Mapping[str, Mapping[str, Any]]]
    sources: Mapping[str, str]
    git_paths: frozenset[str]
    sizes: Mapping[str, int]

    def output_md5(self, path: str) -> str | None:
        """The MD5 of an output; None if no stage makes it."""
        return next((e.md5 for e in self.entries if e.is_output and e.path == path), None)

    @property
    def dvc_hashes(self) -> dict[str, str]:
        """Path -> MD5 of everything in DVC: outputs that aren't in Git, and sources."""
        outs = {e.path: e.md5 for e in self.entries if e.is_output and not self._in_git(e.path)}
        return outs | dict(self.sources)

    @property
    def git_hashes(self) -> dict[str, str]:
        """Path -> MD5 of inputs and outputs that are in Git, such as code and reports."""
        return {e.path: e.md5 for e in self.entries if self._in_git(e.path)}

    @property
    def unsaved_inputs(self) -> list[str]:
        """Inputs that are neither in Git nor in DVC."""
        data = self.dvc_hashes
        return sorted(
            {
                e.path
                for e in self.entries
                if not self._in_git(e.path) and not any(_overlaps(e.path, path) for path in data)
            }
        )

    def _in_git(self, path: str) -> bool:
        return path in self.git_paths or any(name.startswith(f"{path}/") for name in self.git_paths)


def lock_at(root: Path, commit: str) -> Lock | None:
    """Read ``dvc.lock`` at a commit; None if the commit has none.

    Raises
    ------
    DataRefused
        If it, or a ``.dvc`` file, can't be read, or states an invalid hash or a path outside of the
        project.
    """
    if not _FULL_HASH.fullmatch(commit):
        return _read_lock(root, commit)
    with suppress(_AbsentError):
        return _read_cached_lock(root, commit)
    return None


class _AbsentError(Exception):
    """The commit, or its ``dvc.lock``, is missing; not cached, because a fetch may bring it."""


@lru_cache(maxsize=16)
def _read_cached_lock(root: Path, commit: str) -> Lock:
    """The cached lock of a full hash: it never changes, and `mlops verify` reads it three times."""
    lock = _read_lock(root, commit)
    if lock is None:
        raise _AbsentError(commit)
    return lock


def _read_lock(root: Path, commit: str) -> Lock | None:
    git = Git(root)
    refuse_large(git, commit, sizes=False)
    # With ./ a path is below the project, which may lie in a subfolder of the repository.
    text = git.read(commit, "dvc.lock")
    if text is None:
        return None
    names = git.run("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    git_paths = frozenset(name for name in names if name)
    with refuse_malformed(f"dvc.lock of commit {commit[:9]}", _HINT):
        stages = _load_mapping(text, "dvc.lock", commit).get("stages") or {}
        entries = tuple(_iterate_entries(stages, _read_wdirs(git, commit)))
        sources = tuple(
            _iterate_sources(git, commit, sorted(n for n in git_paths if n.endswith(".dvc")))
        )
        return Lock(
            tuple(str(name) for name in stages),
            entries,
            {
                str(name): {
                    data_path(file, f"dvc.lock, stage {name},"): dict(values)
                    for file, values in (stage.get("params") or {}).items()
                }
                for name, stage in stages.items()
            },
            {e.path: e.md5 for e in sources},
            git_paths,
            {e.md5: e.size for e in (*entries, *sources) if e.size is not None},
        )


@contextmanager
def files_at_commit(root: Path, commit: str) -> Iterator[Path]:
    """The project's files at a commit, in a temporary folder that is removed afterwards.

    Neither the workspace nor the index is touched.

    Raises
    ------
    DataRefused, BadParams
        If a link, or a setting of DVC's, leads out of the commit.
    """
    git = Git(root)
    top = Git(Path(git.run("rev-parse", "--show-toplevel").strip()))
    prefix = git.run("rev-parse", "--show-prefix").strip()
    refuse_large(git, commit)
    refuse_unsafe(root, commit)
    # Not in the project, which may be read-only.
    with tempfile.TemporaryDirectory(prefix="mlops-commit-") as scratch:
        environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        top.run("read-tree", commit, environment=environment)
        top.run(
            "checkout-index",
            "--all",
            "--quiet",
            f"--prefix={scratch}/tree/",
            environment=environment,
        )
        tree = Path(scratch) / "tree" / prefix
        refuse_ignores(tree, git.run("ls-tree", "-r", "-z", "--name-only", commit).split("\0"))
        yield tree


def hash_of(root: Path, path: str) -> str | None:
    """The MD5 of a file or folder as DVC computes it; None if nothing is there."""
    target = root / path
    if target.is_file():
        return file_md5(target)
    if not target.is_dir():
        return None
    from dvc.fs import LocalFileSystem
    from dvc.ignore import DvcIgnoreFilter

    filesystem = LocalFileSystem()
    paths = DvcIgnoreFilter(filesystem, str(root)).find(filesystem, str(target))
    entries = sorted((Path(f).relative_to(target).as_posix(), file_md5(Path(f))) for f in paths)
    text = json.dumps([{"md5": md5, "relpath": name} for name, md5 in entries])
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def _read_wdirs(git: Git, commit: str) -> dict[str, str]:
    """Stage -> the folder that its paths are relative to (``wdir``), unless it is the project."""
    text = git.read(commit, "dvc.yaml")
    try:
        stages = (load_yaml(text) if text else {})["stages"]
        wdirs = {
            name: stage.get("do", stage).get("wdir")
            for name, stage in stages.items()
            if isinstance(stage, dict)
        }
    except (BadYaml, AttributeError, KeyError, TypeError):
        return {}
    # Only DVC can expand a ${variable}.
    return {n: w for n, w in wdirs.items() if isinstance(w, str) and "$" not in w}


def _iterate_entries(stages: Mapping[str, Any], folders: Mapping[str, str]) -> Iterator[Entry]:
    for name, stage in stages.items():
        place = f"dvc.lock, stage {name},"
        # A stage of a loop has the loop's name before the @: train@2024.
        folder = folders.get(name.partition("@")[0], "")
        for kind in ("deps", "outs"):
            for entry in stage.get(kind) or ():
                # An entry that is elsewhere (at a URL) has another kind of hash, not an MD5.
                if "md5" in entry:
                    md5 = data_hash(entry["md5"], place)
                    path = data_path(entry["path"], place, folder)
                    yield Entry(name, path, md5, kind == "outs", _size(entry))


def _iterate_sources(git: Git, commit: str, files: list[str]) -> Iterator[Entry]:
    for file in files:
        place = f"{file} of commit {commit[:9]}"
        with refuse_malformed(place, _HINT):
            tree = _load_mapping(git.run("show", f"{commit}:./{file}"), file, commit)
            folder = posixpath.join(posixpath.dirname(file), tree.get("wdir") or "")
            for out in tree.get("outs") or ():
                if "md5" in out:
                    md5 = data_hash(out["md5"], place)
                    path = data_path(out["path"], place, folder)
                    yield Entry(file, path, md5, is_output=False, size=_size(out))


def _size(entry: Mapping[str, Any]) -> int | None:
    size = entry.get("size")
    return size if isinstance(size, int) and size >= 0 else None


def refuse_large(git: Git, commit: str, *, sizes: bool = True) -> None:
    """Refuse a commit with more files, or larger ones, than a project has.

    Parameters
    ----------
    sizes
        Whether sizes count: a partial clone would have to fetch the contents to know them.

    Raises
    ------
    DataRefused
        If it is too large; before all files are listed, or any is written.
    """
    total, options = 0, ("-l",) if sizes else ()
    with closing(git.records("ls-tree", "-r", *options, "-z", "--full-tree", commit)) as records:
        for count, record in enumerate(records, 1):
            size = record.partition("\t")[0].rpartition(" ")[2]
            total += int(size) if sizes and size.isdecimal() else 0
            if count > _MAX_FILES or total > _MAX_BYTES:
                limit = (
                    f"{_MAX_FILES:,} files"
                    if count > _MAX_FILES
                    else f"{_MAX_BYTES >> 30} GB of files"
                )
                raise DataRefused(
                    f"commit {commit[:9]} has more than {limit} in Git",
                    "Don't trust this repository, or keep large data in DVC and not in Git.",
                )


def _load_mapping(text: str, path: str, commit: str) -> dict[str, Any]:
    try:
        tree = load_yaml(text)
    except BadYaml:
        tree = None
    if not isinstance(tree, dict):
        raise DataRefused(f"{path} of commit {commit[:9]} cannot be read as DVC wrote it", _HINT)
    return tree


def _overlaps(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")
