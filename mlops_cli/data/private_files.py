"""Files that hold data, for their owner only: mode 0600, and folders 0700."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["private_database", "private_file", "private_folder", "private_parent", "tighten"]

_FILE, _FOLDER = 0o600, 0o700
_WORK_FOLDER = ".mlops"


def private_folder(path: Path) -> None:
    """Create a folder that only its owner can read; tighten the mode of an existing one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=_FOLDER, exist_ok=True)
    tighten(path)


def private_parent(path: Path) -> None:
    """Create the private folder of a file; an existing one stays as it is, unless it is ours."""
    if not path.parent.exists() or path.parent.name == _WORK_FOLDER:
        private_folder(path.parent)


def private_file(path: Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file like ``open``, for its owner only; tighten the mode of an existing one."""
    tighten(path)
    return open(path, mode, opener=_open_for_owner, **options)


def private_database(path: Path) -> None:
    """Create the file of a SQLite database, or tighten its mode and those of its journals."""
    private_parent(path)
    if not path.exists():
        private_file(path, "ab").close()
    # SQLite creates these with the mode of the database file.
    tighten(path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm", "-journal")))


def tighten(*paths: Path) -> None:
    """Remove others' permissions from files and folders, if they exist and belong to us."""
    for path in paths:
        # A mounted folder may belong to another owner, who decides who may read it.
        with suppress(FileNotFoundError, PermissionError):
            mode = _FOLDER if path.is_dir() else _FILE
            if path.stat().st_mode & 0o777 & ~mode:
                path.chmod(mode)


def _open_for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE)
