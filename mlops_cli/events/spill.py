"""Events on the local disk while their database is away: written, synced, and brought in later."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from mlops_cli.data.private_files import private_file, private_folder, private_parent, tighten
from mlops_cli.events.base import Label, Prediction

__all__ = ["Chunk", "Spill", "event_of", "lock_segment", "sync_folder"]

_PREDICTION, _LABEL = "p", "l"
_SEGMENT = 16_000_000
"""Bytes after which the next segment begins, so that what is brought in again frees space."""
_CHUNK = 1_000
"""Events that are brought in at once."""


class Chunk(NamedTuple):
    """Events of a segment, in the order in which they came."""

    segment: Path
    predictions: list[Prediction]
    labels: list[Label]


class Spill:
    """Segment files in a folder; one process writes to one segment, which it holds a lock on.

    A line is a checksum and an event as JSON. A last line that a crash has torn was never
    acknowledged, and is passed over.

    Parameters
    ----------
    most
        Bytes of all segments, beyond which nothing more is taken.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._file: IO[bytes] | None = None
        self._damaged: Path | None = None
        self._lines_aside: set[int] = set()
        self._aside: dict[Path, tuple[int, int]] = {}
        tighten(folder, *folder.glob("*"))

    @property
    def size(self) -> int:
        """Bytes that wait in the folder, of all processes."""
        return sum(map(_size, self._folder.glob("*.events")))

    @property
    def holds_any(self) -> bool:
        """Whether a segment waits in the folder, were it an empty one that a crash has left."""
        return any(self._folder.glob("*.events"))

    def write(self, events: Sequence[Prediction | Label]) -> bool:
        """Keep events, durably; False where there is no room.

        Raises
        ------
        OSError
            If the disk fails, or is full; then none is kept.
        """
        text = b"".join(map(_line, events))
        if self.size + len(text) > self._most:
            return False
        file = self._opened()
        end = file.tell()
        try:
            left = memoryview(text)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            # Nothing may follow a torn line. Where even this fails, the segment is left as it is.
            try:
                os.ftruncate(file.fileno(), end)
            finally:
                self._leave()
            raise
        if file.tell() > _SEGMENT:
            self._leave()
        return True

    def chunks(self) -> Generator[Chunk, None, None]:
        """What waits: of this process, and of processes that are no more.

        When the chunk after a segment's last is asked for, the segment is removed. If the iterator
        is closed before, all of the segment is given again the next time.
        """
        self._leave()
        for path in sorted(self._folder.glob("*.events")):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # another process has brought it in
            with file:
                # Else another process writes it, brings it in, or has replaced it.
                if lock_segment(file) and os.fstat(file.fileno()).st_nlink:
                    yield from self._chunks(path, file)
                    path.unlink(missing_ok=True)

    @property
    def damaged(self) -> int:
        """Lines that were set aside, of all processes."""
        sizes = {path: _size(path) for path in self._folder.glob("*.damaged")}
        for path in sizes.keys() - self._aside.keys() | {
            path for path, (size, _) in self._aside.items() if sizes.get(path) != size
        }:
            self._aside.pop(path, None)
            if path in sizes:
                self._aside[path] = sizes[path], path.read_bytes().count(b"\n")
        return sum(lines for _, lines in self._aside.values())

    def set_aside(self, event: Prediction | Label) -> None:
        """Keep an event that can't be brought in, for someone to look at."""
        self._set_aside(_line(event))

    def _set_aside(self, line: bytes) -> None:
        checksum = zlib.crc32(line)
        if checksum in self._lines_aside:
            return  # the rest of its segment came again
        self._make()
        if self._damaged is None:
            self._damaged = self._folder / f"{time.time_ns()}-{os.getpid()}.damaged"
        with private_file(self._damaged, "ab") as file:
            file.write(line if line.endswith(b"\n") else line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines_aside.add(checksum)

    def close(self) -> None:
        """Let go of the segment; an empty one is removed."""
        if self._file is not None:
            path = Path(self._file.name)
            if not _size(path):
                path.unlink(missing_ok=True)
        self._leave()

    def _chunks(self, path: Path, file: IO[bytes]) -> Generator[Chunk, None, None]:
        chunk, bad = Chunk(path, [], []), []
        for line in file:
            event = event_of(line)
            if event is None:
                bad.append(line)
                continue
            # Not the end of what a crash has torn: something was lost that had been acknowledged.
            while bad:
                self._set_aside(bad.pop(0))
            if isinstance(event, Prediction):
                chunk.predictions.append(event)
            else:
                chunk.labels.append(event)
            if len(chunk.predictions) + len(chunk.labels) >= _CHUNK:
                yield chunk
                chunk = Chunk(path, [], [])
        if chunk.predictions or chunk.labels:
            yield chunk

    def _opened(self) -> IO[bytes]:
        while self._file is None:
            self._make()
            path = self._folder / f"{time.time_ns()}-{os.getpid()}.events"
            file = private_file(path, "xb", buffering=0)
            # Until it is locked, another process may find it empty and remove it.
            if lock_segment(file) and os.fstat(file.fileno()).st_nlink:
                self._file = file
                sync_folder(self._folder)  # the name, too, is on the disk
            else:
                file.close()
        return self._file

    def _make(self) -> None:
        private_parent(self._folder)
        private_folder(self._folder)

    def _leave(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(event: Prediction | Label) -> bytes:
    kind = _PREDICTION if isinstance(event, Prediction) else _LABEL
    text = json.dumps([kind, event]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def event_of(line: bytes) -> Prediction | Label | None:
    """The event of a line; None where it is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    kind, values = json.loads(text)
    return Prediction(*values) if kind == _PREDICTION else Label(*values)


def lock_segment(file: IO[bytes]) -> bool:
    """Take the segment's lock, which ends with the process; False where another one has it."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def sync_folder(folder: Path) -> None:
    """See that the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
