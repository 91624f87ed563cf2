"""Writes generated files without overwriting the user's, unless ``force``."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.errors import Usage

__all__ = ["write_files"]


def write_files(folder: Path, texts: Mapping[str, str], *, force: bool = False) -> list[str]:
    """Write texts by their path below a folder; return these paths.

    Raises
    ------
    Usage
        If a file exists with other content, unless ``force``; or if the folder can't be written to.
    """
    try:
        conflicts = [path for path, text in texts.items() if _differs(folder / path, text)]
        if conflicts and not force:
            raise Usage(
                f"{', '.join(conflicts)} would be overwritten in {folder}",
                "Keep it, or add --force to replace it.",
            )
        for path, text in texts.items():
            with atomic_write(folder / path) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Usage(
            f"{error.filename or folder} can't be written: {error.strerror or error}",
            "Name another folder, or make room for it there.",
        ) from error
    return list(texts)


def _differs(path: Path, text: str) -> bool:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    return path.exists() and path.read_bytes() != text.encode()
