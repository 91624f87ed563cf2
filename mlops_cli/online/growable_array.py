"""Numbers of which there are more and more: read one by one by Python, or many at once by NumPy."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["GrowableArray", "Places"]

Places = npt.NDArray[np.int64]
"""Where numbers stand in a column, of many at once."""

_FIRST = 256


class GrowableArray:
    """A column that numbers are added to; what was read of it before stays as it was.

    One thread may add while others read what was there before.

    Parameters
    ----------
    kind
        ``q`` for whole numbers, ``d`` for others, among which None is kept as NaN.

    Attributes
    ----------
    values
        For single places; behind its last number there may be more room. A list where a whole
        number didn't fit into 64 bits.
    length
        How many numbers there are.
    """

    def __init__(self, kind: Literal["q", "d"]) -> None:
        self._kind = kind
        self.values: array[Any] | list[Any] = array(kind, bytes(8 * _FIRST))
        self._view: npt.NDArray[Any] | None = np.frombuffer(self.values, dtype=_DTYPES[kind])
        self.length = 0

    def extend(self, more: Sequence[Any]) -> None:
        """Add numbers."""
        end = self.length + len(more)
        if self._view is not None:
            try:
                numbers = np.array(more, dtype=self._view.dtype)
            except OverflowError:
                self._view, self.values = None, list(self.values[: self.length])
            else:
                self._room_for(end)
                self._view[self.length : end] = numbers
        if self._view is None:
            assert isinstance(self.values, list)  # noqa: S101 - made so above
            self.values[self.length :] = more
        self.length = end

    def put(self, place: int, number: int) -> None:
        """Make a number the last one; what a failed attempt left from its place on is gone."""
        self.length = place
        self.extend([number])

    def at(self, places: Places) -> npt.NDArray[Any]:
        """The numbers at many places; Python's own where they don't fit into 64 bits."""
        view, values = self._view, self.values  # another thread may be adding
        if view is not None:
            return view.take(places, mode="clip")
        return np.array([values[i] for i in places.tolist()], dtype=object)

    def part(self, start: int, end: int) -> npt.NDArray[Any]:
        """The numbers from a place to before another."""
        return np.asarray(self.values[start:end])

    def _room_for(self, length: int) -> None:
        assert self._view is not None  # noqa: S101 - the caller's case
        if length > len(self.values):
            # The old one may still be read, so that it isn't made longer itself.
            larger = array(self._kind, bytes(8 * max(length, len(self.values) * 3 // 2)))
            view = np.frombuffer(larger, dtype=self._view.dtype)
            view[: self.length] = self._view[: self.length]
            self.values, self._view = larger, view


_DTYPES = {"q": np.int64, "d": np.float64}
