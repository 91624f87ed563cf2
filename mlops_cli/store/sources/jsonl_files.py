"""JSON Lines files, plain or gzipped: one JSON object a line, one row each."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.core.json_text import DEEPEST, text_is_deep
from mlops_cli.errors import SourceUnreadable
from mlops_cli.store.sources.files import Scanned, check_utf8, open_files, unpacked

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.store.sources.request import Opened, Request

__all__ = ["diagnose", "open_table", "scan"]


def open_table(request: Request) -> Opened:
    """Open the JSON Lines files of a source as one table."""
    return open_files(request, sys.modules[__name__])


def scan(path: Path, shown: str, request: Request) -> Scanned:
    """Check that a file looks like JSON Lines, and give its lazy table.

    The types come from all of its lines: a key that first appears late is a column, too.

    Raises
    ------
    SourceUnreadable
        If it doesn't begin with a JSON object.
    """
    plain = unpacked(path, shown, request)
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
            if text_is_deep(line):
                raise SourceUnreadable(
                    f"line {number} of {shown} of source {request.name!r} is nested deeper than "
                    f"{DEEPEST} lists and objects: {line[:40]!r}",
                    "Each line is one JSON object; repair or remove the line.",
                )
    native = ("integer", "number", "boolean")
    lazy = pl.scan_ndjson(plain, infer_schema_length=None)
    found = lazy.collect_schema()
    stated = {c: t for c, t in request.source.types.items() if c in found}
    texts = {
        c: pl.String() for c, t in stated.items() if t not in native and not found[c].is_nested()
    }
    return Scanned(pl.scan_ndjson(plain, schema=pl.Schema({**found, **texts})), rows)


def diagnose(path: Path, shown: str, request: Request) -> SourceUnreadable | None:
    """Find the first line that isn't a JSON object."""
    plain = unpacked(path, shown, request)
    problem = check_utf8(plain, shown, request)
    if problem is not None:
        return problem
    with plain.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
                reason = "" if isinstance(value, dict) else "it is no object"
            except json.JSONDecodeError as error:
                reason = f"{error.msg}, column {error.colno}"
            if reason:
                return SourceUnreadable(
                    f"line {number} of {shown} of source {request.name!r} is not a JSON object: "
                    f"{line.strip()[:40]!r} ({reason})",
                    "Each line is one JSON object; repair or remove the line.",
                )
    return None
