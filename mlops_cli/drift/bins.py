"""Bins of a number: where they begin, and how many values lie in each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BINS", "Grid", "breaks_of"]

BINS = 64
"""At quantiles of the reference; fewer where it has few values."""
_CELLS = 8192
_CLOSE = 1e-6
"""In cells; rounding moves a value by less."""


@dataclass(frozen=True)
class Grid:
    """Equal cells over the limits: most values find their bin without a search.

    A search among 64 limits takes some 100 ns a value; a multiplication, a comparison and a count a
    fifth. A cell that holds one limit compares with it; one that holds more, or may by rounding,
    leaves its values to the search. So the counts are exact.
    """

    limits: npt.NDArray[np.float64]
    low: float
    scale: float
    code: npt.NDArray[np.intp]
    limit: npt.NDArray[np.float64]
    unsure: npt.NDArray[np.bool_]

    @classmethod
    def over(cls, limits: npt.NDArray[np.float64]) -> Grid:
        """The cells over limits that rise."""
        # The outermost bins may be far wider than all others.
        inner = limits[1:] if len(limits) == BINS else limits
        low, width = float(inner[0]), float(inner[-1]) - float(inner[0])
        scale = (_CELLS - 1) / width if width > 0 and math.isfinite(width) else 0.0
        if not math.isfinite(scale) or not scale:
            nothing = np.zeros(0)
            return cls(limits, low, 0.0, nothing.astype(np.intp), nothing, nothing > 0)
        places = np.arange(_CELLS + 1)
        with np.errstate(over="ignore"):
            starts = low + (places[:-1] - _CLOSE) / scale
            ends = low + (places[1:] + _CLOSE) / scale
        starts[0], ends[-1] = -math.inf, math.inf
        code = np.searchsorted(limits, starts, side="left")
        held = np.searchsorted(limits, ends, side="right") - code
        limit = np.where(held == 1, limits[np.minimum(code, len(limits) - 1)], math.inf)
        return cls(limits, low, scale, code, limit, held > 1)

    def counts(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Values by ``searchsorted(limits, values, side="right")``, (limits + 1,)."""
        size = len(self.limits) + 1
        if not self.scale:
            return self._searched(values, size)
        with np.errstate(over="ignore"):
            place = (values - self.low) * self.scale
        np.clip(place, 0, _CELLS - 1, out=place)
        cells = place.astype(np.intp)
        above = values >= self.limit[cells]
        by_cell = np.bincount(2 * cells + above, minlength=2 * _CELLS)
        by_cell[np.repeat(self.unsure, 2)] = 0
        codes = np.repeat(self.code, 2)
        codes[1::2] += 1
        found = np.bincount(codes, weights=by_cell, minlength=size + 1)[:size].astype(np.int64)
        if self.unsure.any():
            found += self._searched(values[self.unsure[cells]], size)
        return found

    def _searched(self, values: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.int64]:
        places = np.searchsorted(self.limits, values, side="right")
        return np.bincount(places, minlength=size).astype(np.int64)


def breaks_of(values: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Where bins begin: at each value if there are few, else at quantiles; and the greatest."""
    if not len(values):
        return ()
    distinct = np.unique(values)
    if len(distinct) > BINS:
        levels = np.linspace(0, 1, BINS + 1)
        distinct = np.unique(np.quantile(values, levels, method="inverted_cdf"))
        return tuple(distinct.tolist())
    return (*distinct.tolist(), float(distinct[-1]))
