"""Moments of many keys in one growing column, and how many of a key's lie before another moment."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from mlops_cli.online.growable_array import GrowableArray, Places

__all__ = ["EventIndex"]

_END = 2**63 - 1


class EventIndex:
    """Stretches of moments, each in order of time, one after the other.

    A stretch is told by its first place and by the one after its last, where the column has a place
    more. The one from 0 to 0 has no moments.
    """

    def __init__(self) -> None:
        self._times = GrowableArray("q")
        self.add([])

    def add(self, times: Sequence[int]) -> tuple[int, int]:
        """A new stretch: its first place and its end."""
        start = self._times.length
        self._times.extend([*times, _END])
        return start, start + len(times)

    def time(self, place: int) -> int:
        """The moment at a place."""
        return int(self._times.values[place])

    def times(self, places: Places) -> Places:
        """The moments at many places."""
        return self._times.at(places)

    def before(
        self, firsts: Sequence[int], ends: Sequence[int], moments: Sequence[int | None]
    ) -> list[int]:
        """The end of each stretch's moments before another; none are before None."""
        times = self._times.values
        return [
            first if moment is None else bisect_left(times, moment, first, end)
            for first, end, moment in zip(firsts, ends, moments, strict=True)
        ]

    def all_before(self, firsts: Places, ends: Places, moments: Places) -> Places:
        """The same for many at once by binary searches, (stretches,) for each of (searches, rows).

        All have as many rows; a search's rows have stretches of much the same length.
        """
        sizes = (ends - firsts).max(axis=1, initial=0)
        longest = np.argsort(-sizes, kind="stable")
        found, ends, moments = firsts[longest], ends[longest], moments[longest]
        sizes = sizes[longest]
        step = 1 << int(sizes.max(initial=0)).bit_length()
        while step := step >> 1:
            # Short stretches need fewer steps.
            some = int(np.count_nonzero(sizes >= step))
            here = found[:some]
            further = here + (step - 1)
            is_before = self._times.at(further) < moments[:some]
            is_before &= further < ends[:some]
            here += step * is_before
        given = np.empty_like(found)
        given[longest] = found
        return given
