"""Row-wise reader of Parquet, with pyarrow: unlike Polars, it reads a row group in small steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mlops_cli.data.column_types import printable
from mlops_cli.errors import SourceUnreadable
from mlops_cli.serving.row_files.base import RowBatch, TextOptions

__all__ = ["open_file"]

_BUFFER = 1 << 20
_STEP = 65_536
"""Rows that are decoded at a time."""


def open_file(path: Path, options: TextOptions) -> _ParquetFile:
    """Open a Parquet file and read its schema from the footer.

    Raises
    ------
    SourceUnreadable
        If the file isn't Parquet, or is damaged.
    """
    _ = options  # Parquet needs no text options
    with path.open("rb") as file:
        head = file.read(4)
    if head != b"PAR1":
        raise SourceUnreadable(
            f"{path} is not Parquet: it begins with {head!r}",
            "Rename it to .csv or .jsonl if that is what it is.",
        )
    with _read_errors(path):
        schema = pl.Schema(_open_reader(path).schema_arrow)
    return _ParquetFile(path, path.stat().st_size, schema)


@dataclass(frozen=True)
class _ParquetFile:
    path: Path
    size: int
    schema: Mapping[str, pl.DataType]

    def cursor(self, start: int, columns: Sequence[str]) -> _ParquetCursor:
        return _ParquetCursor(self, start, [c for c in columns if c in self.schema])


class _ParquetCursor:
    """See ``Cursor``; its ``position`` is a number of rows."""

    def __init__(self, file: _ParquetFile, start: int, columns: Sequence[str]) -> None:
        self.position = start
        self._file = file
        self._reader = _open_reader(file.path)
        self._total = int(self._reader.metadata.num_rows)
        self._remainder = pl.DataFrame()
        self._batches = self._batches_from(start, columns)

    @property
    def bytes_read(self) -> int:
        return self._file.size * self.position // max(1, self._total)

    def close(self) -> None:
        self._reader.close()

    def read_batch(self, rows: int) -> RowBatch | None:
        parts = [self._remainder] if self._remainder.height else []
        height = self._remainder.height
        with _read_errors(self._file.path):
            while height < rows and (batch := next(self._batches, None)) is not None:
                parts.append(batch)
                height += batch.height
        if not height:
            return None
        frame = pl.concat(parts, rechunk=False)
        self._remainder = frame[rows:]
        frame = frame[:rows]
        start, self.position = self.position, self.position + frame.height
        reread = partial(_reread_rows, self._file.path, start)
        return RowBatch(self._file.path, frame, range(frame.height), frame.height, (), reread)

    def _batches_from(self, offset: int, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield batches from a row on; the row groups before it aren't read."""
        groups = [
            self._reader.metadata.row_group(i).num_rows for i in range(self._reader.num_row_groups)
        ]
        first = 0
        while first < len(groups) and offset >= groups[first]:
            offset -= groups[first]
            first += 1
        if first == len(groups):
            return
        batches = self._reader.iter_batches(
            _STEP, row_groups=list(range(first, len(groups))), columns=list(columns)
        )
        for batch in batches:
            if offset >= batch.num_rows:
                offset -= batch.num_rows
                continue
            yield pl.DataFrame(batch)[offset:]
            offset = 0


def _open_reader(path: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)


def _reread_rows(path: Path, start: int, places: Sequence[int]) -> list[dict[str, Any]]:
    """Read rows again from the file, with all columns."""
    last = max(places) + 1
    with _read_errors(path):
        frame = pl.scan_parquet(path, glob=False, hive_partitioning=False).slice(start, last)
        rows = frame.collect()[list(places)]
        return rows.with_columns(map(printable, rows.get_columns())).to_dicts()


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Raise SourceUnreadable for errors of pyarrow and Polars."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, OSError) as error:
        message = str(error).strip().split("\n")[0][:200]
        raise SourceUnreadable(
            f"{path} is a damaged Parquet file ({message})",
            "It was changed or cut short after it was written; fetch it again.",
        ) from None
