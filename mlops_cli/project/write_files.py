"""Texts put into a folder that is the user's own: never over other work, unless told to."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.errors import Usage

__all__ = ["write_files"]


def write_files(folder: Path, wanted: Mapping[str, str], *, force: bool = False) -> list[str]:
    """Write texts by their path below a folder; give these paths.

    Raises
    ------
    Usage
        If one of them is there and differs, unless ``force``; or the folder can't be written.
    """
    try:
        foreign = [path for path, text in wanted.items() if _differs(folder / path, text)]
        if foreign and not force:
            raise Usage(
                f"{', '.join(foreign)} would be overwritten in {folder}",
                "Keep it, or add --force to replace it.",
            )
        for path, text in wanted.items():
            with atomic_write(folder / path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Usage(
            f"{error.filename or folder} can't be written: {error.strerror or error}",
            "Name another folder, or make room for it there.",
        ) from error
    return list(wanted)


def _differs(path: Path, text: str) -> bool:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    return path.exists() and path.read_bytes() != text.encode()
