"""Row-wise readers of files that may be larger than memory; they can resume at any position.

A row that can't be read is reported, and the others are used. (A source of `ingestion.sources` is
refused as a whole.) To add a format, write a module with ``open_file``, and add it to ``FORMATS``.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.data.file_formats import EXTENSIONS, format_of_name
from mlops_cli.errors import NotFound, SourceUnreadable
from mlops_cli.serving.row_files.base import BrokenRow, Cursor, RowBatch, RowFile, TextOptions

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "BrokenRow",
    "Position",
    "RowBatch",
    "RowFile",
    "RowFiles",
    "TextOptions",
    "columns_of",
    "find_files",
    "open_row_file",
]

FORMATS = {"csv": "csv_rows", "jsonl": "jsonl_rows", "parquet": "parquet_rows"}
"""Format -> module of this package."""

Position = tuple[int, int]
"""Number of the file, and position in it: bytes or rows, depending on the format."""


def find_files(pattern: str) -> list[Path]:
    """Return the files that match a path or glob, sorted by name.

    Raises
    ------
    NotFound
        If no file matches.
    SourceUnreadable
        If it is a folder.
    """
    path = Path(pattern)
    if path.is_file():
        return [path]
    if path.is_dir():
        raise SourceUnreadable(
            f"{pattern} is a folder", f"Name its files, such as '{pattern.rstrip('/')}/*.parquet'."
        )
    if not glob.has_magic(pattern):
        raise NotFound(f"there is no file {pattern}", "Paths start at the current folder.")
    # Unlike Path.glob, glob.glob takes absolute patterns, too.
    files = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    files = [file for file in files if file.is_file()]
    if not files:
        raise NotFound(
            f"no file matches {pattern!r}",
            "Paths start at the current folder; put a glob in quotes.",
        )
    return files


def open_row_file(path: Path, options: TextOptions) -> RowFile:
    """Open a file of rows and read its columns, but no rows yet.

    Raises
    ------
    SourceUnreadable
        If the file's name has no known ending, or its content is of another format.
    """
    kind = format_of_name(path.name)
    if kind is None:
        raise SourceUnreadable(
            f"the format of {path} cannot be told by its name",
            f"Known endings: {', '.join(EXTENSIONS)} (also .csv.gz and .jsonl.gz).",
        )
    if path.stat().st_size == 0:
        raise SourceUnreadable(f"{path} is empty", "Give a file with rows in it.")
    file: RowFile = import_module(f"{__name__}.{FORMATS[kind]}").open_file(path, options)
    return file


class RowFiles:
    """Reads the rows of several files, one file after the other.

    Parameters
    ----------
    files
        Files from ``open_row_file``.
    columns
        Columns to read. A file's batches don't have the columns that the file lacks.
    start
        Position of the first row to read.
    """

    def __init__(
        self, files: Sequence[RowFile], columns: Sequence[str], start: Position = (0, 0)
    ) -> None:
        self._files = files
        self._columns = columns
        self._number, self._offset = start
        self._cursor: Cursor | None = None
        self._finished_bytes = sum(file.size for file in files[: self._number])

    @property
    def position(self) -> Position:
        """Position from which another reader continues."""
        return self._number, self._offset

    @property
    def bytes_read(self) -> int:
        """Bytes of the files on disk that have been read so far."""
        return self._finished_bytes + (0 if self._cursor is None else self._cursor.bytes_read)

    def read_batches(self, rows: int) -> list[RowBatch]:
        """Read about so many rows, in batches of one file each; empty at the end."""
        batches: list[RowBatch] = []
        remaining = rows
        while remaining > 0 and self._number < len(self._files):
            file = self._files[self._number]
            if self._cursor is None:
                self._cursor = file.cursor(self._offset, self._columns)
            batch = self._cursor.read_batch(remaining)
            self._offset = self._cursor.position
            if batch is None:
                self._cursor.close()
                self._cursor = None
                self._finished_bytes += file.size
                self._number, self._offset = self._number + 1, 0
                continue
            remaining -= batch.rows
            batches.append(batch)
        return batches

    def close(self) -> None:
        """Close the current file."""
        if self._cursor is not None:
            self._cursor.close()


def columns_of(files: Sequence[RowFile]) -> dict[str, pl.DataType]:
    """Columns of all files, each with its type in the first file that has it."""
    types: dict[str, pl.DataType] = {}
    for file in files:
        types = {**file.schema, **types}
    return types
