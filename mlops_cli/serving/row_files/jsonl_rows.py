"""Row-wise reader of JSON Lines, plain or gzipped: each line is one JSON object, one row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mlops_cli.data.json_text import MAX_DEPTH, text_is_deep
from mlops_cli.errors import SourceUnreadable
from mlops_cli.serving.row_files.base import BrokenRow, RowBatch, TextOptions
from mlops_cli.serving.row_files.text_records import BOM, Records, RecordsCursor

__all__ = ["open_file"]

_HEADER_ROWS = 1000
"""Number of first rows whose keys are the columns of the file."""


def open_file(path: Path, options: TextOptions) -> _JsonFile:
    """Open a JSON Lines file; the keys of its first lines are its columns.

    Raises
    ------
    SourceUnreadable
        If the file doesn't begin with a JSON object.
    """
    records = Records(path, options.encoding, quoted=False)
    block = records.read(_HEADER_ROWS)
    records.close()
    if not block.removeprefix(BOM).lstrip().startswith(b"{"):
        raise SourceUnreadable(
            f"{path} is not JSON Lines: it begins with {block[:12]!r}",
            "Each line is one JSON object; rename the file if it is CSV or Parquet.",
        )
    rows, _, _ = _parse_lines(block)
    names = dict.fromkeys(name for row in rows for name in row)
    return _JsonFile(path, path.stat().st_size, tuple(names), options)


@dataclass(frozen=True)
class _JsonFile:
    path: Path
    size: int
    names: tuple[str, ...]
    options: TextOptions

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        return {name: pl.String() for name in self.names}

    def cursor(self, start: int, columns: Sequence[str]) -> _JsonCursor:
        return _JsonCursor(self, start, [c for c in columns if c in self.names])


class _JsonCursor(RecordsCursor):
    def __init__(self, file: _JsonFile, start: int, columns: Sequence[str]) -> None:
        super().__init__(Records(file.path, file.options.encoding, start, quoted=False))
        self._file = file
        self._columns = columns

    def read_batch(self, rows: int) -> RowBatch | None:
        """See ``Cursor.read_batch``."""
        block = self._records.read(rows)
        if not block:
            return None
        block = block.removeprefix(BOM)
        path = self._file.path
        frame = _parse_block(block, self._columns)
        if frame is not None:

            def reread(places: Sequence[int]) -> list[dict[str, Any]]:
                lines = [line for line in block.split(b"\n") if line.strip()]
                return [json.loads(lines[place]) for place in places]

            return RowBatch(path, frame, range(frame.height), frame.height, (), reread)
        objects, index, broken = _parse_lines(block)
        frame = pl.DataFrame(
            [_json_column(c, [row.get(c) for row in objects]) for c in self._columns],
            height=len(objects),
        )
        return RowBatch(
            path,
            frame,
            index,
            len(index) + len(broken),
            broken,
            lambda places: [objects[i] for i in places],
        )


def _parse_block(block: bytes, columns: Sequence[str]) -> pl.DataFrame | None:
    """Parse lines with Polars as a table; None if it can't, or would be slow (deep nesting)."""
    if any(map(text_is_deep, block.split(b"\n"))):
        return None
    try:
        frame = pl.read_ndjson(block, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    lines = sum(1 for line in block.split(b"\n") if line.strip())
    if lines != frame.height:
        return None
    absent = [pl.lit(None, dtype=pl.String).alias(c) for c in columns if c not in frame.columns]
    return frame.with_columns(absent).select(columns)


def _parse_lines(block: bytes) -> tuple[list[dict[str, Any]], list[int], tuple[BrokenRow, ...]]:
    """Parse lines one by one; return the objects, their positions, and broken rows."""
    rows: list[dict[str, Any]] = []
    index: list[int] = []
    broken: list[BrokenRow] = []
    lines = (line for line in block.removeprefix(BOM).split(b"\n") if line.strip())
    for number, line in enumerate(lines):
        value: Any = None
        try:
            if text_is_deep(line):
                reason = f"it is nested deeper than {MAX_DEPTH}"
            else:
                value = json.loads(line)
                if b"\\u" in line:  # half of a surrogate pair can't be encoded: a ValueError
                    json.dumps(value, ensure_ascii=False).encode()
                reason = "" if isinstance(value, dict) else "it is no object"
        except ValueError as error:
            reason = f"it is not JSON: {error}"
        if reason:
            text = line.decode(errors="replace").rstrip("\r")
            broken.append(BrokenRow(number, text, reason))
        else:
            index.append(number)
            rows.append(value)
    return rows, index, tuple(broken)


def _json_column(name: str, values: list[Any]) -> pl.Series:
    """Make a column: values of one type unchanged, of several types as JSON texts."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float} or len(kinds) == 1:
        try:
            return pl.Series(name, values, strict=kinds != {int, float})
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pl.Series(name, texts, dtype=pl.String)
