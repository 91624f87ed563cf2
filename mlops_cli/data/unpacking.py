"""gzip files that can't fill the disk or the memory: what they unpack to is bounded."""

from __future__ import annotations

import gzip
import shutil
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import DiskFull

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BoundedGzip", "check_room"]

_FLOOR = 64 << 20
"""Bytes that any file may unpack to."""
_RATIO = 250
"""Tables pack to a tenth, columns of one value to a hundredth; gzip's most is a thousandth."""
_LEFT = 256 << 20
"""Bytes that stay free on a disk."""


class BoundedGzip(gzip.GzipFile):
    """A gzip file that is read until it gives more than tables do.

    Raises
    ------
    gzip.BadGzipFile
        As soon as it has given over 64 MB and over 250 times what was read of it.
    """

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes; see the class for what it refuses."""
        block = super().read(size)
        packed: Any = self.fileobj
        if self.tell() > max(_FLOOR, _RATIO * packed.tell()):
            raise gzip.BadGzipFile(
                f"it unpacks to over {_RATIO} times its size; unpack it yourself if that is right"
            )
        return block


def check_room(folder: Path, what: str) -> None:
    """Refuse to go on unpacking where the disk would be full.

    Raises
    ------
    DiskFull
        If fewer than 256 MB are left.
    """
    if shutil.disk_usage(folder).free < _LEFT:
        raise DiskFull(
            f"unpacking {what} leaves less than {_LEFT >> 20} MB on the disk of {folder}",
            "Make room, or give the part of the file that is needed.",
        )
