"""Event times of all keys in one growing array, with binary search by key and time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from mlops_cli.online.growable_array import GrowableArray, Positions

__all__ = ["EventIndex"]

_END = 2**63 - 1


class EventIndex:
    """Event times of many keys: one sorted range of the array for each key.

    A range is identified by the position of its first time and by its end, the position after its
    last time. The array has a sentinel at each end. The range from 0 to 0 is empty.
    """

    def __init__(self) -> None:
        self._times = GrowableArray("q")
        self.add([])

    def add(self, times: Sequence[int]) -> tuple[int, int]:
        """Add a sorted range of times; return its first position and its end."""
        start = self._times.length
        self._times.extend([*times, _END])
        return start, start + len(times)

    def time_at(self, position: int) -> int:
        """Return the time at a position."""
        return int(self._times.values[position])

    def times_at(self, positions: Positions) -> Positions:
        """Return the times at many positions."""
        return self._times.gather(positions)

    def ends_before(
        self, firsts: Sequence[int], ends: Sequence[int], moments: Sequence[int | None]
    ) -> list[int]:
        """End of the times before each moment, in one range each; no time is before None."""
        times = self._times.values
        return [
            first if moment is None else bisect_left(times, moment, first, end)
            for first, end, moment in zip(firsts, ends, moments, strict=True)
        ]

    def ends_before_many(self, firsts: Positions, ends: Positions, moments: Positions) -> Positions:
        """Like ``ends_before``, for many ranges at once; all arrays are (searches, rows).

        The binary searches of all ranges advance together. Searches are sorted by their longest
        range, so that those with short ranges take part in the last steps only.
        """
        sizes = (ends - firsts).max(axis=1, initial=0)
        longest = np.argsort(-sizes, kind="stable")
        positions, ends, moments = firsts[longest], ends[longest], moments[longest]
        sizes = sizes[longest]
        step = 1 << int(sizes.max(initial=0)).bit_length()
        while step := step >> 1:
            # Searches in short ranges need fewer steps.
            active = int(np.count_nonzero(sizes >= step))
            current = positions[:active]
            probe = current + (step - 1)
            is_before = self._times.gather(probe) < moments[:active]
            is_before &= probe < ends[:active]
            current += step * is_before
        result = np.empty_like(positions)
        result[longest] = positions
        return result
