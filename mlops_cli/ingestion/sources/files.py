"""Shared by all file formats: unpacking, one schema for many files, errors that name a file."""

from __future__ import annotations

import codecs
import gzip
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import polars as pl

from mlops_cli.data.unpacking import BoundedGzip, check_room
from mlops_cli.errors import BadParams, SourceUnreadable
from mlops_cli.ingestion.sources.partitions import partition_columns
from mlops_cli.ingestion.sources.request import OpenedSource, files_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import BinaryIO

    from mlops_cli.ingestion.sources.request import SourceRequest

__all__ = ["FileFormat", "ScannedFile", "check_utf8", "open_files", "plain_copy", "scratch_file"]

BLOCK_BYTES = 1 << 20
"""Bytes that are read at a time."""


@dataclass(frozen=True)
class ScannedFile:
    """A file's lazy table.

    Attributes
    ----------
    rows
        Number of rows by a count that is independent of the table; None if there is none.
    """

    frame: pl.LazyFrame
    rows: int | None = None


class FileFormat(Protocol):
    """Interface of a file format."""

    def scan(self, path: Path, display_name: str, request: SourceRequest) -> ScannedFile:
        """Check a file and return its lazy table; ``display_name`` is its name for errors."""

    def diagnose(
        self, path: Path, display_name: str, request: SourceRequest
    ) -> SourceUnreadable | None:
        """The fault of a file that couldn't be read completely; None if none was found."""


def open_files(
    request: SourceRequest,
    reader: FileFormat,
    files: list[Path] | None = None,
    display_path: Callable[[Path], str] | None = None,
) -> OpenedSource:
    """Open the files of a source as one table, in the order of their names.

    Parameters
    ----------
    request, reader
        The source, and the reader of its format.
    files, display_path
        The files, and how errors show them, if they don't follow from the source's URI.

    Raises
    ------
    SourceUnreadable
        If a file is empty or damaged, or has other columns than the first.
    """
    files = files_of(request) if files is None else files
    display_path = display_path or request.display_path
    partitions = partition_columns(files, request.root / request.source.uri)
    tables: dict[Path, ScannedFile] = {}
    schemas: dict[Path, pl.Schema] = {}
    for path in files:
        display_name = display_path(path)
        if path.stat().st_size == 0:
            raise SourceUnreadable(
                f"{display_name} of source {request.name!r} is empty",
                "Give a file with rows in it.",
            )
        try:
            scanned = reader.scan(path, display_name, request)
            file_schema = scanned.frame.collect_schema()
            partition_values = [
                c for name, c in partitions[path].items() if name not in file_schema
            ]
            tables[path] = ScannedFile(scanned.frame.with_columns(partition_values), scanned.rows)
            schemas[path] = tables[path].frame.collect_schema()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _reading_error(error, path, display_name, request, reader) from error

    def explain(error: Exception) -> SourceUnreadable:
        for path in files[:-1]:
            problem = reader.diagnose(path, display_path(path), request)
            if problem is not None:
                return problem
        return _reading_error(error, files[-1], display_path(files[-1]), request, reader)

    counts = [tables[path].rows for path in files]
    rows = None if None in counts else sum(count or 0 for count in counts)
    if len(files) == 1:
        return OpenedSource(tables[files[0]].frame, explain, rows)
    common = _common_schema(schemas, display_path)
    casts = [pl.col(c).cast(t) for c, t in common.items()]
    return OpenedSource(
        pl.concat([tables[path].frame.select(casts) for path in files]), explain, rows
    )


def _reading_error(
    error: Exception, path: Path, display_name: str, request: SourceRequest, reader: FileFormat
) -> SourceUnreadable:
    problem = reader.diagnose(path, display_name, request)
    reason = str(error).strip().split("\n")[0][:200]
    return problem or SourceUnreadable(
        f"{display_name} of source {request.name!r} cannot be read: {reason}",
        f"Look at the file, or correct `{request.setting}`.",
    )


def _common_schema(
    schemas: dict[Path, pl.Schema], display_path: Callable[[Path], str]
) -> pl.Schema:
    """One schema for all files: the same columns; integers and floats combine to floats."""
    first_path, first = next(iter(schemas.items()))
    common = dict(first)
    for path, schema in schemas.items():
        missing = [c for c in first if c not in schema]
        extra = [c for c in schema if c not in first]
        if missing or extra:
            difference = f"has no {missing[0]!r}" if missing else f"has {extra[0]!r} besides"
            raise SourceUnreadable(
                f"{display_path(path)} {difference}, unlike {display_path(first_path)}",
                "Files of one source have the same columns; make two sources of them.",
            )
        for column, dtype in schema.items():
            combined = _common_type(common[column], dtype)
            if combined is None:
                raise SourceUnreadable(
                    f"column {column!r} is {str(dtype).lower()} in {display_path(path)} and "
                    f"{str(common[column]).lower()} in {display_path(first_path)}",
                    f"State its type: `types: {{{column}: string}}`.",
                )
            common[column] = combined
    return pl.Schema(common)


def _common_type(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """The type that holds both; None if there is none, as for a number and a text."""
    if other in {one, pl.Null()}:
        return one
    if one == pl.Null:
        return other
    if one.is_numeric() and other.is_numeric():
        return pl.Int64() if one.is_integer() and other.is_integer() else pl.Float64()
    return None


def plain_copy(path: Path, display_name: str, request: SourceRequest) -> Path:
    """The file itself, or a plain UTF-8 copy if it is gzipped or has another encoding.

    Raises
    ------
    BadParams
        If the encoding is unknown.
    SourceUnreadable
        If it isn't in that encoding, or the gzip is damaged.
    """
    encoding = request.source.encoding
    try:
        codec = codecs.lookup(encoding).name
    except LookupError:
        raise BadParams(
            f"{request.setting}.encoding is {encoding!r}, which is not an encoding",
            "Write one that Python knows, such as utf-8, latin-1, cp1252 or utf-16.",
        ) from None
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
    if not gzipped and codec in {"utf-8", "ascii"}:
        return path
    plain = scratch_file(request)
    try:
        with path.open("rb") as file, plain.open("wb") as copy:
            stream = BoundedGzip(fileobj=file) if gzipped else file
            _transcode(stream, copy, codec, lambda: check_room(request.scratch, display_name))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        plain.unlink()
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is a damaged gzip file ({error})",
            "It may have been cut short when it was copied; fetch it again.",
        ) from None
    except UnicodeError as error:  # not only for a byte: UTF-16 must begin with a byte order mark
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is not {encoding}: "
            f"{getattr(error, 'reason', error)}",
            f"Correct `{request.setting}.encoding`.",
        ) from None
    return plain


def scratch_file(request: SourceRequest) -> Path:
    """An unused path in the scratch folder."""
    return request.scratch / f"{request.name}-{len(list(request.scratch.iterdir()))}"


def _transcode(
    file: BinaryIO | gzip.GzipFile, copy: BinaryIO, codec: str, check: Callable[[], None]
) -> None:
    decoder = None if codec == "utf-8" else codecs.getincrementaldecoder(codec)()
    while block := file.read(BLOCK_BYTES):
        check()
        copy.write(block if decoder is None else decoder.decode(block).encode())
    if decoder is not None:
        copy.write(decoder.decode(b"", final=True).encode())


def check_utf8(path: Path, display_name: str, request: SourceRequest) -> SourceUnreadable | None:
    """Find the first byte that isn't UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    lines = bytes_before = 0
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK_BYTES)
            undecoded = len(decoder.getstate()[0])
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                offset = bytes_before - undecoded + error.start
                line = lines + block.count(b"\n", 0, max(0, error.start - undecoded)) + 1
                byte = error.object[error.start]
                return SourceUnreadable(
                    f"{display_name} of source {request.name!r} is not UTF-8: byte 0x{byte:02x} at "
                    f"offset {offset}, line {line}",
                    f"State its encoding, such as `{request.setting}.encoding: latin-1`.",
                )
            if not block:
                return None
            lines += block.count(b"\n")
            bytes_before += len(block)
