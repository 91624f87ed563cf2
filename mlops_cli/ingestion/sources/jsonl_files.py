"""JSON Lines files, plain or gzipped: one JSON object a line, one row each."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.data.json_text import DEEPEST, text_is_deep
from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.files import ScannedFile, open_files, plain_copy
from mlops_cli.ingestion.sources.jsonl_faults import diagnose

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest

__all__ = ["diagnose", "open_table", "scan"]

_NATIVE = ("integer", "number", "boolean")
_HALF_PAIR = re.compile(rb"\\u[dD][89a-fA-F]")


def open_table(request: SourceRequest) -> OpenedSource:
    """Open the JSON Lines files of a source as one table."""
    return open_files(request, sys.modules[__name__])


def scan(path: Path, shown: str, request: SourceRequest) -> ScannedFile:
    """Check that a file looks like JSON Lines, and give its lazy table.

    The types come from all of its lines: a key that first appears late is a column, too.

    Raises
    ------
    SourceUnreadable
        If it doesn't begin with a JSON object.
    """
    plain = plain_copy(path, shown, request)
    with plain.open("rb") as file:
        head = file.read(64)
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        raise SourceUnreadable(
            f"{shown} of source {request.name!r} is not JSON Lines: it begins with {head[:12]!r}",
            "Each line is one JSON object; set `format` if it is CSV or Parquet.",
        )
    rows = 0
    with plain.open("rb") as file:
        for number, line in enumerate(file, 1):
            rows += not line.isspace()
            wrong = ""
            if text_is_deep(line):
                wrong = f"is nested deeper than {DEEPEST} lists and objects"
            elif _HALF_PAIR.search(line) and _has_half_pair(line):
                # Polars would put another character in its place.
                wrong = r"has half of a surrogate pair, such as \ud800, which is no character"
            if wrong:
                raise SourceUnreadable(
                    f"line {number} of {shown} of source {request.name!r} {wrong}: {line[:40]!r}",
                    "Each line is one JSON object; repair or remove the line.",
                )
    stated = [c for c, t in request.source.types.items() if t not in _NATIVE]
    found = pl.scan_ndjson(plain, infer_schema_length=None).collect_schema()
    # What is stated isn't read otherwise first; Parquet has no objects without keys.
    wanted = {c: pl.String() if c in stated else _with_keys(t) for c, t in found.items()}
    return ScannedFile(pl.scan_ndjson(plain, schema=pl.Schema(wanted)), rows)


def _with_keys(dtype: pl.DataType) -> pl.DataType:
    """The type with a key of nulls in each object that has none."""
    if isinstance(dtype, pl.Struct):
        fields = [pl.Field(f.name, _with_keys(f.dtype)) for f in dtype.fields]  # type: ignore[arg-type]
        return pl.Struct(fields or [pl.Field("_", pl.Null())])
    return pl.List(_with_keys(dtype.inner)) if isinstance(dtype, pl.List) else dtype  # type: ignore[arg-type]


def _has_half_pair(line: bytes) -> bool:
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except ValueError:  # no JSON: Polars says so
        return False
    return False
