"""Profiles of a table's columns: statistics of a bounded sample, and of all rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mlops_cli.data.column_types import DTYPES, ingested_type
from mlops_cli.data.sql.tokens import is_selectable

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.ingest import TypeName

__all__ = [
    "SAMPLE",
    "ColumnProfile",
    "beyond_64_bits",
    "normalise_types",
    "pipeline_type",
    "profile_columns",
]

SAMPLE = 100_000
"""Rows of the sample. Statistics of the whole table need no memory for rows."""

MAX_CATEGORIES = 30
"""Text with at most so many distinct values is a category whose values are listed."""


@dataclass(frozen=True)
class ColumnProfile:
    """Profile of one column.

    Attributes
    ----------
    missing, low, high
        Number of missing values, minimum and maximum, over the whole table.
    present, distinct, mean_length
        In the sample: number of values that aren't missing, number of distinct ones, mean
        number of characters of a text.
    consecutive
        Whether whole numbers grow by one from row to row.
    categories
        All values of the whole table, sorted; empty if there are many.
    """

    name: str
    type: TypeName
    missing: int
    low: Any
    high: Any
    present: int
    distinct: int
    mean_length: float
    consecutive: bool
    categories: tuple[Any, ...]

    @property
    def unique(self) -> bool:
        """Whether no value of the sample occurs twice."""
        return self.present > 1 and self.distinct == self.present


def pipeline_type(dtype: pl.DataType) -> TypeName | None:
    """The pipeline's name of a Polars type; None for types that no feature can have."""
    return next(
        (name for name, candidate in DTYPES.items() if candidate == ingested_type(dtype)), None
    )


def normalise_types(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Cast a table to its types after ingest; NaN and infinity become null."""
    import polars as pl

    casts = []
    for name, dtype in frame.collect_schema().items():
        ingested, column = ingested_type(dtype), pl.col(name)
        if not is_selectable(name) or (dtype == ingested and not dtype.is_float()):
            continue
        if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
            column = column.dt.replace_time_zone("UTC")
        column = column.cast(ingested, strict=False)
        if ingested.is_float():
            column = pl.when(column.is_finite()).then(column)
        casts.append(column.alias(name))
    return frame.with_columns(casts)


def beyond_64_bits(frame: pl.LazyFrame) -> list[str]:
    """Columns of whole numbers, some of which don't fit into signed 64 bits."""
    import polars as pl

    wide = (pl.UInt64, pl.Int128, pl.UInt128)
    names = [n for n, t in frame.collect_schema().items() if t in wide and is_selectable(n)]
    if not names:
        return []
    is_lossy = pl.col(names).cast(pl.Int64, strict=False).null_count() > pl.col(names).null_count()
    losses = frame.select(is_lossy).collect(engine="streaming").row(0)
    return [name for name, lost in zip(names, losses, strict=True) if lost]


def profile_columns(frame: pl.LazyFrame, names: list[str]) -> dict[str, ColumnProfile]:
    """Profiles of columns of a normalised table, whose types must have a name in the pipeline."""
    if not names:
        return {}
    schema = frame.collect_schema()
    kinds = {n: cast("TypeName", pipeline_type(schema[n])) for n in names}
    sample = frame.select(names).head(SAMPLE).collect(engine="streaming")
    statistics = [e for i, n in enumerate(names) for e in _total_statistics(i, n)]
    totals = frame.select(statistics).collect(engine="streaming").row(0, named=True)
    present = {n: sample[n].drop_nulls() for n in names}
    distinct = {n: values.n_unique() for n, values in present.items()}
    few = [n for n in names if kinds[n] == "string" and distinct[n] <= MAX_CATEGORIES]
    categories = _find_categories(frame, few)
    return {
        name: ColumnProfile(
            name=name,
            type=kinds[name],
            missing=totals[f"{i} missing"],
            low=totals[f"{i} low"],
            high=totals[f"{i} high"],
            present=present[name].len(),
            distinct=distinct[name],
            mean_length=_mean_length(present[name]) if kinds[name] == "string" else 0.0,
            consecutive=kinds[name] == "integer" and bool((present[name].diff() == 1).all()),
            categories=categories.get(name, ()),
        )
        for i, name in enumerate(names)
    }


def _total_statistics(i: int, name: str) -> list[pl.Expr]:
    import polars as pl

    return [
        pl.col(name).null_count().alias(f"{i} missing"),
        pl.col(name).min().alias(f"{i} low"),
        pl.col(name).max().alias(f"{i} high"),
    ]


def _mean_length(present: pl.Series) -> float:
    mean = present.str.len_chars().mean()
    return float(mean) if isinstance(mean, int | float) else 0.0


def _find_categories(frame: pl.LazyFrame, names: list[str]) -> dict[str, tuple[Any, ...]]:
    import polars as pl

    if not names:
        return {}
    lists = frame.select(
        pl.col(n).drop_nulls().unique().sort().implode().alias(str(i)) for i, n in enumerate(names)
    ).collect(engine="streaming")
    categories = {n: tuple(lists[str(i)][0].to_list()) for i, n in enumerate(names)}
    return {n: values for n, values in categories.items() if len(values) <= MAX_CATEGORIES}
