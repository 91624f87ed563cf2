"""Rows of files, some at a time and from any position on: what reads more than memory holds.

Unlike a source (`store.sources`), which is refused as a whole, a row that can't be read is set
apart. A further format is one module with ``open_file`` and one row in ``FORMATS``.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_cli.data.file_formats import ENDINGS, format_of_name
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
"""Number of the file, and where in it; what it counts is the format's business."""


def find_files(pattern: str) -> list[Path]:
    """The files that a path or glob means, in the order of their names.

    Raises
    ------
    NotFound
        If there are none.
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
    # Unlike Path.glob, this takes absolute patterns, too.
    files = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    files = [file for file in files if file.is_file()]
    if not files:
        raise NotFound(
            f"no file matches {pattern!r}",
            "Paths start at the current folder; put a glob in quotes.",
        )
    return files


def open_row_file(path: Path, text: TextOptions) -> RowFile:
    """Look at a file of rows; reading comes later.

    Raises
    ------
    SourceUnreadable
        If its name doesn't tell the format, or it isn't of that format.
    """
    kind = format_of_name(path.name)
    if kind is None:
        raise SourceUnreadable(
            f"the format of {path} cannot be told by its name",
            f"Known endings: {', '.join(ENDINGS)} (also .csv.gz and .jsonl.gz).",
        )
    if path.stat().st_size == 0:
        raise SourceUnreadable(f"{path} is empty", "Give a file with rows in it.")
    file: RowFile = import_module(f"{__name__}.{FORMATS[kind]}").open_file(path, text)
    return file


class RowFiles:
    """The rows of some files, one after the other.

    Parameters
    ----------
    files
        What ``open_row_file`` gave.
    columns
        Those to read; where a file lacks one, its frames do.
    start
        Where to begin.
    """

    def __init__(
        self, files: Sequence[RowFile], columns: Sequence[str], start: Position = (0, 0)
    ) -> None:
        self._files = files
        self._columns = columns
        self._number, self._at = start
        self._cursor: Cursor | None = None
        self._before = sum(file.size for file in files[: self._number])

    @property
    def position(self) -> Position:
        """Where to begin, to go on from here."""
        return self._number, self._at

    @property
    def bytes_read(self) -> int:
        """How much of the files is behind, as they are on the disk."""
        return self._before + (0 if self._cursor is None else self._cursor.bytes_read)

    def take(self, rows: int) -> list[RowBatch]:
        """About so many rows, in parts by file; empty at the end."""
        taken: list[RowBatch] = []
        wanted = rows
        while wanted > 0 and self._number < len(self._files):
            file = self._files[self._number]
            if self._cursor is None:
                self._cursor = file.cursor(self._at, self._columns)
            part = self._cursor.take(wanted)
            self._at = self._cursor.at
            if part is None:
                self._cursor.close()
                self._cursor = None
                self._before += file.size
                self._number, self._at = self._number + 1, 0
                continue
            wanted -= part.rows
            taken.append(part)
        return taken

    def close(self) -> None:
        """Let go of the file."""
        if self._cursor is not None:
            self._cursor.close()


def columns_of(files: Sequence[RowFile]) -> dict[str, pl.DataType]:
    """Column -> type in the first file that has it."""
    found: dict[str, pl.DataType] = {}
    for file in files:
        found = {**file.schema, **found}
    return found
