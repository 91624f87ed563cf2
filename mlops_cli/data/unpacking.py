"""Bounded decompression: a gzip file can't fill the disk or the memory (zip bomb)."""

from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DiskFull

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BoundedGzip", "check_room"]

_ALWAYS_ALLOWED = 64 << 20
"""Bytes that any file may unpack to."""
_RATIO = 250
"""Maximum ratio: tables have about 10, columns of one value 100, and gzip at most 1,000."""
_MIN_FREE = 256 << 20
"""Bytes that must stay free on the disk."""


class BoundedGzip(gzip.GzipFile):
    """A gzip file that fails when it unpacks to more than a table would.

    Raises
    ------
    gzip.BadGzipFile
        As soon as it has unpacked to over 64 MB and over 250 times the bytes read from it.
    """

    def read(self, size: int | None = -1) -> bytes:
        """Read the next bytes; the class describes the limits."""
        block = super().read(size)
        compressed: Any = self.fileobj
        if self.tell() > max(_ALWAYS_ALLOWED, _RATIO * compressed.tell()):
            raise gzip.BadGzipFile(
                f"it unpacks to over {_RATIO} times its size; unpack it yourself if that is right"
            )
        return block


def check_room(folder: Path, file_name: str) -> None:
    """Refuse to continue unpacking if the disk is almost full.

    Raises
    ------
    DiskFull
        If fewer than 256 MB are left.
    """
    if shutil.disk_usage(folder).free < _MIN_FREE:
        raise DiskFull(
            f"unpacking {file_name} leaves less than {_MIN_FREE >> 20} MB on the disk of {folder}",
            "Make room, or give the part of the file that is needed.",
        )
