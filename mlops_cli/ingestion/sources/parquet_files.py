"""Parquet files as a source."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.errors import SourceUnreadable
from mlops_cli.ingestion.sources.files import ScannedFile, open_files

if TYPE_CHECKING:
    from pathlib import Path

    from mlops_cli.ingestion.sources.request import OpenedSource, SourceRequest

__all__ = ["diagnose", "open_table", "scan"]

_MAGIC = b"PAR1"


def open_table(request: SourceRequest) -> OpenedSource:
    """Open the Parquet files of a source as one table."""
    return open_files(request, sys.modules[__name__])


def scan(path: Path, display_name: str, request: SourceRequest) -> ScannedFile:
    """Check that a file begins and ends like Parquet, and return its lazy table.

    Raises
    ------
    SourceUnreadable
        If it isn't Parquet, or is truncated.
    """
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-min(4, path.stat().st_size), 2)
        tail = file.read(4)
    if head != _MAGIC:
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is not Parquet: it begins with {head!r}",
            f"Set `{request.setting}.format` to csv or jsonl if that is what it is.",
        )
    if tail != _MAGIC:
        raise SourceUnreadable(
            f"{display_name} of source {request.name!r} is a truncated Parquet file "
            f"({path.stat().st_size} bytes, and no footer at its end)",
            "It was cut short when it was written or copied; fetch it again.",
        )
    return ScannedFile(pl.scan_parquet(path, glob=False, hive_partitioning=False))


def diagnose(path: Path, display_name: str, request: SourceRequest) -> SourceUnreadable | None:
    """Check whether this file is damaged, by reading it in a stream."""
    try:
        for _ in pl.scan_parquet(path, glob=False).collect_batches(engine="streaming"):
            pass
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).strip().split("\n")[0][:200]
        return SourceUnreadable(
            f"{display_name} of source {request.name!r} is a damaged Parquet file ({first})",
            "It was changed or cut short after it was written; fetch it again.",
        )
    return None
