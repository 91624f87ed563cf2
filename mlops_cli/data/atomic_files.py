"""Atomic file writes, JSON files, and detection of a full disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlops_cli.data.untrusted import json_tree
from mlops_cli.errors import DiskFull, NotFound

__all__ = [
    "append_json_line",
    "atomic_write",
    "is_full",
    "json_text",
    "read_json",
    "read_json_lines",
    "sha256",
    "write_json",
]  # fmt: skip


@contextmanager
def atomic_write(target: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces ``target`` when the block ends without an error.

    The block may create a file or a folder there. On an error it is removed and ``target`` stays
    as it was; after a kill, the next call removes the leftover (a dot name).

    Raises
    ------
    DiskFull
        If writing failed because the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{target.name}.part"
    _remove(temporary)
    try:
        yield temporary
        _remove_folder(target)
        temporary.replace(target)
    except BaseException as error:
        _remove(temporary)
        if is_full(error):
            raise DiskFull(
                f"no space is left on the disk of {target.parent} to write {target.name}",
                "Free some space and run again; nothing half-written was left.",
            ) from error
        raise


def json_text(content: Any) -> str:
    """Serialise to JSON: the same text for the same content, and readable in a diff."""
    text = json.dumps(content, indent=2, sort_keys=False, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write ``json_text(content)`` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(json_text(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file that ``write_json`` wrote.

    Raises
    ------
    NotFound
        If the file doesn't exist, because the stage that makes it hasn't run.
    DataRefused
        If it isn't JSON, or exceeds the limits of size and depth.
    """
    try:
        return json_tree(path.read_bytes(), str(path))
    except FileNotFoundError:
        raise NotFound(
            f"{path} is not there",
            "It is made by an earlier stage; bring everything up to date with `mlops run`.",
        ) from None


def append_json_line(path: Path, entry: Mapping[str, Any]) -> None:
    """Append an object to a JSON Lines file, durably (fsync).

    If a kill cut off the last line, the new object begins a line of its own, so that it stays
    readable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    line = json.dumps(entry, ensure_ascii=False, allow_nan=False)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects that ``append_json_line`` wrote; empty if the file doesn't exist.

    A line that a kill cut off is skipped.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        with suppress(ValueError):
            entries.append(json.loads(line))
    return [entry for entry in entries if isinstance(entry, dict)]


def is_full(error: BaseException) -> bool:
    """Whether an error of the operating system or of a library means that the disk is full."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return True
    # Polars and Arrow wrap the operating system's error in their own type.
    text = str(error)
    return "No space left on device" in text or f"os error {errno.ENOSPC})" in text


def _remove_folder(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink()


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
