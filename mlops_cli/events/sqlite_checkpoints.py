"""Checkpoints of a SQLite write-ahead log in a background thread, outside of commits.

SQLite runs a checkpoint within the commit that makes the log too long. That takes 20 ms and more,
while all requests of the commit wait. Here, another connection runs it in parallel. The few events
that arrive meanwhile are checkpointed after a later commit.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from bisect import bisect_left
from contextlib import closing, suppress
from pathlib import Path

__all__ = ["Checkpoints"]

_MAX_LOG_BYTES = 4_000_000
"""Size of the write-ahead log from which on a checkpoint runs."""
_CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
"""A passive checkpoint doesn't wait for other connections and doesn't block them."""
_CHECKPOINTS = 3
# When the log restarts, its file doesn't shrink. Frames of the current log have the salt of the
# header (https://www.sqlite.org/walformat.html). The -shm file has the length, but closing that
# file would release all of SQLite's locks in the process.
_HEADER, _FRAME = 32, 24


class Checkpoints:
    """Runs the checkpoints of one database, for its only writer thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log: int | None = None
        self._thread: threading.Thread | None = None

    def after_commit(self, db: sqlite3.Connection) -> None:
        """Start a checkpoint if the log is long. To be called after each commit; never raises."""
        # If a checkpoint fails, the commits stay in the log, which is just as safe.
        with suppress(OSError, sqlite3.Error):
            if self._thread is None:
                if self._length() >= _MAX_LOG_BYTES:
                    self._thread = threading.Thread(target=self._checkpoint, name="checkpoint")
                    self._thread.start()
            elif not self._thread.is_alive():
                self._thread = None
                # SQLite restarts the log once all of it is in the database.
                db.execute(_CHECKPOINT)

    def close(self) -> None:
        """Wait for the checkpoint thread, and close the log file."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def _length(self) -> int:
        """Bytes of the log since its last restart."""
        if self._log is None:
            self._log = os.open(f"{self._path}-wal", os.O_RDONLY)
        log, header = self._log, os.pread(self._log, _HEADER, 0)
        salt, size = header[16:24], int.from_bytes(header[8:12]) + _FRAME
        frames = range(_HEADER, os.fstat(log).st_size, size)
        return size * bisect_left(frames, True, key=lambda pos: os.pread(log, 8, pos + 8) != salt)

    def _checkpoint(self) -> None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._path)) as db:
            # Each one includes the commits during the one before, so little is left for a commit.
            for _ in range(_CHECKPOINTS):
                db.execute(_CHECKPOINT)
