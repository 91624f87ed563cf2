"""Splits as the model stages read them: features, target, and which features there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mlops_cli.errors import DataRefused
from mlops_cli.layout import TARGET, TIME
from mlops_cli.store import tables

if TYPE_CHECKING:
    from mlops_cli.layout import Layout

__all__ = ["feature_kinds", "read_split"]


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
    also: str | None = None,
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
        One more column, where the split has it.

    Raises
    ------
    NotFound
        If the split isn't there.
    DataRefused
        If it has no rows, or lacks a feature.
    """
    path = layout.split(name)
    table = tables.scan(path)
    names = table.collect_schema().names()
    missing = [c for c in (*kinds, TARGET) if c not in names]
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
    columns = [*kinds, TARGET, *([TIME] if TIME in names else [])]
    columns += [also] if also in names and also not in columns else []
    table = table.select(columns)
    if rows is not None and rows < total:
        table = table.filter(_sample(total, rows, seed))
    return table.collect(engine="streaming")


def _sample(total: int, rows: int, seed: int) -> pl.Series:
    import numpy as np

    chosen = np.zeros(total, dtype=bool)
    chosen[np.random.default_rng(seed).choice(total, rows, replace=False)] = True
    return pl.Series(chosen)
