"""JSON Lines, plain or gzipped: one JSON object a line, one row each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from mlops_cli.data.json_text import DEEPEST, text_is_deep
from mlops_cli.errors import SourceUnreadable
from mlops_cli.serving.row_files.base import BrokenRow, RowBatch, TextOptions
from mlops_cli.serving.row_files.text_records import BOM, Records, RecordsCursor

__all__ = ["open_file"]

_FIRST = 1000
"""Rows whose keys are the file's columns."""
_SHOWN = 2000


def open_file(path: Path, text: TextOptions) -> _JsonFile:
    """Look at a file's first lines: their keys are its columns.

    Raises
    ------
    SourceUnreadable
        If it doesn't begin with a JSON object.
    """
    records = Records(path, text.encoding, quoted=False)
    block = records.take(_FIRST)
    records.close()
    if not block.removeprefix(BOM).lstrip().startswith(b"{"):
        raise SourceUnreadable(
            f"{path} is not JSON Lines: it begins with {block[:12]!r}",
            "Each line is one JSON object; rename the file if it is CSV or Parquet.",
        )
    rows, _, _ = _line_by_line(block)
    names = dict.fromkeys(name for row in rows for name in row)
    return _JsonFile(path, path.stat().st_size, tuple(names), text)


@dataclass(frozen=True)
class _JsonFile:
    path: Path
    size: int
    names: tuple[str, ...]
    text: TextOptions

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        return {name: pl.String() for name in self.names}

    def cursor(self, at: int, columns: Sequence[str]) -> _JsonCursor:
        return _JsonCursor(self, at, [c for c in columns if c in self.names])


class _JsonCursor(RecordsCursor):
    def __init__(self, file: _JsonFile, at: int, columns: Sequence[str]) -> None:
        super().__init__(Records(file.path, file.text.encoding, at, quoted=False))
        self._file = file
        self._columns = columns

    def take(self, rows: int) -> RowBatch | None:
        """The next rows."""
        block = self._records.take(rows)
        if not block:
            return None
        block = block.removeprefix(BOM)
        path = self._file.path
        frame = _parsed(block, self._columns)
        if frame is not None:

            def again(places: Sequence[int]) -> list[dict[str, Any]]:
                lines = [line for line in block.split(b"\n") if line.strip()]
                return [json.loads(lines[place]) for place in places]

            return RowBatch(path, frame, range(frame.height), frame.height, (), again)
        good, index, broken = _line_by_line(block)
        frame = pl.DataFrame(
            [_series(c, [row.get(c) for row in good]) for c in self._columns],
            height=len(good),
        )
        return RowBatch(
            path, frame, index, len(index) + len(broken), broken, lambda at: [good[i] for i in at]
        )


def _parsed(block: bytes, columns: Sequence[str]) -> pl.DataFrame | None:
    """Lines as a table; None where Polars can't read them as one, or would take long for it."""
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


def _line_by_line(block: bytes) -> tuple[list[dict[str, Any]], list[int], tuple[BrokenRow, ...]]:
    """Objects with their positions, and the lines that are none."""
    rows: list[dict[str, Any]] = []
    index: list[int] = []
    broken: list[BrokenRow] = []
    lines = (line for line in block.removeprefix(BOM).split(b"\n") if line.strip())
    for number, line in enumerate(lines):
        value: Any = None
        try:
            if text_is_deep(line):
                reason = f"it is nested deeper than {DEEPEST}"
            else:
                value = json.loads(line)
                if b"\\u" in line:  # half of a surrogate pair is no text: a ValueError
                    json.dumps(value, ensure_ascii=False).encode()
                reason = "" if isinstance(value, dict) else "it is no object"
        except ValueError as error:
            reason = f"it is not JSON: {error}"
        if reason:
            shown = line.decode(errors="replace").rstrip("\r")
            broken.append(BrokenRow(number, shown, reason))
        else:
            index.append(number)
            rows.append(value)
    return rows, index, tuple(broken)


def _series(name: str, values: list[Any]) -> pl.Series:
    """Values of one type as they are; of several, as JSON writes them."""
    kinds = {type(value) for value in values} - {type(None)}
    if kinds <= {int, float} or len(kinds) == 1:
        try:
            return pl.Series(name, values, strict=kinds != {int, float})
        except (TypeError, OverflowError, pl.exceptions.PolarsError):
            pass
    texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
    return pl.Series(name, texts, dtype=pl.String)
