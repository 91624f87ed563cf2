"""What each format of row files offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.data import Source

__all__ = ["BrokenRow", "Cursor", "RowBatch", "RowFile", "TextOptions"]


@dataclass(frozen=True)
class TextOptions:
    """How text files are read.

    Attributes
    ----------
    null_values
        Texts that mean a missing value, besides the empty one: of all columns, or by column.
    """

    separator: str = ","
    encoding: str = "utf-8"
    null_values: tuple[str, ...] | Mapping[str, tuple[str, ...]] = ()

    @classmethod
    def of(cls, source: Source | None) -> TextOptions:
        """As a section of ``ingest.sources`` says."""
        if source is None:
            return cls()
        return cls(source.separator, source.encoding, source.null_values)

    def missing(self, column: str) -> tuple[str, ...]:
        """Texts that mean a missing value in a column."""
        if isinstance(self.null_values, Mapping):
            return ("", *self.null_values.get(column, ()))
        return ("", *self.null_values)


@dataclass(frozen=True)
class BrokenRow:
    """A row that can't be read, as it stands in the file.

    Attributes
    ----------
    row
        Its position among the rows that were taken with it.
    """

    row: int
    given: Any
    reason: str


@dataclass(frozen=True)
class RowBatch:
    """Some rows of one file.

    Attributes
    ----------
    frame
        Those that could be read, with the columns that were asked for.
    index
        Their positions among all that were taken.
    rows
        How many were taken, with the broken ones.
    whole
        Gives rows of ``frame`` by position, with all columns that the file has.
    """

    file: Path
    frame: pl.DataFrame
    index: Sequence[int]
    rows: int
    broken: tuple[BrokenRow, ...]
    whole: Callable[[Sequence[int]], list[dict[str, Any]]]


class RowFile(Protocol):
    """A file that has been looked at."""

    path: Path
    size: int
    """Bytes on the disk."""
    schema: Mapping[str, pl.DataType]
    """Its columns; of text files, String."""

    def cursor(self, at: int, columns: Sequence[str]) -> Cursor:
        """Begin to read at a position that a cursor gave, or 0."""


class Cursor(Protocol):
    """A place in a file that is being read."""

    at: int
    """Where to begin, to go on from here."""

    @property
    def bytes_read(self) -> int:
        """How much of the file is behind, as it is on the disk."""

    def take(self, rows: int) -> RowBatch | None:
        """About so many rows; None at the end.

        Raises
        ------
        SourceUnreadable
            If the file is damaged from here on.
        """

    def close(self) -> None:
        """Let go of the file."""
