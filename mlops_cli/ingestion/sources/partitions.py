"""Hive partitions: columns in the names of folders, as in ``region=north/part-0.parquet``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["partition_columns"]

_MISSING = "__HIVE_DEFAULT_PARTITION__"


def partition_columns(files: Iterable[Path], root: Path) -> dict[Path, dict[str, pl.Expr]]:
    """File -> name and value of the columns in the names of its folders below ``root``.

    A column is of integers if all of its values are integers, else of text.
    """
    values = {path: dict(_parse_folders(path, root)) for path in files}
    names = dict.fromkeys(name for pairs in values.values() for name in pairs)
    types = {name: _column_type(name, values) for name in names}
    return {
        path: {
            name: pl.lit(value, pl.String()).cast(types[name]).alias(name)
            for name, value in pairs.items()
        }
        for path, pairs in values.items()
    }


def _parse_folders(path: Path, root: Path) -> Iterable[tuple[str, str | None]]:
    if path.is_relative_to(root):
        for part in path.relative_to(root).parts[:-1]:
            name, equals, value = part.partition("=")
            if equals and name:
                yield unquote(name), None if value == _MISSING else unquote(value)


def _column_type(name: str, values: Mapping[Path, Mapping[str, str | None]]) -> pl.DataType:
    texts = [pairs[name] for pairs in values.values() if pairs.get(name) is not None]
    all_integers = all(text is not None and str(text).lstrip("-").isdecimal() for text in texts)
    no_leading_zeros = all(
        text == "0" or not str(text).lstrip("-").startswith("0") for text in texts
    )
    return pl.Int64() if texts and all_integers and no_leading_zeros else pl.String()
