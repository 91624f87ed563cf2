"""Values that files of a repository state, checked before anything is done with them.

A repository may be a stranger's, and what it states must not reach beyond it: a hash names an
object only if it is one, a path is used only if it stays below the folder that it belongs to, and
JSON is read within limits. One function for each kind of value; nothing else makes a path of what
a file says.
"""

from __future__ import annotations

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
    "LARGEST_JSON",
    "data_hash",
    "data_path",
    "directory_files",
    "json_tree",
    "path_inside",
    "refuse_malformed",
]

_HASH = re.compile(r"[0-9a-f]{32}(\.dir)?")
_RESERVED = frozenset({".git", ".dvc"})
"""Folders of Git and DVC: what is written there becomes settings, hooks, commands."""
_DRIVE = re.compile(r"[A-Za-z]:")
_PATH_BYTES, _NAME_BYTES, _FOLDERS = 4000, 255, 100
_DEPTH = 64
LARGEST_JSON = 256 << 20
_FILES = 1_000_000
"""Of a folder that DVC keeps."""
_SHOWN = 120
_UNTRUSTED = "Don't trust this repository: no tool of Git or DVC writes that."


def data_hash(value: object, place: str) -> str:
    """An MD5 in hexadecimal, for a folder with ``.dir``, as DVC names objects.

    Raises
    ------
    DataRefused
        If the value is anything else.
    """
    if isinstance(value, str) and _HASH.fullmatch(value):
        return value
    raise DataRefused(f"{place} states the hash {_short(value)}, which is no MD5", _UNTRUSTED)


def data_path(value: object, place: str, folder: str = "") -> str:
    """A path below the project, normal and with slashes.

    Parameters
    ----------
    folder
        What the path is relative to, below the project.

    Raises
    ------
    DataRefused
        If it is no text, absolute, leads out of the project, into ``.git`` or ``.dvc``, or is no
        path on some system.
    """
    problem = _problem(value)
    if problem is None and isinstance(value, str):
        joined = posixpath.normpath(posixpath.join(folder, value))
        names = joined.split("/")
        if names[0] == ".." or joined == ".":
            problem = "which is not below the project"
        elif any(_is_reserved(name) for name in names):
            problem = "which is Git's or DVC's own"
        elif len(names) > _FOLDERS:  # for each of them DVC looks at all those above
            problem = f"which lies more than {_FOLDERS} folders deep"
        else:
            return joined
    raise DataRefused(f"{place} states the path {_short(value)}, {problem}", _UNTRUSTED)


def _problem(value: object) -> str | None:
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
    # Some file systems fold case, and drop blanks and dots at the end.
    return name.rstrip(" .").casefold() in _RESERVED


def path_inside(root: Path, relative: str, place: str) -> Path:
    """The place of a checked path, which no link leads out of the folder.

    Raises
    ------
    DataRefused
        If a link on the way does.
    """
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataRefused(
            f"{place} states the path {relative!r}, where a link leads out of {root}",
            "Don't trust this repository, or remove the link.",
        )
    return path


def directory_files(content: bytes, name: str) -> dict[str, str]:
    """Path -> MD5 of the files of a folder, from DVC's object for it (``.dir``).

    Raises
    ------
    DataRefused
        If it isn't such an object, or lists what is not below the folder.
    """
    entries = json_tree(content, name)
    if not isinstance(entries, list):
        raise DataRefused(f"{name} is not a list of a folder's files", _UNTRUSTED)
    if len(entries) > _FILES:
        raise DataRefused(f"{name} lists more than {_FILES:,} files", _UNTRUSTED)
    files: dict[str, str] = {}
    folders: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict):
            raise DataRefused(f"{name} lists {_short(entry)}, which is no file", _UNTRUSTED)
        relative, md5 = entry.get("relpath"), data_hash(entry.get("md5"), name)
        path = data_path(relative, name)
        if posixpath.basename(path).casefold() == ".dvcignore":  # DVC takes none into a listing
            raise DataRefused(f"{name} lists {_short(path)}, which is DVC's own", _UNTRUSTED)
        if path != relative or path in files or md5.endswith(".dir"):
            raise DataRefused(
                f"{name} lists {_short(relative)} twice, or not by its own name", _UNTRUSTED
            )
        files[path] = md5
        folders.update(_above(path))
    if both := sorted(folders & files.keys()):
        raise DataRefused(f"{name} lists {both[0]!r} as a file and as a folder", _UNTRUSTED)
    return files


def _above(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def json_tree(content: bytes | str, place: str) -> Any:
    """JSON without NaN or infinite numbers, within limits of size and depth.

    Raises
    ------
    DataRefused
        If it is anything else.
    """
    problem = None
    if len(content) > LARGEST_JSON:
        problem = f"is larger than {LARGEST_JSON >> 20} MB"
    else:
        try:
            tree = json.loads(content, parse_float=_finite, parse_constant=_finite)
            if not _is_deeper(tree, _DEPTH):
                return tree
            problem = f"is nested more than {_DEPTH} levels deep"
        except RecursionError:
            problem = f"is nested more than {_DEPTH} levels deep"
        except ValueError as error:
            problem = f"is not readable as JSON: {' '.join(str(error).split())[:_SHOWN]}"
    raise DataRefused(
        f"{place} {problem}",
        "Bring it back with `git checkout` or `dvc checkout`, or make it anew with `mlops run`.",
    )


def _finite(text: str) -> float:
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
def refuse_malformed(place: str, hint: str) -> Iterator[None]:
    """Take any error of reading a structure (a missing key, another type) for its refusal.

    Raises
    ------
    DataRefused
        Instead of an error that isn't of our family.
    """
    try:
        yield
    except MlopsError:
        raise
    # What a stranger's structure makes Python raise can't be listed.
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:_SHOWN]
        raise DataRefused(f"{place} is not of the form that it has to be ({said})", hint) from error


def _short(value: object) -> str:
    try:
        text = ascii(value) if isinstance(value, str) else f"{type(value).__name__} {value!r:.80}"
    except ValueError:  # a number of too many digits
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
