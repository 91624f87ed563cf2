"""Readers of the splits for the model stages: features, target, and the list of features."""

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
    """Map each feature of a compiled program to its kind: number, boolean or category.

    The order is the model's.

    Raises
    ------
    DataRefused
        If the program has no features.
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
    extra_columns: Sequence[str | None] = (),
) -> pl.DataFrame:
    """Read features, target and time (if there is one) of a split, in the file's order.

    Parameters
    ----------
    layout
        Where the project's files are.
    name
        train, validation or test.
    kinds
        The features, with their kinds.
    rows
        Maximum rows, sampled without replacement; only these are held in memory.
    seed
        Random seed of the sample.
    extra_columns
        Further columns to read, if the split has them.

    Raises
    ------
    NotFound
        If the split doesn't exist.
    DataRefused
        If it has no rows, or lacks a feature.
    """
    table, total = _scan_split(layout, name, (*kinds, TARGET))
    names = table.collect_schema().names()
    available = [name for name in (TIME, *extra_columns) if name in names]
    table = table.select(list(dict.fromkeys([*kinds, TARGET, *available])))
    if rows is not None and rows < total:
        table = table.filter(_sample_mask(total, rows, seed))
    return table.collect(engine="streaming")


def read_target(layout: Layout, name: str, kinds: dict[str, str]) -> pl.Series:
    """Read the target of all rows of a split, and check that it has all features.

    Raises
    ------
    NotFound
        If the split doesn't exist.
    DataRefused
        If it has no rows, or lacks a feature.
    """
    table, _ = _scan_split(layout, name, (*kinds, TARGET))
    return table.select(TARGET).collect().to_series()


def _scan_split(layout: Layout, name: str, columns: Sequence[str]) -> tuple[pl.LazyFrame, int]:
    """Scan a split that must have rows and these columns, and count its rows."""
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


def _sample_mask(total: int, rows: int, seed: int) -> pl.Series:
    import numpy as np

    mask = np.zeros(total, dtype=bool)
    mask[np.random.default_rng(seed).choice(total, rows, replace=False)] = True
    return pl.Series(mask)
