"""Blank lines of a CSV file: looked for, and left out of a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BLOCK", "has_blank_lines", "skip_mark", "without_blank_lines"]

BLOCK = 1 << 20
"""Bytes that are read at once."""
_BOM = b"\xef\xbb\xbf"


def skip_mark(file: BinaryIO) -> None:
    """Go behind the byte order mark of a UTF-8 file, or stay at its beginning."""
    if file.read(len(_BOM)) != _BOM:
        file.seek(0)


def has_blank_lines(path: Path) -> bool:
    """Whether there may be a line without a character; one within quotes counts too."""
    before = b"\n"
    with path.open("rb") as file:
        skip_mark(file)
        while block := file.read(BLOCK):
            joined = before + block
            if b"\n\n" in joined or b"\n\r\n" in joined:
                return True
            before = joined[-2:]
    return False


def without_blank_lines(path: Path, target: Path) -> Path:
    """Copy a CSV file without the blank lines that lie outside of quotes."""
    inside = False
    with path.open("rb") as file, target.open("wb") as copy:
        skip_mark(file)
        for line in file:
            if inside or line.strip(b"\r\n"):
                copy.write(line)
            inside ^= bool(line.count(b'"') & 1)
    return target
