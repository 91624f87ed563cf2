"""CSV, plain or gzipped: values stay text, as their types are the model's business."""

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

__all__ = ["PACKED", "of_body", "open_file"]

_BODY = Path("the body")
"""What stands for the file's name where there is none."""
PACKED = (b"\x1f\x8b", b"\x78\x01", b"\x78\x9c", b"\x78\xda", b"\x28\xb5\x2f\xfd")
"""How what is gzip, zlib or zstd begins: Polars unpacks by itself what looks like it."""


def open_file(path: Path, text: TextOptions) -> _CsvFile:
    """Read a file's header.

    Raises
    ------
    SourceUnreadable
        If it isn't CSV, or two columns have the same name.
    """
    records = Records(path, text.encoding, quoted=True)
    first = _first(records)
    records.close()
    return _CsvFile(path, path.stat().st_size, _header(path, first, text), records.at, text)


def of_body(body: bytes, text: TextOptions) -> _CsvFile:
    """The same for what is in memory, in UTF-8, which is never unpacked; see ``open_file``."""
    text = replace(text, encoding="utf-8")
    records = Records(_BODY, text.encoding, quoted=True, plain=io.BytesIO(body))
    first = _first(records)
    return _CsvFile(_BODY, len(body), _header(_BODY, first, text), records.at, text, body)


def _first(records: Records) -> bytes:
    """The first line that isn't blank."""
    while (line := records.take(1)) and not line.removeprefix(BOM).strip(b"\r\n"):
        pass
    return line


def _header(path: Path, first: bytes, text: TextOptions) -> tuple[str, ...]:
    """The columns that a first line names."""
    if first.startswith(b"PAR1") or first.count(0) > len(first) // 4:
        what = "Parquet" if first.startswith(b"PAR1") else "binary"
        raise SourceUnreadable(
            f"{path} is not CSV but {what}: it begins with {first[:12]!r}",
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
        names = name_all(next(records([line], text.separator), []))
    except csv.Error as error:  # such as a carriage return inside of a name
        raise SourceUnreadable(
            f"the first line of {path} is no header ({error})",
            "The first line gives each column a name of its own.",
        ) from None
    before: set[str] = set()
    for at, name in enumerate(names):
        if name in before:
            raise SourceUnreadable(
                f"column {at + 1} of {path} is named {name!r} like another one",
                "The first line gives each column a name of its own.",
            )
        before.add(name)
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
    begin: int
    """Where the first row is."""
    text: TextOptions
    plain: bytes | None = field(default=None, repr=False)
    """Its bytes, where they aren't in a file."""

    @property
    def schema(self) -> Mapping[str, pl.DataType]:
        return {name: pl.String() for name in self.names}

    def count(self, most: int) -> int:
        """How many rows there are, at most so many."""
        records = self.records(self.begin)
        found = records.count(most)
        records.close()
        return found

    def records(self, at: int) -> Records:
        """The file's records from a byte on."""
        plain = None if self.plain is None else io.BytesIO(self.plain)
        return Records(self.path, self.text.encoding, at, quoted=True, plain=plain)

    def cursor(self, at: int, columns: Sequence[str]) -> _CsvCursor:
        return _CsvCursor(self, max(at, self.begin), columns)


class _CsvCursor(RecordsCursor):
    def __init__(self, file: _CsvFile, at: int, columns: Sequence[str]) -> None:
        super().__init__(file.records(at))
        self._file = file
        self._columns = [name for name in file.names if name in columns]

    def take(self, rows: int) -> RowBatch | None:
        block = self._records.take(rows)
        if not block:
            return None
        file = self._file
        frame = _parsed(block, file, self._columns)
        if frame is None:
            whole, index, broken = _record_by_record(block, file)
            total = len(index) + len(broken)
            part = whole.select(self._columns)
            return RowBatch(file.path, part, index, total, broken, partial(_rows, whole))

        def again(places: Sequence[int]) -> list[dict[str, Any]]:
            everything = _parsed(block, file, file.names)
            assert everything is not None  # noqa: S101 - some of its columns were read
            return _rows(everything, places)

        return RowBatch(file.path, frame, range(frame.height), frame.height, (), again)


def _rows(frame: pl.DataFrame, places: Sequence[int]) -> list[dict[str, Any]]:
    return frame[list(places)].to_dicts()


def _parsed(block: bytes, file: _CsvFile, columns: Sequence[str]) -> pl.DataFrame | None:
    """Records as a table of texts; None where one may not be as it should.

    Polars fills a short record with nulls in silence, so the separators are counted.
    """
    width = len(file.names)
    if width == 1 or block.startswith(PACKED):
        return None
    counts = survey([block], file.text.separator)
    if counts.stray_quote is not None or counts.open_quote or counts.may_be_ragged(width):
        return None
    try:
        frame = pl.read_csv(
            block,
            has_header=False,
            new_columns=list(file.names),
            columns=[file.names.index(c) for c in columns],
            infer_schema=False,
            separator=file.text.separator,
            null_values=[""],
        )
    except pl.exceptions.PolarsError:
        return None
    if frame.height != counts.records:
        return None
    return frame.with_columns(
        missing_as_null(c, missing) for c in columns if len(missing := file.text.missing(c)) > 1
    )


def _has_stray_quote(lines: Sequence[str], separator: str) -> bool:
    return survey(["".join(lines).encode()], separator).stray_quote is not None


def _record_by_record(
    block: bytes, file: _CsvFile
) -> tuple[pl.DataFrame, list[int], tuple[BrokenRow, ...]]:
    """Records as a table of texts with the positions of its rows, and those that are broken."""
    text, bad_bytes = block.decode(errors="replace"), False
    try:
        block.decode()
    except UnicodeDecodeError:
        bad_bytes = True
    nulls = [frozenset(file.text.missing(name)) for name in file.names]
    rows: list[list[str | None]] = []
    index: list[int] = []
    broken: list[BrokenRow] = []
    width = len(file.names)
    lines = list(io.StringIO(text, newline=""))
    may_be_stray = survey([block], file.text.separator).stray_quote is not None
    reader = records(lines, file.text.separator)
    number = begin = 0
    for record in reader:
        raw, begin = lines[begin : reader.line_num], reader.line_num
        if not record:
            continue
        if len(record) != width:
            reason = f"it has {len(record)} of {width} fields"
            broken.append(BrokenRow(number, record, reason))
        elif may_be_stray and _has_stray_quote(raw, file.text.separator):
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
