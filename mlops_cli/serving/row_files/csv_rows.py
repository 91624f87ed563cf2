"""Row-wise reader of CSV, plain or gzipped; values stay text, as the model decides their types."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from mlops_cli.data.csv_dialect import missing_as_null, name_all, records
from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.csv_survey import survey
from mlops_cli.serving.row_files.base import BrokenRow, RowBatch, TextOptions
from mlops_cli.serving.row_files.text_records import BOM, Records, RecordsCursor

__all__ = ["COMPRESSED_PREFIXES", "open_body", "open_file"]

_BODY_NAME = Path("the body")
"""Name in error messages for CSV that is not in a file, such as the body of a request."""
COMPRESSED_PREFIXES = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda", b"\x28\xb5\x2f\xfd")
"""First bytes of gzip, zlib and zstd data, which Polars decompresses by itself."""


def open_file(path: Path, options: TextOptions) -> _CsvFile:
    """Open a CSV file and read its header.

    Raises
    ------
    SourceUnreadable
        If it isn't CSV, or two columns have the same name.
    """
    records = Records(path, options.encoding, quoted=True)
    first = _read_header_line(records)
    records.close()
    return _CsvFile(
        path, path.stat().st_size, _parse_header(path, first, options), records.position, options
    )


def open_body(body: bytes, options: TextOptions) -> _CsvFile:
    """Open CSV in memory, see ``open_file``; it is UTF-8 and never decompressed."""
    options = replace(options, encoding="utf-8")
    records = Records(_BODY_NAME, options.encoding, quoted=True, stream=io.BytesIO(body))
    first = _read_header_line(records)
    return _CsvFile(
        _BODY_NAME,
        len(body),
        _parse_header(_BODY_NAME, first, options),
        records.position,
        options,
        body,
    )


def _read_header_line(records: Records) -> bytes:
    """Read up to the first line that isn't blank, and return that line."""
    while (line := records.read(1)) and not line.removeprefix(BOM).strip(b"\r\n"):
        pass
    return line


def _parse_header(path: Path, first: bytes, options: TextOptions) -> tuple[str, ...]:
    """Parse the names of the columns from the header line."""
    if first.startswith(b"PAR1") or first.count(0) > len(first) // 4:
        kind = "Parquet" if first.startswith(b"PAR1") else "binary"
        raise SourceUnreadable(
            f"{path} is not CSV but {kind}: it begins with {first[:12]!r}",
            "Rename it by what it is, or state the base source's `encoding` in params.yaml.",
        )
    try:
        line = first.removeprefix(BOM).decode()
    except UnicodeDecodeError as error:
        raise SourceUnreadable(
            f"the first line of {path} is not UTF-8: byte 0x{first[error.start]:02x}",
            "State the base source's `encoding` in params.yaml, such as latin-1.",
        ) from None
    try:
        names = name_all(next(records([line], options.separator), []))
    except csv.Error as error:  # such as a carriage return inside of a name
        raise SourceUnreadable(
            f"the first line of {path} is no header ({error})",
            "The first line gives each column a name of its own.",
        ) from None
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            raise SourceUnreadable(
                f"column {i + 1} of {path} is named {name!r} like another one",
                "The first line gives each column a name of its own.",
            )
        seen.add(name)
    if not names:
        raise SourceUnreadable(
            f"every line of {path} is blank", "The first one that isn't names the columns."
        )
    return tuple(names)


@dataclass(frozen=True)
class _CsvFile:
    path: Path
    size: int
    names: tuple[str, ...]
    first_row: int
    """Position of the first row, in bytes."""
    options: TextOptions
    content: bytes | None = field(default=None, repr=False)
    """The content, if it isn't in a file."""

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        return {name: pl.String() for name in self.names}

    def count(self, max_rows: int) -> int:
        """Count the rows, up to ``max_rows``."""
        records = self.records(self.first_row)
        count = records.count(max_rows)
        records.close()
        return count

    def records(self, start: int) -> Records:
        """Open the file's records, from a position on."""
        stream = None if self.content is None else io.BytesIO(self.content)
        return Records(self.path, self.options.encoding, start, quoted=True, stream=stream)

    def cursor(self, start: int, columns: Sequence[str]) -> _CsvCursor:
        return _CsvCursor(self, max(start, self.first_row), columns)


class _CsvCursor(RecordsCursor):
    def __init__(self, file: _CsvFile, start: int, columns: Sequence[str]) -> None:
        super().__init__(file.records(start))
        self._file = file
        self._columns = [name for name in file.names if name in columns]

    def read_batch(self, rows: int) -> RowBatch | None:
        block = self._records.read(rows)
        if not block:
            return None
        file = self._file
        frame = _parse_block(block, file, self._columns)
        if frame is None:
            table, index, broken = _parse_records(block, file)
            total = len(index) + len(broken)
            selected = table.select(self._columns)
            return RowBatch(file.path, selected, index, total, broken, partial(_row_dicts, table))

        def reread(places: Sequence[int]) -> list[dict[str, Any]]:
            everything = _parse_block(block, file, file.names)
            assert everything is not None  # noqa: S101 - some of its columns were read
            return _row_dicts(everything, places)

        return RowBatch(file.path, frame, range(frame.height), frame.height, (), reread)


def _row_dicts(frame: pl.DataFrame, places: Sequence[int]) -> list[dict[str, Any]]:
    return frame[list(places)].to_dicts()


def _parse_block(block: bytes, file: _CsvFile, columns: Sequence[str]) -> pl.DataFrame | None:
    """Parse records with Polars as a table of texts; None if one of them may be malformed.

    Polars silently fills a short record with nulls, so the separators are counted.
    """
    width = len(file.names)
    if width == 1 or block.startswith(COMPRESSED_PREFIXES):
        return None
    counts = survey([block], file.options.separator)
    if counts.stray_quote is not None or counts.open_quote or counts.may_be_ragged(width):
        return None
    try:
        frame = pl.read_csv(
            block,
            has_header=False,
            new_columns=list(file.names),
            columns=[file.names.index(c) for c in columns],
            infer_schema=False,
            separator=file.options.separator,
            null_values=[""],
        )
    except pl.exceptions.PolarsError:
        return None
    if frame.height != counts.records:
        return None
    return frame.with_columns(
        missing_as_null(c, missing)
        for c in columns
        if len(missing := file.options.null_texts(c)) > 1
    )


def _has_stray_quote(lines: Sequence[str], separator: str) -> bool:
    return survey(["".join(lines).encode()], separator).stray_quote is not None


def _parse_records(
    block: bytes, file: _CsvFile
) -> tuple[pl.DataFrame, list[int], tuple[BrokenRow, ...]]:
    """Parse records one by one; return a table of texts, positions of its rows, and broken rows."""
    text, bad_bytes = block.decode(errors="replace"), False
    try:
        block.decode()
    except UnicodeDecodeError:
        bad_bytes = True
    nulls = [frozenset(file.options.null_texts(name)) for name in file.names]
    rows: list[list[str | None]] = []
    index: list[int] = []
    broken: list[BrokenRow] = []
    width = len(file.names)
    lines = list(io.StringIO(text, newline=""))
    may_be_stray = survey([block], file.options.separator).stray_quote is not None
    reader = records(lines, file.options.separator)
    number = begin = 0
    for record in reader:
        raw, begin = lines[begin : reader.line_num], reader.line_num
        if not record:
            continue
        if len(record) != width:
            reason = f"it has {len(record)} of {width} fields"
            broken.append(BrokenRow(number, record, reason))
        elif may_be_stray and _has_stray_quote(raw, file.options.separator):
            broken.append(
                BrokenRow(number, record, "a quote inside of a value isn't written twice")
            )
        elif bad_bytes and any("\ufffd" in value for value in record):
            broken.append(BrokenRow(number, record, "it is not UTF-8"))
        else:
            index.append(number)
            rows.append(
                [None if v in missing else v for v, missing in zip(record, nulls, strict=True)]
            )
        number += 1
    frame = pl.DataFrame(rows, schema=dict(file.schema), orient="row")
    return frame, index, tuple(broken)
