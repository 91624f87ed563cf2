"""JSON Lines files, plain or gzipped: one JSON object per line, one row each."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.data.json_text import MAX_DEPTH, text_is_deep
from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.files import ScannedFile, open_files, plain_copy
from mlops_cli.ingestion.sources.jsonl_faults import diagnose

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest

__all__ = ["diagnose", "open_table", "scan"]

_NATIVE = ("integer", "number", "boolean")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def open_table(request: SourceRequest) -> OpenedSource:
    """Open the JSON Lines files of a source as one table."""
    return open_files(request, sys.modules[__name__])


def scan(path: Path, display_name: str, request: SourceRequest) -> ScannedFile:
    """Check that a file looks like JSON Lines, and return its lazy table.

    Types are inferred from all of its lines: a key that first appears late is a column, too.

    Raises
    ------
    SourceUnreadable
        If it doesn't begin with a JSON object.
    """
    plain = plain_copy(path, display_name, request)
    with plain.open("rb") as file:
        head = file.read(64)
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{"):
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is not JSON Lines: "
            f"it begins with {head[:12]!r}",
            "Each line is one JSON object; set `format` if it is CSV or Parquet.",
        )
    rows = 0
    with plain.open("rb") as file:
        for number, line in enumerate(file, 1):
            rows += not line.isspace()
            problem = ""
            if text_is_deep(line):
                problem = f"is nested deeper than {MAX_DEPTH} lists and objects"
            elif _SURROGATE.search(line) and _has_lone_surrogate(line):
                # Polars would replace it by another character.
                problem = r"has half of a surrogate pair, such as \ud800, which is no character"
            if problem:
                raise SourceUnreadable(
                    f"line {number} of {display_name} of source {request.name!r} {problem}: "
                    f"{line[:40]!r}",
                    "Each line is one JSON object; repair or remove the line.",
                )
    stated = [c for c, t in request.source.types.items() if t not in _NATIVE]
    inferred = pl.scan_ndjson(plain, infer_schema_length=None).collect_schema()
    # Columns with a stated type are read as text, without inference, and converted later.
    # Parquet can't store objects without keys.
    types = {c: pl.String() if c in stated else _add_fields(t) for c, t in inferred.items()}
    return ScannedFile(pl.scan_ndjson(plain, schema=pl.Schema(types)), rows)


def _add_fields(dtype: pl.DataType) -> pl.DataType:
    """The type, with a field of nulls in each object type without fields."""
    if isinstance(dtype, pl.Struct):
        fields = [pl.Field(f.name, _add_fields(f.dtype)) for f in dtype.fields]  # type: ignore[arg-type]
        return pl.Struct(fields or [pl.Field("_", pl.Null())])
    return pl.List(_add_fields(dtype.inner)) if isinstance(dtype, pl.List) else dtype  # type: ignore[arg-type]


def _has_lone_surrogate(line: bytes) -> bool:
    try:
        json.dumps(json.loads(line), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    except ValueError:  # not JSON: Polars reports it
        return False
    return False
