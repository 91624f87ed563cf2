"""Blank lines of a CSV file: detection, and a copy without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BLOCK_BYTES", "has_blank_lines", "skip_mark", "without_blank_lines"]

BLOCK_BYTES = 1 << 20
"""Bytes that are read at a time."""
_BOM = b"\xef\xbb\xbf"


def skip_mark(file: BinaryIO) -> None:
    """Skip the byte order mark of a UTF-8 file, if it has one."""
    if file.read(len(_BOM)) != _BOM:
        file.seek(0)


def has_blank_lines(path: Path) -> bool:
    """Whether there may be an empty line; one within quotes counts, too."""
    carried = b"\n"
    with path.open("rb") as file:
        skip_mark(file)
        while block := file.read(BLOCK_BYTES):
            joined = carried + block
            if b"\n\n" in joined or b"\n\r\n" in joined:
                return True
            carried = joined[-2:]
    return False


def without_blank_lines(path: Path, target: Path) -> Path:
    """Copy a CSV file without its blank lines outside of quotes."""
    inside = False
    with path.open("rb") as file, target.open("wb") as copy:
        skip_mark(file)
        for line in file:
            if inside or line.strip(b"\r\n"):
                copy.write(line)
            inside ^= bool(line.count(b'"') & 1)
    return target
