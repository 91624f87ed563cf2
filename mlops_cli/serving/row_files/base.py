"""Protocols of the row file readers, their text options and their batches of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.ingest import Source

__all__ = ["BrokenRow", "Cursor", "RowBatch", "RowFile", "TextOptions"]


@dataclass(frozen=True)
class TextOptions:
    """Options for reading text files.

    Attributes
    ----------
    null_values
        Texts that mean a missing value, besides the empty text: for all columns, or by column.
    """

    separator: str = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()

    @classmethod
    def from_source(cls, source: Source | None) -> TextOptions:
        """Options from a section of ``ingest.sources``; defaults for None."""
        if source is None:
            return cls()
        return cls(source.separator, source.encoding, source.null_values)

    def null_texts(self, column: str) -> tuple[str, ...]:
        """Return the texts that mean a missing value in a column."""
        if isinstance(self.null_values, Mapping):
            return ("", *self.null_values.get(column, ()))
        return ("", *self.null_values)


@dataclass(frozen=True)
class BrokenRow:
    """A row that can't be read.

    Attributes
    ----------
    row
        Position of the row in its batch.
    content
        Content of the row in the file: the line, or the fields.
    reason
        Why the row can't be read.
    """

    row: int
    content: Any
    reason: str


@dataclass(frozen=True)
class RowBatch:
    """A batch of rows of one file.

    Attributes
    ----------
    frame
        The readable rows, with the requested columns.
    index
        Position in the batch of each row of ``frame``.
    rows
        Number of rows of the batch, including the broken ones.
    broken
        The rows that can't be read.
    full_rows
        Function that returns rows of ``frame``, by position, with all columns of the file.
    """

    file: Path
    frame: pl.DataFrame
    index: Sequence[int]
    rows: int
    broken: tuple[BrokenRow, ...]
    full_rows: Callable[[Sequence[int]], list[dict[str, Any]]]


class RowFile(Protocol):
    """A file of rows whose columns are known."""

    path: Path
    size: int
    """Bytes on the disk."""
    schema: Mapping[str, pl.DataType]
    """The columns of the file with their types; String in text files."""

    def cursor(self, start: int, columns: Sequence[str]) -> Cursor:
        """Start reading at a position that an earlier cursor had, or at 0."""


class Cursor(Protocol):
    """Reads batches of rows from one file."""

    position: int
    """Position from which another cursor continues."""

    @property
    def bytes_read(self) -> int:
        """Bytes of the file on disk that have been read so far."""

    def read_batch(self, rows: int) -> RowBatch | None:
        """Read about so many rows; None at the end.

        Raises
        ------
        SourceUnreadable
            If the file is damaged at this position.
        """

    def close(self) -> None:
        """Close the file."""
