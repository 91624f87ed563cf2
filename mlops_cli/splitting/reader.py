"""Splits as the model stages read them: features, target, and which features there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.data import parquet
from mlops_cli.errors import DataRefused
from mlops_cli.layout import TARGET, TIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlops_cli.layout import Layout

__all__ = ["feature_kinds", "read_split", "read_target"]


def feature_kinds(program: dict[str, Any]) -> dict[str, str]:
    """Feature -> number, boolean or category, in the model's order, from a compiled program.

    Raises
    ------
    DataRefused
        If the program makes no feature.
    """
    kinds = dict(program["features"])
    if not kinds:
        raise DataRefused(
            "there is no feature to learn from",
            "Give at least one under featurize in params.yaml.",
        )
    return kinds


def read_split(
    layout: Layout,
    name: str,
    kinds: dict[str, str],
    rows: int | None = None,
    seed: int = 0,
    also: Sequence[str | None] = (),
) -> pl.DataFrame:
    """A split's features, target, and time where there is one, in the file's order.

    Parameters
    ----------
    layout
        Where the project's files are.
    name
        train, validation or test.
    kinds
        The features.
    rows
        At most so many rows, sampled without replacement; only they are held in memory.
    seed
        Of the sample.
    also
        Further columns, where the split has them.

    Raises
    ------
    NotFound
        If the split isn't there.
    DataRefused
        If it has no rows, or lacks a feature.
    """
    table, total = _checked(layout, name, (*kinds, TARGET))
    names = table.collect_schema().names()
    more = [name for name in (TIME, *also) if name in names]
    table = table.select(list(dict.fromkeys([*kinds, TARGET, *more])))
    if rows is not None and rows < total:
        table = table.filter(_sample(total, rows, seed))
    return table.collect(engine="streaming")


def read_target(layout: Layout, name: str, kinds: dict[str, str]) -> pl.Series:
    """The target of all rows of a split, which has all features.

    Raises
    ------
    NotFound
        If the split isn't there.
    DataRefused
        If it has no rows, or lacks a feature.
    """
    table, _ = _checked(layout, name, (*kinds, TARGET))
    return table.select(TARGET).collect().to_series()


def _checked(layout: Layout, name: str, columns: Sequence[str]) -> tuple[pl.LazyFrame, int]:
    """A split that has rows and these columns, and how many rows."""
    path = layout.split(name)
    table = parquet.scan(path)
    names = table.collect_schema().names()
    missing = [c for c in columns if c not in names]
    if missing:
        raise DataRefused(
            f"column {missing[0]!r} of the feature program is not in {path.name}",
            "The split is older than the program; bring both up to date with `mlops run`.",
        )
    total = table.select(pl.len()).collect().item()
    if total == 0:
        raise DataRefused(
            f"the {name} split has no rows", "Give it a larger share or another span under split."
        )
    return table, total


def _sample(total: int, rows: int, seed: int) -> pl.Series:
    import numpy as np

    chosen = np.zeros(total, dtype=bool)
    chosen[np.random.default_rng(seed).choice(total, rows, replace=False)] = True
    return pl.Series(chosen)
