"""What all metrics share: a value for any weighting of the same rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mlops_cli.errors import DataRefused

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Floats", "Statistic", "Truth", "mean", "mean_where", "ratio", "row_weights"]

Floats = NDArray[np.float64]
Truth = NDArray[np.generic]

Statistic = Callable[[Floats], float]
"""Weights (n,), at least 0, to the metric's value; NaN where it isn't defined."""


def ratio(above: float, below: float) -> float:
    """Divide; NaN where ``below`` isn't above 0."""
    return above / below if below > 0 else float("nan")


def mean(terms: Floats) -> Statistic:
    """Give the weighted mean of a term per row, (n,)."""
    return lambda w: ratio(float((w * terms).sum()), float(w.sum()))


def mean_where(valid: NDArray[np.bool_], terms: Floats) -> Statistic:
    """Give the weighted mean; NaN where a row that counts isn't valid, (n,) each."""
    if valid.all():
        return mean(terms)
    whole = mean(np.where(valid, terms, 0.0))
    return lambda w: float("nan") if w[~valid].any() else whole(w)


def row_weights(column: pl.Series, name: str, place: str = "evaluate.weight") -> Floats:
    """Read what each row counts, (n,).

    Raises
    ------
    DataRefused
        If a weight is missing, negative or no finite number, or all are 0.
    """
    hint = f"Name a column of numbers from 0 on under {place}, or clean it."
    if not (column.dtype.is_numeric() or column.dtype.is_decimal()):
        raise DataRefused(
            f"the weights in {name!r} are of type {column.dtype}, not numbers ({place})",
            hint,
        )
    weights = column.cast(float).to_numpy().astype(np.float64)
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(bad):
        raise DataRefused(
            f"{len(bad):,} weights in {name!r} are missing or negative, the first of them "
            f"{column[int(bad[0])]} ({place})",
            hint,
        )
    if not weights.any():
        raise DataRefused(f"all weights in {name!r} are 0 ({place})", hint)
    return weights
