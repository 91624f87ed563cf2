"""Whether rows lie in the order of something that no column names, such as the time they came in.

Rows next to each other are then alike: figures of the first rows are others than those of the
last. A table that is sorted by one of its columns isn't meant, however much others go with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

__all__ = ["columns_that_drift"]

_LEAST_ROWS = 200
_BLOCKS = 10
_P = 1e-6
"""For all columns together: so seldom would rows in a random order look like that."""
_SHARE = 0.03
"""Of a column's variance that lies between the blocks: with less, a split hardly matters."""
_CELLS = 20_000_000
"""So many values are held in memory."""
_LARGEST = 1e100
"""Of numbers beyond this, sums and squares may not fit into a float."""
_BATCH = 200
"""Columns of one look."""


def columns_that_drift(
    frame: pl.LazyFrame, columns: Iterable[str], passed_over: Iterable[str]
) -> list[str]:
    """Columns whose values drift with the row number; none where rows are sorted by a column.

    Parameters
    ----------
    columns
        The target and features that are looked at.
    passed_over
        Columns by which rows may be sorted all the same: numbers that only count them.
    """
    import polars as pl

    schema = frame.collect_schema()
    ids = set(passed_over)
    others = [c for c in schema if c not in ids and not schema[c].is_nested()]
    rows = int(frame.select(pl.len()).collect().item())
    if rows < _LEAST_ROWS:
        return []
    if rows * len(others) <= _CELLS:
        # Each look would read the file anew.
        frame = frame.select(others).collect(engine="streaming").lazy()
    if _sorted(frame, others):
        return []
    looked = [c for c in columns if _number(schema[c])]
    shares = {c: s for part in _parts(looked) for c, s in _between(frame, part, rows).items()}
    return [c for c, (share, p) in shares.items() if share >= _SHARE and p * len(looked) < _P]


def _number(dtype: pl.DataType) -> bool:
    import polars as pl

    return dtype.is_numeric() or dtype in {pl.Boolean, pl.String}


def _parts(columns: list[str]) -> list[list[str]]:
    return [columns[at : at + _BATCH] for at in range(0, len(columns), _BATCH)]


def _sorted(frame: pl.LazyFrame, columns: list[str]) -> bool:
    """Whether a column rises or falls from row to row, or equal values lie together."""
    import polars as pl

    for part in _parts(columns):
        asked = []
        for at, name in enumerate(part):
            value = pl.col(name).drop_nulls()
            order = value.is_sorted() | value.is_sorted(descending=True)
            asked += [
                ((value != value.shift()).sum() + 1).alias(f"{at} runs"),
                order.alias(str(at)),
            ]
            asked.append(value.len().alias(f"{at} n"))
        found = frame.select(asked).collect(engine="streaming").row(0, named=True)
        several = [at for at in range(len(part)) if found[f"{at} runs"] > 1]
        if any(found[str(at)] for at in several):
            return True
        # Of others, each run has a value of its own where equal ones lie together.
        repeated = [at for at in several if found[f"{at} runs"] < found[f"{at} n"]]
        distinct = frame.select(pl.col(part[at]).drop_nulls().n_unique() for at in repeated)
        counts = distinct.collect(engine="streaming").row(0) if repeated else ()
        if any(found[f"{at} runs"] == n for at, n in zip(repeated, counts, strict=True)):
            return True
    return False


def _between(frame: pl.LazyFrame, columns: list[str], rows: int) -> dict[str, tuple[float, float]]:
    """Column -> the share of its variance between blocks of rows, and how likely by chance.

    An analysis of variance (F test), which also holds for the indicator of a class.
    """
    import polars as pl
    from scipy.stats import f

    schema = frame.collect_schema()
    values = {}
    for at, name in enumerate(columns):
        value = pl.col(name)
        if schema[name] == pl.String:
            value = value == value.drop_nulls().mode().sort().first()
        value = value.cast(pl.Float64)
        finite = value.is_finite()
        value = value.clip(-_LARGEST, _LARGEST)
        values[name] = pl.when(finite).then(value).alias(str(at))
    block = (pl.int_range(pl.len()) * _BLOCKS // rows).alias("block")
    numbered = frame.select(*values.values(), block)
    asked = []
    for at in range(len(columns)):
        value = pl.col(str(at))
        asked += [value.count().alias(f"{at} n"), value.mean().alias(f"{at} mean")]
        asked.append(value.var(ddof=0).alias(f"{at} var"))
    table = numbered.group_by("block").agg(asked).collect(engine="streaming")
    found = {}
    for at, name in enumerate(columns):
        n, mean, var = (
            table[f"{at} {what}"].cast(pl.Float64).fill_null(0.0).to_numpy()
            for what in ("n", "mean", "var")
        )
        total, groups = n.sum(), int((n > 0).sum())
        if groups < 2 or total <= groups:  # noqa: PLR2004
            continue
        centre = (n * mean).sum() / total
        between, within = float((n * (mean - centre) ** 2).sum()), float((n * var).sum())
        if not np.isfinite(between + within) or between + within == 0:
            continue
        freedom = (groups - 1, total - groups)
        ratio = between / freedom[0] / (within / freedom[1]) if within else np.inf
        found[name] = between / (between + within), float(f.sf(ratio, *freedom))
    return found
