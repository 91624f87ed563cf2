"""Weighted statistics that all metrics are made of, and the weights of rows."""

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
"""Function from weights (n,), at least 0, to the metric's value; NaN where it isn't defined."""


def ratio(numerator: float, denominator: float) -> float:
    """Divide; NaN where ``denominator`` isn't above 0."""
    return numerator / denominator if denominator > 0 else float("nan")


def mean(terms: Floats) -> Statistic:
    """Make the statistic of the weighted mean of terms, one for each row (n,)."""
    return lambda w: ratio(float((w * terms).sum()), float(w.sum()))


def mean_where(valid: NDArray[np.bool_], terms: Floats) -> Statistic:
    """Make the weighted mean (n,); it is NaN if a row of positive weight isn't valid."""
    if valid.all():
        return mean(terms)
    masked_mean = mean(np.where(valid, terms, 0.0))
    return lambda w: float("nan") if w[~valid].any() else masked_mean(w)


def row_weights(column: pl.Series, name: str, setting: str = "evaluate.weight") -> Floats:
    """Read the weight of each row, (n,), from a column.

    Raises
    ------
    DataRefused
        If a weight is missing, negative or no finite number, or all are 0.
    """
    hint = f"Name a column of numbers from 0 on under {setting}, or clean it."
    if not (column.dtype.is_numeric() or column.dtype.is_decimal()):
        raise DataRefused(
            f"the weights in {name!r} are of type {column.dtype}, not numbers ({setting})",
            hint,
        )
    weights = column.cast(float).to_numpy().astype(np.float64)
    invalid = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(invalid):
        raise DataRefused(
            f"{len(invalid):,} weights in {name!r} are missing or negative, the first of them "
            f"{column[int(invalid[0])]} ({setting})",
            hint,
        )
    if not weights.any():
        raise DataRefused(f"all weights in {name!r} are 0 ({setting})", hint)
    return weights
