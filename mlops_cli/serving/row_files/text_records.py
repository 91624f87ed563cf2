"""Reader of text files as whole records in UTF-8; decompresses gzip and converts encodings."""

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
"""Limit of a record, in bytes; a longer one probably has a quote that is never closed."""
_NEWLINE, _QUOTE = 10, 34
_UTF8_CODECS = {"utf-8", "ascii"}


class Records:
    """Reads whole records of a text file.

    Parameters
    ----------
    position
        Position to start from, in bytes of the decompressed text in UTF-8.
    quoted
        Whether line ends between double quotes belong to the record (CSV).
    stream
        The content, if it isn't in a file; it is never decompressed.
    """

    def __init__(
        self,
        path: Path,
        encoding: str,
        start: int = 0,
        *,
        quoted: bool,
        stream: BinaryIO | None = None,
    ) -> None:
        self.position = start
        self._path = path
        self._quoted = quoted
        self._text = _Text(path, encoding, stream)
        self._text.skip(start)
        self._block, self._start, self._in_quotes = b"", 0, False
        self._ends: npt.NDArray[np.int64] = np.empty(0, np.int64)

    @property
    def bytes_read(self) -> int:
        """Bytes of the file on disk that have been read so far."""
        return self._text.bytes_read()

    def read(self, records: int) -> bytes:
        """Read so many records, with their line ends; fewer at the end of the file."""
        parts: list[bytes] = []
        unfinished = 0
        while records:
            if not len(self._ends):
                parts.append(self._block[self._start :])
                unfinished += len(parts[-1])
                if unfinished > _LONGEST:
                    raise self._unclosed_quote()
                if not self._load():
                    break
                continue
            last = int(self._ends[min(records, len(self._ends)) - 1])
            parts.append(self._block[self._start : last])
            unfinished = 0
            records -= min(records, len(self._ends))
            self._ends = self._ends[self._ends > last]
            self._start = last
        content = b"".join(parts)
        self.position += len(content)
        return content

    def count(self, max_records: int) -> int:
        """Count the records, up to ``max_records``, without keeping them."""
        count, open_end = 0, False
        while count < max_records and self._load():
            count += len(self._ends)
            open_end = not len(self._ends) or int(self._ends[-1]) < len(self._block)
        return min(max_records, count + open_end)

    def close(self) -> None:
        """Close the file."""
        self._text.close()

    def _load(self) -> bool:
        """Read the next block and find where its records end; False at the end of the file."""
        self._block, self._start = self._text.read(), 0
        codes = np.frombuffer(self._block, np.uint8)
        ends = np.flatnonzero(codes == _NEWLINE) + 1
        if self._quoted:
            quotes = np.flatnonzero(codes == _QUOTE)
            if len(quotes) or self._in_quotes:
                # A line end is inside quotes if the number of quotes before it is odd.
                before = np.searchsorted(quotes, ends) + self._in_quotes
                ends = ends[before % 2 == 0]
                self._in_quotes = bool((len(quotes) + self._in_quotes) % 2)
        self._ends = ends
        return bool(self._block)

    def _unclosed_quote(self) -> SourceUnreadable:
        return SourceUnreadable(
            f"a record of {self._path}, from byte {self.position} on, has no end",
            'A quote is probably not closed; inside a value it is written twice: "5"" pipe".',
        )


class RecordsCursor:
    """Base class of the cursors of text files; see ``base.Cursor``."""

    def __init__(self, records: Records) -> None:
        self._records = records

    @property
    def position(self) -> int:
        """Position from which another cursor continues."""
        return self._records.position

    @property
    def bytes_read(self) -> int:
        """See ``Records.bytes_read``."""
        return self._records.bytes_read

    def close(self) -> None:
        """Close the file."""
        self._records.close()


class _Text:
    """The content of a file, decompressed and in UTF-8."""

    def __init__(self, path: Path, encoding: str, stream: BinaryIO | None) -> None:
        self._path, self._encoding = path, encoding
        try:
            codec = codecs.lookup(encoding).name
        except LookupError:
            raise BadParams(
                f"{encoding!r} is not an encoding",
                "Write one that Python knows, such as utf-8, latin-1, cp1252 or utf-16.",
            ) from None
        self._decoder = None if codec in _UTF8_CODECS else codecs.getincrementaldecoder(codec)()
        self._raw = path.open("rb") if stream is None else stream
        is_gzip = stream is None and self._raw.read(2) == b"\x1f\x8b"
        self._raw.seek(0)
        self._file = BoundedGzip(fileobj=self._raw) if is_gzip else self._raw
        self._pending = b""

    def skip(self, offset: int) -> None:
        """Move to a position in the decompressed UTF-8 text."""
        try:
            if self._decoder is None:
                self._file.seek(offset)
                return
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise self._damaged_gzip(error) from None
        while offset and (block := self.read()):
            self._pending = block[offset:]
            offset = max(0, offset - len(block))

    def read(self) -> bytes:
        """Read the next block; empty at the end."""
        if self._pending:
            block, self._pending = self._pending, b""
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
            raise self._damaged_gzip(error) from None
        except UnicodeError as error:  # also if UTF-16 lacks its byte order mark
            raise SourceUnreadable(
                f"{self._path} is not {self._encoding}: {getattr(error, 'reason', error)}",
                "State the base source's `encoding` in params.yaml.",
            ) from None

    def bytes_read(self) -> int:
        """Return the position in the file itself, before decompression."""
        return self._raw.tell()

    def close(self) -> None:
        self._raw.close()

    def _damaged_gzip(self, error: Exception) -> SourceUnreadable:
        return SourceUnreadable(
            f"{self._path} is a damaged gzip file ({error})",
            "It may have been cut short when it was copied; fetch it again.",
        )
