"""Checks of values from a repository's files before they are used: hashes, paths, JSON.

A repository may be a stranger's, and its values must not reach beyond it: a hash must be an MD5,
a path must stay below its folder, and JSON is parsed within limits. Each kind of value has one
function; no other code makes a path from the content of a file.
"""

from __future__ import annotations

import errno
import json
import math
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlops_cli.errors import DataRefused, MlopsError

__all__ = [
    "MAX_JSON_BYTES",
    "data_hash",
    "data_path",
    "directory_files",
    "json_tree",
    "path_inside",
    "refuse_malformed",
]

_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")
_RESERVED = frozenset({".git", ".dvc"})
"""Folders of Git and DVC: files in them become settings, hooks and commands."""
_DRIVE = re.compile(r"[A-Za-z]:")
_PATH_BYTES, _NAME_BYTES, _FOLDERS = 4000, 255, 100
_DEPTH = 64
MAX_JSON_BYTES = 256 << 20
_MAX_FILES = 1_000_000
"""Maximum number of files of a folder that DVC tracks."""
_SHOWN = 120
_UNTRUSTED = "Don't trust this repository: no tool of Git or DVC writes that."


def data_hash(value: object, location: str) -> str:
    """Check the name of a DVC object: an MD5 in hexadecimal, with ``.dir`` for a folder.

    Raises
    ------
    DataRefused
        If the value is anything else.
    """
    if isinstance(value, str) and _HASH.fullmatch(value):
        return value
    raise DataRefused(f"{location} states the hash {_shorten(value)}, which is no MD5", _UNTRUSTED)


def data_path(value: object, location: str, folder: str = "") -> str:
    """Check a path, and normalise it: relative to the project, with slashes.

    Parameters
    ----------
    folder
        The folder below the project to which the path is relative.

    Raises
    ------
    DataRefused
        If it is no text, is absolute, leads out of the project or into ``.git`` or ``.dvc``, or
        isn't a valid path on some system.
    """
    problem = _path_problem(value)
    if problem is None and isinstance(value, str):
        joined = posixpath.normpath(posixpath.join(folder, value))
        names = joined.split("/")
        if names[0] == ".." or joined == ".":
            problem = "which is not below the project"
        elif any(_is_reserved(name) for name in names):
            problem = "which is Git's or DVC's own"
        elif len(names) > _FOLDERS:  # DVC visits all parents of each folder
            problem = f"which lies more than {_FOLDERS} folders deep"
        else:
            return joined
    raise DataRefused(f"{location} states the path {_shorten(value)}, {problem}", _UNTRUSTED)


def _path_problem(value: object) -> str | None:
    if not isinstance(value, str) or not value:
        return "which is no path"
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        return "which is no text"
    if "\0" in value or size > _PATH_BYTES:
        return "which is no path"
    if any(len(name.encode()) > _NAME_BYTES for name in value.split("/")):
        return "which has too long a name"
    if value.startswith("/") or "\\" in value or _DRIVE.match(value):
        return "which is not relative to the project"
    return None


def _is_reserved(name: str) -> bool:
    # Some file systems ignore case, and drop blanks and dots at the end.
    return name.rstrip(" .").casefold() in _RESERVED


def path_inside(root: Path, relative: str, location: str) -> Path:
    """The full path of a checked path, which must stay inside of the folder.

    Raises
    ------
    DataRefused
        If a symbolic link on the way leads out of the folder, or to itself.
    """
    path = root / relative
    if _is_endless(path):
        raise DataRefused(
            f"{location} states the path {relative!r}, where a link leads to itself",
            "Remove the link.",
        )
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataRefused(
            f"{location} states the path {relative!r}, where a link leads out of {root}",
            "Don't trust this repository, or remove the link.",
        )
    return path


def _is_endless(path: Path) -> bool:
    """Whether links on the way lead in a circle; ``resolve`` differs by Python version on them."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def directory_files(content: bytes, name: str) -> dict[str, str]:
    """Path -> MD5 of the files of a folder, from DVC's ``.dir`` object.

    Raises
    ------
    DataRefused
        If it isn't such an object, or lists a path that is not below the folder.
    """
    entries = json_tree(content, name)
    if not isinstance(entries, list):
        raise DataRefused(f"{name} is not a list of a folder's files", _UNTRUSTED)
    if len(entries) > _MAX_FILES:
        raise DataRefused(f"{name} lists more than {_MAX_FILES:,} files", _UNTRUSTED)
    files: dict[str, str] = {}
    folders: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict):
            raise DataRefused(f"{name} lists {_shorten(entry)}, which is no file", _UNTRUSTED)
        relative, md5 = entry.get("relpath"), data_hash(entry.get("md5"), name)
        path = data_path(relative, name)
        if posixpath.basename(path).casefold() == ".dvcignore":  # DVC never lists one
            raise DataRefused(f"{name} lists {_shorten(path)}, which is DVC's own", _UNTRUSTED)
        if path != relative or path in files or md5.endswith(".dir"):
            raise DataRefused(
                f"{name} lists {_shorten(relative)} twice, or not by its own name", _UNTRUSTED
            )
        files[path] = md5
        folders.update(_parents(path))
    if conflicts := sorted(folders & files.keys()):
        raise DataRefused(f"{name} lists {conflicts[0]!r} as a file and as a folder", _UNTRUSTED)
    return files


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def json_tree(content: bytes | str, location: str) -> Any:
    """Parse JSON without NaN or infinite numbers, within limits of size and depth.

    Raises
    ------
    DataRefused
        If it is anything else.
    """
    problem = None
    if len(content) > MAX_JSON_BYTES:
        problem = f"is larger than {MAX_JSON_BYTES >> 20} MB"
    else:
        try:
            tree = json.loads(content, parse_float=_parse_finite, parse_constant=_parse_finite)
            if not _is_deeper(tree, _DEPTH):
                return tree
            problem = f"is nested more than {_DEPTH} levels deep"
        except RecursionError:
            problem = f"is nested more than {_DEPTH} levels deep"
        except ValueError as error:
            problem = f"is not readable as JSON: {' '.join(str(error).split())[:_SHOWN]}"
    raise DataRefused(
        f"{location} {problem}",
        "Bring it back with `git checkout` or `dvc checkout`, or create it again with `mlops run`.",
    )


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_SHOWN]} is not a finite number")
    return number


def _is_deeper(tree: Any, limit: int) -> bool:
    level = [tree]
    for _ in range(limit + 1):
        level = [
            inner
            for node in level
            if isinstance(node, dict | list)
            for inner in (node.values() if isinstance(node, dict) else node)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


@contextmanager
def refuse_malformed(location: str, hint: str) -> Iterator[None]:
    """Turn an error of reading a structure (a missing key, another type) into a refusal.

    Raises
    ------
    DataRefused
        Instead of any error that isn't a ``MlopsError``.
    """
    try:
        yield
    except MlopsError:
        raise
    # A stranger's structure may cause any kind of error.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
        raise DataRefused(
            f"{location} is not of the form that it has to be ({reason})", hint
        ) from error


def _shorten(value: object) -> str:
    try:
        text = ascii(value) if isinstance(value, str) else f"{type(value).__name__} {value!r:.80}"
    except ValueError:  # a number of too many digits
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
