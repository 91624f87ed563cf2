"""Bins of a number: their limits, and a fast count of the values in each bin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BINS", "Grid", "breaks_of"]

BINS = 64
"""Maximum bins of a number, at quantiles of the reference; fewer where it has few values."""
_CELLS = 8192
_CLOSE = 1e-6
"""Tolerance, as a share of a cell's width; rounding moves a value by less."""


@dataclass(frozen=True)
class Grid:
    """Cells of equal width over the limits, which give most values their bin without a search.

    A binary search among 64 limits takes some 100 ns a value. A multiplication, a comparison and a
    count take a fifth of that. In a cell with one limit, a value is compared with that limit. A
    cell with more limits, or that may have more because of rounding, leaves its values to the
    search. So the counts are exact.

    Attributes
    ----------
    limits
        Where bins begin, rising.
    low, scale
        A value's cell is ``(value - low) * scale``; with a scale of 0 every value is searched.
    cell_bin
        The bin of values below the cell's limit, by cell.
    cell_limit
        The limit in the cell, infinite where there is none, by cell.
    needs_search
        Whether the values need a search, by cell.
    """

    limits: npt.NDArray[np.float64]
    low: float
    scale: float
    cell_bin: npt.NDArray[np.intp]
    cell_limit: npt.NDArray[np.float64]
    needs_search: npt.NDArray[np.bool_]

    @classmethod
    def from_limits(cls, limits: npt.NDArray[np.float64]) -> Grid:
        """Build the cells over rising limits."""
        # The outermost bins may be far wider than all others, so the cells don't cover them.
        inner = limits[1:] if len(limits) == BINS else limits
        low, width = float(inner[0]), float(inner[-1]) - float(inner[0])
        scale = (_CELLS - 1) / width if width > 0 and math.isfinite(width) else 0.0
        if not math.isfinite(scale) or not scale:
            empty = np.zeros(0)
            return cls(limits, low, 0.0, empty.astype(np.intp), empty, empty > 0)
        edges = np.arange(_CELLS + 1)
        with np.errstate(over="ignore"):
            starts = low + (edges[:-1] - _CLOSE) / scale
            ends = low + (edges[1:] + _CLOSE) / scale
        starts[0], ends[-1] = -math.inf, math.inf
        code = np.searchsorted(limits, starts, side="left")
        limits_in_cell = np.searchsorted(limits, ends, side="right") - code
        limit = np.where(limits_in_cell == 1, limits[np.minimum(code, len(limits) - 1)], math.inf)
        return cls(limits, low, scale, code, limit, limits_in_cell > 1)

    def counts(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Count values by ``searchsorted(limits, values, side="right")``, (limits + 1,)."""
        size = len(self.limits) + 1
        if not self.scale:
            return self._count_by_search(values, size)
        with np.errstate(over="ignore"):
            position = (values - self.low) * self.scale
        np.clip(position, 0, _CELLS - 1, out=position)
        cells = position.astype(np.intp)
        above = values >= self.cell_limit[cells]
        by_cell = np.bincount(2 * cells + above, minlength=2 * _CELLS)
        by_cell[np.repeat(self.needs_search, 2)] = 0
        codes = np.repeat(self.cell_bin, 2)
        codes[1::2] += 1
        counts = np.bincount(codes, weights=by_cell, minlength=size + 1)[:size].astype(np.int64)
        if self.needs_search.any():
            counts += self._count_by_search(values[self.needs_search[cells]], size)
        return counts

    def _count_by_search(self, values: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
        codes = np.searchsorted(self.limits, values, side="right")
        return np.bincount(codes, minlength=size).astype(np.int64)


def breaks_of(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Starts of bins, at each value if there are few, else at quantiles; then the greatest."""
    if not len(values):
        return ()
    distinct = np.unique(values)
    if len(distinct) > BINS:
        levels = np.linspace(0, 1, BINS + 1)
        distinct = np.unique(np.quantile(values, levels, method="inverted_cdf"))
        return tuple(distinct.tolist())
    return (*distinct.tolist(), float(distinct[-1]))
