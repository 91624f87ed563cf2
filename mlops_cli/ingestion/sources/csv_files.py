"""CSV files, plain or gzipped, in any encoding.

Polars silently fills a short row with nulls, so the fields are counted first. Counting is cheap:
Polars refuses a row with too many fields, so if the file has as many separators as its number of
lines requires, no row has too few. The number of rows read is compared with the lines, too.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.data.column_types import DTYPES
from mlops_cli.data.csv_dialect import missing_as_null, name_all, records
from mlops_cli.data.masking import describe_misfit
from mlops_cli.errors import BadParams, SourceUnreadable
from mlops_cli.ingestion.sources.csv_blank_lines import has_blank_lines, without_blank_lines
from mlops_cli.ingestion.sources.csv_survey import survey_file
from mlops_cli.ingestion.sources.files import (
    ScannedFile,
    check_utf8,
    open_files,
    plain_copy,
    scratch_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest

__all__ = ["diagnose", "open_table", "scan"]

INFER_ROWS = 10_000
"""Rows from which types are inferred if `types` doesn't state them."""

_NATIVE = ("integer", "number", "string")


def open_table(request: SourceRequest) -> OpenedSource:
    """Open the CSV files of a source as one table."""
    return open_files(request, sys.modules[__name__])


def scan(path: Path, display_name: str, request: SourceRequest) -> ScannedFile:
    """Check a file's header and rows, and return its lazy table.

    Raises
    ------
    SourceUnreadable
        If it isn't CSV, has two columns of one name, a row with too few or too many fields, or
        a quote inside of a value.
    """
    separator = request.source.separator
    if not separator.isascii():
        raise BadParams(
            f"{request.setting}.separator is {separator!r}, which is not one ASCII character",
            "Use a comma, semicolon, tab or the like.",
        )
    _check_magic(path, display_name, request)
    plain = plain_copy(path, display_name, request)
    header = _read_header(plain, display_name, request)
    compact = plain
    if len(header) > 1 and has_blank_lines(plain):
        # Polars would read a blank line as a row of nulls.
        compact = without_blank_lines(plain, scratch_file(request))
    counts = survey_file(compact, separator)
    if counts.stray_quote is not None or counts.open_quote:
        raise _stray_quote_error(survey_file(plain, separator).stray_quote, display_name, request)
    if counts.lone_return is not None:
        raise SourceUnreadable(
            f"record {counts.lone_return} of {display_name} of source {request.name!r} has a "
            "carriage return without a line feed",
            "Write the file with line feeds (LF or CRLF) at the lines' ends, and values with "
            "carriage returns in quotes.",
        )
    if counts.may_be_ragged(len(header)):
        problem = _find_ragged_row(plain, display_name, request, len(header))
        if problem is not None:
            raise problem
    return ScannedFile(_scan_lazily(compact, request, header), counts.records - 1)


def _scan_lazily(plain: Path, request: SourceRequest, header: list[str]) -> pl.LazyFrame:
    types = {c: t for c, t in request.source.types.items() if c in header}
    stated = request.source.null_values
    for_all_columns = () if isinstance(stated, dict) else stated
    by_column = {c: t for c, t in stated.items() if c in header} if isinstance(stated, dict) else {}
    # Types that Polars parses differently than we do are read as text, and converted later.
    texts = {c for c, t in types.items() if t not in _NATIVE} | by_column.keys()
    table = pl.scan_csv(
        plain,
        separator=request.source.separator,
        schema_overrides={c: DTYPES[t] for c, t in types.items() if c not in texts}
        | dict.fromkeys(texts, pl.String()),
        # A quoted value may be empty, too.
        null_values=["", *for_all_columns],
        infer_schema_length=INFER_ROWS,
        glob=False,
        # Polars leaves doubled quotes in names as they are.
        with_column_names=lambda _: header,
    )
    return table.with_columns(missing_as_null(c, texts) for c, texts in by_column.items())


def diagnose(path: Path, display_name: str, request: SourceRequest) -> SourceUnreadable | None:
    """Find what Polars failed on: a byte, a row's fields, or a value of another type."""
    plain = plain_copy(path, display_name, request)
    problem = check_utf8(plain, display_name, request)
    if problem is not None:
        return problem
    header = _read_header(plain, display_name, request)
    problem = _find_ragged_row(plain, display_name, request, len(header))
    if problem is not None:
        return problem
    try:
        _scan_lazily(plain, request, header).collect(engine="streaming")
    except pl.exceptions.ComputeError as error:
        return _find_misfit(str(error), plain, display_name, request)
    return None


def _find_misfit(
    message: str, plain: Path, display_name: str, request: SourceRequest
) -> SourceUnreadable | None:
    match = re.search(
        r"could not parse `(.*)` as dtype `(\w+)` at column '(.*)' \(", message, re.DOTALL
    )
    if match is None:
        return None
    value, dtype, column = match.groups()
    kind = {"i64": "an integer", "f64": "a number", "bool": "true or false"}.get(dtype, dtype)
    # By position, because Polars treats some names as patterns for many columns.
    position = str(_read_header(plain, display_name, request).index(column))
    texts = pl.scan_csv(
        plain,
        separator=request.source.separator,
        infer_schema=False,
        glob=False,
        with_column_names=lambda names: [str(i) for i in range(len(names))],
    )
    rows = texts.select(position).with_row_index("row").filter(pl.col(position) == value)
    first = rows.head(1).collect(engine="streaming")
    row = f", row {first['row'][0] + 1}" if first.height else ""
    stated = column in request.source.types
    wider = (
        "number"
        if dtype == "i64" and re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", value, re.IGNORECASE)
        else "string"
    )
    return SourceUnreadable(
        f"{describe_misfit(value)} in column {column!r} of {display_name}{row} is not {kind}, as "
        + ("`types` states" if stated else f"the first {INFER_ROWS} rows are"),
        f"Set `types: {{{column}: {wider}}}` under {request.setting}, or name the text under "
        "`null_values` if it means a missing value.",
    )


def _stray_quote_error(
    line: int | None, display_name: str, request: SourceRequest
) -> SourceUnreadable:
    where = f"line {line} of {display_name}" if line is not None else display_name
    return SourceUnreadable(
        f"{where} of source {request.name!r} has a quote without its pair, or one inside of a "
        "value that isn't quoted",
        'Write a value with a quote within quotes, and the quote twice: "5"" pipe". A file that '
        r"escapes it by a backslash (\") has to be written again without escapes.",
    )


def _check_magic(path: Path, display_name: str, request: SourceRequest) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if head == b"PAR1":
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is Parquet, not CSV",
            f"Set `{request.setting}.format: parquet`.",
        )
    if head[:2] in {b"\xff\xfe", b"\xfe\xff"} and "16" not in request.source.encoding:
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is UTF-16, not {request.source.encoding}",
            f"Set `{request.setting}.encoding: utf-16`.",
        )


def _numbered_records(plain: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the number of its last line."""
    with plain.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = records(file, separator)
        for record in reader:
            yield reader.line_num, record


def _read_header(plain: Path, display_name: str, request: SourceRequest) -> list[str]:
    non_empty = (
        record for _, record in _numbered_records(plain, request.source.separator) if record
    )
    names = name_all(next(non_empty, []))
    if any("\ufffd" in name for name in names):
        problem = check_utf8(plain, display_name, request)
        if problem is not None:
            raise problem
    if not names:
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is empty", "Give a file with rows in it."
        )
    for i, name in enumerate(names):
        if name in names[:i]:
            raise SourceUnreadable(
                f"{display_name} of source {request.name!r} has two columns named {name!r} "
                f"(the {names.index(name) + 1}. and the {i + 1}.)",
                "Give each column a name of its own in the first line.",
            )
    return names


def _find_ragged_row(
    plain: Path, display_name: str, request: SourceRequest, width: int
) -> SourceUnreadable | None:
    """Find the first record whose number of fields isn't the header's."""
    for line, record in _numbered_records(plain, request.source.separator):
        if len(record) == width or not record:
            continue
        fields = f"has {len(record)} fields" if len(record) > 1 else "has 1 field"
        return SourceUnreadable(
            f"line {line} of {display_name} of source {request.name!r} {fields}; "
            f"the header names {width} columns",
            f"Repair the line, or correct `{request.setting}.separator` "
            f"(now {request.source.separator!r}).",
        )
    return None
