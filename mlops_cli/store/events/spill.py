"""Events on the local disk while their database is away: written, synced, and brought in later."""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from mlops_cli.store.events import Label, Prediction

__all__ = ["Spill"]

_PREDICTION, _LABEL = "p", "l"


class Spill:
    """Segment files in a folder; one process writes to one segment, which it holds a lock on.

    A line is a checksum and an event as JSON. A line that was torn by a crash was never
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
        return sum(path.stat().st_size for path in self._folder.glob("*.events"))

    def write(self, events: Sequence[Prediction | Label]) -> bool:
        """Keep events, durably; False where there is no room."""
        text = b"".join(map(_line, events))
        if self.size + len(text) > self._most:
            return False
        file = self._opened()
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        return True

    def segments(self) -> Iterator[tuple[Path, list[Prediction], list[Label]]]:
        """What waits: of this process, and of processes that are no more; remove when taken in."""
        if self._file is not None:
            self._file.close()
            self._file = None
        for path in sorted(self._folder.glob("*.events")):
            try:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield path, *_read(file)
            except (BlockingIOError, FileNotFoundError):
                continue  # another process writes it, or has brought it in

    def close(self) -> None:
        """Let go of the segment; an empty one is removed."""
        if self._file is not None:
            path = Path(self._file.name)
            self._file.close()
            self._file = None
            if not path.stat().st_size:
                path.unlink()

    def _opened(self) -> IO[bytes]:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{time.time_ns()}-{os.getpid()}.events"
            self._file = path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self._file


def _line(event: Prediction | Label) -> bytes:
    kind = _PREDICTION if isinstance(event, Prediction) else _LABEL
    text = json.dumps([kind, event]).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def _read(file: IO[bytes]) -> tuple[list[Prediction], list[Label]]:
    predictions: list[Prediction] = []
    labels: list[Label] = []
    for line in file:
        checksum, _, text = line.rstrip(b"\n").partition(b" ")
        if not line.endswith(b"\n") or checksum != b"%08x" % zlib.crc32(text):
            continue
        kind, values = json.loads(text)
        if kind == _PREDICTION:
            predictions.append(Prediction(*values))
        else:
            labels.append(Label(*values))
    return predictions, labels
