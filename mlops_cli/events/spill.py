"""Spill: events in local files while the database is unavailable, to be imported later."""

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
"""Bytes after which a new segment begins; each imported segment frees its space."""
_CHUNK = 1_000
"""Number of events that are imported together."""


class Chunk(NamedTuple):
    """Events of a segment, in the order in which they were spilled."""

    segment: Path
    predictions: list[Prediction]
    labels: list[Label]


class Spill:
    """Segment files in a folder; each process writes to its own segment and locks it.

    A line is a checksum and an event as JSON. An incomplete last line (after a crash) was never
    acknowledged and is ignored.

    Parameters
    ----------
    max_bytes
        Maximum number of bytes of all segments; no more events are accepted above it.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._file: IO[bytes] | None = None
        self._damaged_file: Path | None = None
        self._damaged_checksums: set[int] = set()
        self._damaged_counts: dict[Path, tuple[int, int]] = {}
        tighten(folder, *folder.glob("*"))

    @property
    def size(self) -> int:
        """Bytes of all segments in the folder, of all processes."""
        return sum(map(_size, self._folder.glob("*.events")))

    @property
    def has_segments(self) -> bool:
        """Whether the folder has a segment, also an empty one that a crash has left behind."""
        return any(self._folder.glob("*.events"))

    def write(self, events: Sequence[Prediction | Label]) -> bool:
        """Write events durably; False if they exceed the maximum size.

        Raises
        ------
        OSError
            If the disk fails, or is full; then no event is written.
        """
        text = b"".join(map(_encode, events))
        if self.size + len(text) > self._max_bytes:
            return False
        file = self._open_segment()
        end = file.tell()
        try:
            remaining = memoryview(text)
            while remaining:
                remaining = remaining[file.write(remaining) :]
            os.fsync(file.fileno())
        except OSError:
            # Nothing may follow an incomplete line: also if truncating fails, the segment ends.
            try:
                os.ftruncate(file.fileno(), end)
            finally:
                self._close_segment()
            raise
        if file.tell() > _SEGMENT:
            self._close_segment()
        return True

    def chunks(self) -> Generator[Chunk, None, None]:
        """Chunks of the spilled events, of this process and of processes that have ended.

        A segment is removed when the chunk after its last one is requested. If the iterator is
        closed before, the next iterator begins with the start of this segment.
        """
        self._close_segment()
        for path in sorted(self._folder.glob("*.events")):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue  # another process has imported it
            with file:
                # Otherwise another process writes or imports it, or has replaced it.
                if lock_segment(file) and os.fstat(file.fileno()).st_nlink:
                    yield from self._chunks(path, file)
                    path.unlink(missing_ok=True)

    @property
    def damaged(self) -> int:
        """Number of damaged or refused lines that were set aside, of all processes."""
        sizes = {path: _size(path) for path in self._folder.glob("*.damaged")}
        for path in sizes.keys() - self._damaged_counts.keys() | {
            path for path, (size, _) in self._damaged_counts.items() if sizes.get(path) != size
        }:
            self._damaged_counts.pop(path, None)
            if path in sizes:
                self._damaged_counts[path] = sizes[path], path.read_bytes().count(b"\n")
        return sum(lines for _, lines in self._damaged_counts.values())

    def set_aside(self, event: Prediction | Label) -> None:
        """Write an event that can't be imported to a ``*.damaged`` file, for inspection."""
        self._set_aside(_encode(event))

    def _set_aside(self, line: bytes) -> None:
        """Append a line to this process's ``*.damaged`` file, unless it is there already."""
        checksum = zlib.crc32(line)
        if checksum in self._damaged_checksums:
            return  # its segment was read a second time
        self._make_folder()
        if self._damaged_file is None:
            self._damaged_file = self._folder / f"{time.time_ns()}-{os.getpid()}.damaged"
        with private_file(self._damaged_file, "ab") as file:
            file.write(line if line.endswith(b"\n") else line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._damaged_checksums.add(checksum)

    def close(self) -> None:
        """Close the segment, and remove it if it is empty."""
        if self._file is not None:
            path = Path(self._file.name)
            if not _size(path):
                path.unlink(missing_ok=True)
        self._close_segment()

    def _chunks(self, path: Path, file: IO[bytes]) -> Generator[Chunk, None, None]:
        """Chunks of one segment; sets damaged lines aside."""
        chunk, damaged = Chunk(path, [], []), []
        for line in file:
            event = event_of(line)
            if event is None:
                damaged.append(line)
                continue
            # Not an incomplete last line, but a damaged line of an acknowledged event.
            while damaged:
                self._set_aside(damaged.pop(0))
            if isinstance(event, Prediction):
                chunk.predictions.append(event)
            else:
                chunk.labels.append(event)
            if len(chunk.predictions) + len(chunk.labels) >= _CHUNK:
                yield chunk
                chunk = Chunk(path, [], [])
        if chunk.predictions or chunk.labels:
            yield chunk

    def _open_segment(self) -> IO[bytes]:
        """Return this process's segment, locked; create it if there is none."""
        while self._file is None:
            self._make_folder()
            path = self._folder / f"{time.time_ns()}-{os.getpid()}.events"
            file = private_file(path, "xb", buffering=0)
            # Before it is locked, another process may consider it as abandoned and remove it.
            if lock_segment(file) and os.fstat(file.fileno()).st_nlink:
                self._file = file
                sync_folder(self._folder)  # syncs the file's name too
            else:
                file.close()
        return self._file

    def _make_folder(self) -> None:
        private_parent(self._folder)
        private_folder(self._folder)

    def _close_segment(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _encode(event: Prediction | Label) -> bytes:
    kind = _PREDICTION if isinstance(event, Prediction) else _LABEL
    text = json.dumps([kind, event]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def event_of(line: bytes) -> Prediction | Label | None:
    """Parse a line; None if it is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
        return None
    kind, values = json.loads(text)
    return Prediction(*values) if kind == _PREDICTION else Label(*values)


def lock_segment(file: IO[bytes]) -> bool:
    """Lock a segment until the file is closed; False if another process has locked it."""
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
    """Sync the names in a folder to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
