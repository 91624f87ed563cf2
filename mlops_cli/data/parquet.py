"""Parquet files: read lazily, written atomically and with reproducible bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mlops_cli.data.atomic_files import atomic_write
from mlops_cli.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["ROW_GROUP", "count", "scan", "sink", "write"]

ROW_GROUP = 100_000
"""Rows of a Parquet row group. Fixed, because the file's bytes depend on it."""


def scan(path: Path) -> pl.LazyFrame:
    """Scan one Parquet file lazily, or a folder's files in the order of their names.

    Raises
    ------
    NotFound
        If it doesn't exist, because the stage that makes it hasn't run.
    """
    if path.is_dir():
        parts = sorted(path.glob("*.parquet"))
        if parts:
            return pl.scan_parquet(parts, glob=False)
    elif path.is_file():
        return pl.scan_parquet(path, glob=False)
    raise NotFound(
        f"{path} is not there",
        "It is made by an earlier stage; bring everything up to date with `mlops run`.",
    )


def write(table: pl.DataFrame | pl.LazyFrame, path: Path) -> None:
    """Write one Parquet file atomically: it replaces ``path`` only when it is complete.

    A LazyFrame is streamed, so memory doesn't grow with its rows.
    """
    with atomic_write(path) as temporary:
        sink(table, temporary)


def sink(table: pl.DataFrame | pl.LazyFrame, path: Path) -> None:
    """Write one Parquet file in place, for use in a folder that is written atomically as a whole.

    The same rows give the same bytes on any number of cores: row order is kept, and row groups
    have a fixed size.
    """
    table.lazy().sink_parquet(
        path,
        compression="zstd",
        row_group_size=ROW_GROUP,
        statistics=True,
        maintain_order=True,
        engine="streaming",
    )


def count(path: Path) -> int:
    """Number of rows of a Parquet file or folder, from the files' footers alone."""
    return int(scan(path).select(pl.len()).collect().item())
