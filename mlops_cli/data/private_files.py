"""Files with values of the data, which are for their owner only: mode 0600, folders 0700."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["private_database", "private_file", "private_folder", "private_parent", "tighten"]

_FILE, _FOLDER = 0o600, 0o700
_WORK = ".mlops"


def private_folder(path: Path) -> None:
    """Make a folder that only its owner can look into; one that is there is tightened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=_FOLDER, exist_ok=True)
    tighten(path)


def private_parent(path: Path) -> None:
    """Make the folder of a file such a one; a folder of someone's own stays as it is."""
    if not path.parent.exists() or path.parent.name == _WORK:
        private_folder(path.parent)


def private_file(path: Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file as ``open`` does, for its owner only; one that is there is tightened."""
    tighten(path)
    return open(path, mode, opener=_owner_only, **options)


def private_database(path: Path) -> None:
    """Make the file of a SQLite database, or tighten it, with what lies beside it."""
    private_parent(path)
    if not path.exists():
        private_file(path, "ab").close()
    # SQLite makes these with the rights of the file itself.
    tighten(path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-shm", "-journal")))


def tighten(*paths: Path) -> None:
    """Take others' rights away from files and folders, as far as they are there and ours."""
    for path in paths:
        # A folder that is mounted may be of another owner, who has said whom it is for.
        with suppress(FileNotFoundError, PermissionError):
            rights = _FOLDER if path.is_dir() else _FILE
            if path.stat().st_mode & 0o777 & ~rights:
                path.chmod(rights)


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, _FILE)
