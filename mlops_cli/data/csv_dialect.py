"""How CSV is read, of files, batches and requests alike: records, names, missing values."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from _csv import Reader

__all__ = ["missing_as_null", "name_all", "records"]

_LONGEST = 1 << 30
"""Characters that a value may have."""


def records(lines: Iterable[str], separator: str) -> Reader:
    """The records of lines, which may end within quotes; ``csv.Error`` for what is none."""
    csv.field_size_limit(_LONGEST)
    return csv.reader(lines, delimiter=separator)


def name_all(names: Sequence[str]) -> list[str]:
    """The names, where a column without one (an index that pandas or R wrote) gets its place's.

    Examples
    --------
    >>> complete(["", "a", " "])
    ['unnamed_1', 'a', 'unnamed_3']
    """
    found: list[str] = []
    for at, name in enumerate(names, 1):
        chosen = name if name.strip() else f"unnamed_{at}"
        while chosen != name and chosen in {*names, *found}:
            chosen += "_"
        found.append(chosen)
    return found


def missing_as_null(column: str, texts: Iterable[str]) -> pl.Expr:
    """A column of texts with null for each of ``texts``."""
    return pl.when(~pl.col(column).is_in(list(texts))).then(pl.col(column)).alias(column)
