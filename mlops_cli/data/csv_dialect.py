"""How CSV is read in files, batches and requests: records, column names, missing values."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["missing_as_null", "name_all", "records"]

_LONGEST = 1 << 30
"""Maximum number of characters of a value."""


def records(lines: Iterable[str], separator: str) -> Reader:
    """Parse lines as CSV records; lines may end within quotes, and errors are ``csv.Error``."""
    csv.field_size_limit(_LONGEST)
    return csv.reader(lines, delimiter=separator)


def name_all(names: Sequence[str]) -> list[str]:
    """Name columns without a name (an index that pandas or R wrote) by their position.

    Examples
    --------
    >>> name_all(["", "a", " "])
    ['unnamed_1', 'a', 'unnamed_3']
    """
    all_names: list[str] = []
    for position, name in enumerate(names, 1):
        chosen = name if name.strip() else f"unnamed_{position}"
        while chosen != name and chosen in {*names, *all_names}:
            chosen += "_"
        all_names.append(chosen)
    return all_names


def missing_as_null(column: str, texts: Iterable[str]) -> pl.Expr:
    """A text column with null in place of each of ``texts``."""
    return pl.when(~pl.col(column).is_in(list(texts))).then(pl.col(column)).alias(column)
