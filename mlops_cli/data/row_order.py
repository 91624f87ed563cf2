"""Detects a row order by something that no column has, such as the time of arrival.

Neighbouring rows are then alike, and statistics of the first rows differ from those of the last.
A table that is sorted by one of its columns doesn't count, even if other columns follow it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

__all__ = ["columns_that_drift"]

_MIN_ROWS = 200
_BLOCKS = 10
_SIGNIFICANCE = 1e-6
"""Significance level for all columns together (Bonferroni)."""
_MIN_SHARE = 0.03
"""Minimum share of a column's variance between the blocks; below, a split hardly matters."""
_MAX_CELLS = 20_000_000
"""Maximum number of values that are held in memory."""
_LARGEST = 1e100
"""Sums and squares of larger numbers may not fit into a float."""
_BATCH = 200
"""Columns in one query."""


def columns_that_drift(
    frame: pl.LazyFrame, columns: Iterable[str], ignored_columns: Iterable[str]
) -> list[str]:
    """Columns whose values drift with the row number; empty if rows are sorted by a column.

    Parameters
    ----------
    columns
        The target and features to test.
    ignored_columns
        Columns by which rows may be sorted nevertheless: numbers that only count them.
    """
    import polars as pl

    schema = frame.collect_schema()
    ignored = set(ignored_columns)
    candidates = [c for c in schema if c not in ignored and not schema[c].is_nested()]
    rows = int(frame.select(pl.len()).collect().item())
    if rows < _MIN_ROWS:
        return []
    if rows * len(candidates) <= _MAX_CELLS:
        # Each query would read the file again.
        frame = frame.select(candidates).collect(engine="streaming").lazy()
    if _is_sorted_by_any(frame, candidates):
        return []
    tested = [c for c in columns if _is_testable(schema[c])]
    shares = {
        c: s
        for part in _batches(tested)
        for c, s in _variance_between_blocks(frame, part, rows).items()
    }
    return [
        c
        for c, (share, p) in shares.items()
        if share >= _MIN_SHARE and p * len(tested) < _SIGNIFICANCE
    ]


def _is_testable(dtype: pl.DataType) -> bool:
    import polars as pl

    return dtype.is_numeric() or dtype in {pl.Boolean, pl.String}


def _batches(columns: list[str]) -> list[list[str]]:
    return [columns[start : start + _BATCH] for start in range(0, len(columns), _BATCH)]


def _is_sorted_by_any(frame: pl.LazyFrame, columns: list[str]) -> bool:
    """Whether a column rises or falls from row to row, or its equal values are contiguous."""
    import polars as pl

    for part in _batches(columns):
        queries = []
        for i, name in enumerate(part):
            value = pl.col(name).drop_nulls()
            is_sorted = value.is_sorted() | value.is_sorted(descending=True)
            queries += [
                ((value != value.shift()).sum() + 1).alias(f"{i} runs"),
                is_sorted.alias(str(i)),
            ]
            queries.append(value.len().alias(f"{i} n"))
        stats = frame.select(queries).collect(engine="streaming").row(0, named=True)
        varying = [i for i in range(len(part)) if stats[f"{i} runs"] > 1]
        if any(stats[str(i)] for i in varying):
            return True
        # Equal values are contiguous if there are as many runs as distinct values.
        repeated = [i for i in varying if stats[f"{i} runs"] < stats[f"{i} n"]]
        distinct = frame.select(pl.col(part[i]).drop_nulls().n_unique() for i in repeated)
        counts = distinct.collect(engine="streaming").row(0) if repeated else ()
        if any(stats[f"{i} runs"] == n for i, n in zip(repeated, counts, strict=True)):
            return True
    return False


def _variance_between_blocks(
    frame: pl.LazyFrame, columns: list[str], rows: int
) -> dict[str, tuple[float, float]]:
    """Column -> the share of its variance between blocks of rows, and its p-value.

    An analysis of variance (F test), which is also valid for the indicator of a class.
    """
    import polars as pl
    from scipy.stats import f

    schema = frame.collect_schema()
    values = {}
    for i, name in enumerate(columns):
        value = pl.col(name)
        if schema[name] == pl.String:
            value = value == value.drop_nulls().mode().sort().first()
        value = value.cast(pl.Float64)
        finite = value.is_finite()
        value = value.clip(-_LARGEST, _LARGEST)
        values[name] = pl.when(finite).then(value).alias(str(i))
    block = (pl.int_range(pl.len()) * _BLOCKS // rows).alias("block")
    numbered = frame.select(*values.values(), block)
    queries = []
    for i in range(len(columns)):
        value = pl.col(str(i))
        queries += [value.count().alias(f"{i} n"), value.mean().alias(f"{i} mean")]
        queries.append(value.var(ddof=0).alias(f"{i} var"))
    table = numbered.group_by("block").agg(queries).collect(engine="streaming")
    shares = {}
    for i, name in enumerate(columns):
        n, mean, var = (
            table[f"{i} {statistic}"].cast(pl.Float64).fill_null(0.0).to_numpy()
            for statistic in ("n", "mean", "var")
        )
        total, groups = n.sum(), int((n > 0).sum())
        if groups < 2 or total <= groups:  # noqa: PLR2004
            continue
        centre = (n * mean).sum() / total
        between, within = float((n * (mean - centre) ** 2).sum()), float((n * var).sum())
        if not np.isfinite(between + within) or between + within == 0:
            continue
        freedom = (groups - 1, total - groups)
        f_ratio = between / freedom[0] / (within / freedom[1]) if within else np.inf
        shares[name] = between / (between + within), float(f.sf(f_ratio, *freedom))
    return shares
