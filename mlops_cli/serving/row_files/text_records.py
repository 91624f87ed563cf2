"""Text files as blocks of whole records in UTF-8: plain, gzipped, or in another encoding."""

from __future__ import annotations

import codecs
import gzip
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from mlops_cli.data.unpacking import BoundedGzip
from mlops_cli.errors import BadParams, SourceUnreadable

__all__ = ["BOM", "Records", "RecordsCursor"]

BOM = codecs.BOM_UTF8
_BLOCK = 4 << 20
_LONGEST = 256 << 20
"""Bytes that a record may have; more means a quote that is never closed."""
_NEWLINE, _QUOTE = 10, 34
_TEXTS = {"utf-8", "ascii"}


class Records:
    """Whole records off a text file; ``at`` counts bytes of the plain text in UTF-8.

    Parameters
    ----------
    quoted
        Whether line ends between double quotes don't end a record (CSV).
    plain
        The bytes, where they aren't in a file; then they aren't unpacked either.
    """

    def __init__(
        self,
        path: Path,
        encoding: str,
        at: int = 0,
        *,
        quoted: bool,
        plain: BinaryIO | None = None,
    ) -> None:
        self.at = at
        self._path = path
        self._quoted = quoted
        self._text = _Text(path, encoding, plain)
        self._text.skip(at)
        self._block, self._start, self._inside = b"", 0, False
        self._ends: npt.NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def bytes_read(self) -> int:
        """How much of the file is behind, as it is on the disk."""
        return self._text.told()

    def take(self, records: int) -> bytes:
        """So many records, with their line ends; fewer at the end of the file."""
        parts: list[bytes] = []
        unfinished = 0
        while records:
            if not len(self._ends):
                parts.append(self._block[self._start :])
                unfinished += len(parts[-1])
                if unfinished > _LONGEST:
                    raise self._endless()
                if not self._load():
                    break
                continue
            last = int(self._ends[min(records, len(self._ends)) - 1])
            parts.append(self._block[self._start : last])
            unfinished = 0
            records -= min(records, len(self._ends))
            self._ends = self._ends[self._ends > last]
            self._start = last
        taken = b"".join(parts)
        self.at += len(taken)
        return taken

    def count(self, most: int) -> int:
        """How many records there are, at most so many; without keeping them."""
        found, open_end = 0, False
        while found < most and self._load():
            found += len(self._ends)
            open_end = not len(self._ends) or int(self._ends[-1]) < len(self._block)
        return min(most, found + open_end)

    def close(self) -> None:
        """Let go of the file."""
        self._text.close()

    def _load(self) -> bool:
        self._block, self._start = self._text.read(), 0
        found = np.frombuffer(self._block, np.uint8)
        ends = np.flatnonzero(found == _NEWLINE) + 1
        if self._quoted:
            quotes = np.flatnonzero(found == _QUOTE)
            if len(quotes) or self._inside:
                # A line end is within quotes if an odd number of them comes before it.
                before = np.searchsorted(quotes, ends) + self._inside
                ends = ends[before % 2 == 0]
                self._inside = bool((len(quotes) + self._inside) % 2)
        self._ends = ends
        return bool(self._block)

    def _endless(self) -> SourceUnreadable:
        return SourceUnreadable(
            f"a record of {self._path}, from byte {self.at} on, has no end",
            'A quote is probably not closed; inside a value it is written twice: "5"" pipe".',
        )


class RecordsCursor:
    """What cursors over records share; see ``contract.Cursor``."""

    def __init__(self, records: Records) -> None:
        self._records = records

    @property
    def at(self) -> int:
        """Where to begin, to go on from here."""
        return self._records.at

    @property
    def bytes_read(self) -> int:
        """See ``Records.bytes_read``."""
        return self._records.bytes_read

    def close(self) -> None:
        """Let go of the file."""
        self._records.close()


class _Text:
    """The bytes of a file as plain UTF-8."""

    def __init__(self, path: Path, encoding: str, plain: BinaryIO | None) -> None:
        self._path, self._encoding = path, encoding
        try:
            codec = codecs.lookup(encoding).name
        except LookupError:
            raise BadParams(
                f"{encoding!r} is not an encoding",
                "Write one that Python knows, such as utf-8, latin-1, cp1252 or utf-16.",
            ) from None
        self._decoder = None if codec in _TEXTS else codecs.getincrementaldecoder(codec)()
        self._raw = path.open("rb") if plain is None else plain
        packed = plain is None and self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        self._file = BoundedGzip(fileobj=self._raw) if packed else self._raw
        self._kept = b""

    def skip(self, at: int) -> None:
        """Go to a byte of the plain text."""
        try:
            if self._decoder is None:
                self._file.seek(at)
                return
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(error) from None
        while at and (block := self.read()):
            self._kept = block[at:]
            at = max(0, at - len(block))

    def read(self) -> bytes:
        """The next block; empty at the end."""
        if self._kept:
            block, self._kept = self._kept, b""
            return block
        try:
            while True:
                block = self._file.read(_BLOCK)
                if self._decoder is None:
                    return block
                text = self._decoder.decode(block, final=not block)
                if text or not block:
                    return text.encode()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged(error) from None
        except UnicodeError as error:  # not only of a byte: UTF-16 has to begin with its mark
            raise SourceUnreadable(
                f"{self._path} is not {self._encoding}: {getattr(error, 'reason', error)}",
                "State the base source's `encoding` in params.yaml.",
            ) from None

    def told(self) -> int:
        return self._raw.tell()

    def close(self) -> None:
        self._raw.close()

    def _damaged(self, error: Exception) -> SourceUnreadable:
        return SourceUnreadable(
            f"{self._path} is a damaged gzip file ({error})",
            "It may have been cut short when it was copied; fetch it again.",
        )
