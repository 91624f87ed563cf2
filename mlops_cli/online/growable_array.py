"""Append-only numeric array, read as single values by Python or as arrays by NumPy."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["GrowableArray", "Positions"]

Positions = npt.NDArray[np.int64]
"""Positions in an array."""

_CAPACITY = 256
"""Initial capacity."""


class GrowableArray:
    """Append-only array of numbers. One thread may append while others read earlier numbers.

    Parameters
    ----------
    kind
        ``q`` for 64-bit integers, ``d`` for floats, where None is stored as NaN.

    Attributes
    ----------
    values
        Buffer for reading single numbers; it may be longer than ``length``. It becomes a list of
        Python integers once an integer doesn't fit into 64 bits.
    length
        How many numbers there are.
    """

    def __init__(self, kind: Literal["q", "d"]) -> None:
        self._kind = kind
        self.values: array[Any] | list[Any] = array(kind, bytes(8 * _CAPACITY))
        self._view: npt.NDArray[Any] | None = np.frombuffer(self.values, dtype=_DTYPES[kind])
        self.length = 0

    def extend(self, values: Sequence[Any]) -> None:
        """Append numbers."""
        end = self.length + len(values)
        if self._view is not None:
            try:
                numbers = np.array(values, dtype=self._view.dtype)
            except OverflowError:
                self._view, self.values = None, list(self.values[: self.length])
            else:
                self._reserve(end)
                self._view[self.length : end] = numbers
        if self._view is None:
            assert isinstance(self.values, list)  # noqa: S101 - made so above
            self.values[self.length :] = values
        self.length = end

    def set_last(self, position: int, number: int) -> None:
        """Set the last number, at ``position``; drop what a failed call left from there on."""
        self.length = position
        self.extend([number])

    def gather(self, positions: Positions) -> npt.NDArray[Any]:
        """Return the numbers at many positions; Python integers if they don't fit into 64 bits."""
        view, values = self._view, self.values  # another thread may be appending
        if view is not None:
            return view.take(positions, mode="clip")
        return np.array([values[i] for i in positions.tolist()], dtype=object)

    def slice(self, start: int, end: int) -> npt.NDArray[Any]:
        """Return the numbers from ``start`` to before ``end``."""
        return np.asarray(self.values[start:end])

    def _reserve(self, length: int) -> None:
        """Make room for so many numbers."""
        assert self._view is not None  # noqa: S101 - the caller has checked
        if length > len(self.values):
            # Other threads may still read the old array, so it isn't resized.
            larger = array(self._kind, bytes(8 * max(length, len(self.values) * 3 // 2)))
            view = np.frombuffer(larger, dtype=self._view.dtype)
            view[: self.length] = self._view[: self.length]
            self.values, self._view = larger, view


_DTYPES = {"q": np.int64, "d": np.float64}
