"""Events on the local disk while their database is away: written, synced, and brought in later."""

from __future__ import annotations

import json
import os
import shutil
import time
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from mlops_cli.store.events import Label, Prediction

__all__ = ["Chunk", "Spill"]

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
                if _locked(file):  # else another process writes it, or brings it in
                    yield from _chunks(path, file)
                    path.unlink(missing_ok=True)

    @staticmethod
    def set_aside(segment: Path) -> None:
        """Keep a copy of a segment of which not everything can be brought in."""
        shutil.copyfile(segment, segment.with_suffix(".damaged"))

    def close(self) -> None:
        """Let go of the segment; an empty one is removed."""
        if self._file is not None:
            path = Path(self._file.name)
            if not _size(path):
                path.unlink(missing_ok=True)
        self._leave()

    def _opened(self) -> IO[bytes]:
        while self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{time.time_ns()}-{os.getpid()}.events"
            file = path.open("xb", buffering=0)
            # Until it is locked, another process may find it empty and remove it.
            if _locked(file) and os.fstat(file.fileno()).st_nlink:
                self._file = file
                _sync(self._folder)  # the name, too, is on the disk
            else:
                file.close()
        return self._file

    def _leave(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _chunks(path: Path, file: IO[bytes]) -> Generator[Chunk, None, None]:
    chunk, bad = Chunk(path, [], []), False
    for line in file:
        event = _event(line)
        if event is None:
            bad = True
            continue
        if bad:
            # Not the end of what a crash has torn: something was lost that had been acknowledged.
            Spill.set_aside(path)
            bad = False
        if isinstance(event, Prediction):
            chunk.predictions.append(event)
        else:
            chunk.labels.append(event)
        if len(chunk.predictions) + len(chunk.labels) >= _CHUNK:
            yield chunk
            chunk = Chunk(path, [], [])
    if chunk.predictions or chunk.labels:
        yield chunk


def _line(event: Prediction | Label) -> bytes:
    kind = _PREDICTION if isinstance(event, Prediction) else _LABEL
    text = json.dumps([kind, event]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _event(line: bytes) -> Prediction | Label | None:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    kind, values = json.loads(text)
    return Prediction(*values) if kind == _PREDICTION else Label(*values)


def _locked(file: IO[bytes]) -> bool:
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


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
