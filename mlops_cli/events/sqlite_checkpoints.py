"""Bringing a write-ahead log into its database, beside the commits instead of within one.

SQLite does it in the commit that makes the log too long, which takes 20 ms and more while everyone
who waits for that commit waits on. Another connection can do it meanwhile; what came in the
meantime is little, and is brought in after a commit.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from bisect import bisect_left
from contextlib import closing, suppress
from pathlib import Path

__all__ = ["Checkpoints"]

_LONG = 4_000_000
"""Bytes of a write-ahead log that is brought in."""
_BRING = "PRAGMA wal_checkpoint(PASSIVE)"
"""Waits for no one, and keeps no one waiting."""
_TIMES = 3
# The log's file stays long when the log begins anew: then its header and its frames have another
# salt (https://www.sqlite.org/walformat.html). The -shm file says more, but who closes that lets go
# of all of SQLite's locks in the process.
_HEADER, _FRAME = 32, 24


class Checkpoints:
    """Sees to the write-ahead log of one database, for the one thread that writes to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log: int | None = None
        self._thread: threading.Thread | None = None

    def committed(self, db: sqlite3.Connection) -> None:
        """Begin where it is time; to be called after each commit. Never fails."""
        # What can't be brought in now stays in the log, where it is as safe.
        with suppress(OSError, sqlite3.Error):
            if self._thread is None:
                if self._length() >= _LONG:
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
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _length(self) -> int:
        """Bytes of the log since it began anew."""
        if self._log is None:
            self._log = os.open(f"{self._path}-wal", os.O_RDONLY)
        log, header = self._log, os.pread(self._log, _HEADER, 0)
        salt, size = header[16:24], int.from_bytes(header[8:12]) + _FRAME
        frames = range(_HEADER, os.fstat(log).st_size, size)
        return size * bisect_left(frames, True, key=lambda at: os.pread(log, 8, at + 8) != salt)

    def _bring(self) -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._path)) as db:
            # Each time what came in during the last one, so that little is left for a commit.
            for _ in range(_TIMES):
                db.execute(_BRING)
