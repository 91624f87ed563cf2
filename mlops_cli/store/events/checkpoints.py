"""Bringing a write-ahead log into its database, beside the commits instead of within one.

SQLite does it in the commit that makes the log too long, which takes 20 ms and more while everyone
who waits for that commit waits on. Another connection can do it meanwhile; what came in the
meantime is little, and is brought in after a commit.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
from contextlib import closing, suppress
from pathlib import Path

__all__ = ["Checkpoints"]

_LONG = 4_000_000
"""Bytes of a write-ahead log that is brought in."""
_BRING = "PRAGMA wal_checkpoint(PASSIVE)"
"""Waits for no one, and keeps no one waiting."""
_TIMES = 3
# The log's file stays long when the log begins anew. How long that is stands in its index, the
# -shm file (https://www.sqlite.org/walformat.html): the page's size, the last frame, and the last
# of those that are in the database.
_FIELDS = ((14, "=H"), (16, "=I"), (96, "=I"))
_INDEX = 100


class Checkpoints:
    """Sees to the write-ahead log of one database, for the one thread that writes to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._index: int | None = None
        self._thread: threading.Thread | None = None

    def committed(self, db: sqlite3.Connection) -> None:
        """Begin where it is time; to be called after each commit. Never fails."""
        # What can't be brought in now stays in the log, where it is as safe.
        with suppress(OSError, sqlite3.Error):
            if self._thread is None:
                if self._waiting() >= _LONG:
                    self._thread = threading.Thread(target=self._bring, name="checkpoint")
                    self._thread.start()
            elif not self._thread.is_alive():
                self._thread = None
                # The log begins anew once all of it is in the database.
                db.execute(_BRING)

    def close(self) -> None:
        """Wait until the database is let go of."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._index is not None:
            os.close(self._index)
            self._index = None

    def _waiting(self) -> int:
        """Bytes of the log that aren't in the database."""
        if self._index is None:
            self._index = os.open(f"{self._path}-shm", os.O_RDONLY)
        index = os.pread(self._index, _INDEX, 0)
        if len(index) < _INDEX:
            return 0
        page, last, brought = (int(struct.unpack_from(f, index, at)[0]) for at, f in _FIELDS)
        return (last - brought) * (65_536 if page == 1 else page)

    def _bring(self) -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._path)) as db:
            # Each time what came in during the last one, so that little is left for a commit.
            for _ in range(_TIMES):
                db.execute(_BRING)
