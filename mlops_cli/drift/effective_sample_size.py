"""How far rows that follow each other hang together, and how many independent ones they are worth.

A day of hourly weather, logged with each of a thousand requests, is no thousand observations of the
weather. A test that takes them as such finds drift in every window. Kish's design effect (1965)
says by what factor the variance of a mean over ``n`` consecutive rows exceeds that of ``n``
independent ones; n divided by it is the effective number of rows. It is measured on the reference
rows in their order, for blocks of several lengths, and so holds seasons and trends as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.drift.binning import MISSING

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["DesignEffect", "cluster_design_effect"]

_SHORTEST = 16
_FEWEST = 12
"""Blocks; of fewer the variance says little."""
_BLOCKS_AT_ONCE = 4096
_TREND = 0.9
"""Of a block's variance; a season with any noise has less."""


@dataclass(frozen=True)
class DesignEffect:
    """The design effects of one column.

    Parameters
    ----------
    blocks
        Lengths of blocks of consecutive rows, rising.
    values
        Design effect of the values by length of block.
    gaps
        The same of whether a value is missing.
    run
        Most consecutive rows with one value (of those that have one).
    """

    blocks: tuple[int, ...] = ()
    values: tuple[float, ...] = ()
    gaps: tuple[float, ...] = ()
    run: int = 0

    @classmethod
    def of(cls, codes: npt.NDArray[np.uint8], *, ordered: bool) -> DesignEffect:
        """Measure it on the codes of reference rows in their order.

        Parameters
        ----------
        codes
            One column's, (rows,).
        ordered
            Whether the codes are a number's bins, or else names.
        """
        missing = codes == MISSING
        present = codes[~missing]
        blocks = tuple(_lengths(len(codes)))
        values = _effects(codes, blocks, ordered=ordered)
        gaps = _effects(missing.astype(np.uint8), blocks, ordered=False)
        return cls(blocks, values, gaps, _run(present))

    def effective(self, rows: int, *, gaps: bool = False) -> float:
        """How many independent rows so many consecutive ones are worth, 1 to ``rows``."""
        if not self.blocks or rows <= 1:
            return float(rows)
        effects = (1.0, *(self.gaps if gaps else self.values))
        if not gaps and self.trend and rows > self.blocks[-1]:
            return 1.0
        # Between lengths by their logarithm; beyond the longest the effect stays.
        effect = np.interp(np.log(rows), np.log((1, *self.blocks)), effects)
        return max(rows / max(float(effect), 1.0), 1.0)

    @property
    def trend(self) -> bool:
        """Whether rows of the longest blocks are as good as one: a month, a year, a counter."""
        return bool(self.blocks) and self.values[-1] >= _TREND * self.blocks[-1]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "blocks": list(self.blocks),
            "values": list(self.values),
            "gaps": list(self.gaps),
            "run": self.run,
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> DesignEffect:
        """From what ``to_json`` gave."""
        return cls(tuple(tree["blocks"]), tuple(tree["values"]), tuple(tree["gaps"]), tree["run"])


def cluster_design_effect(codes: npt.NDArray[np.uint8], rows: int, *, ordered: bool) -> float:
    """The design effect of a window of its own, from an ordered sample of its rows; 1 if unclear.

    Between blocks of independent rows, means vary by chance: the ratio of variances is then a
    chi-squared one over its degrees of freedom, and no more than 1 is taken as shown unless it
    exceeds what one in a thousand does.
    """
    from scipy.special import chdtri

    size = len(codes) // _OWN_BLOCKS
    if size < 2:  # noqa: PLR2004
        return 1.0
    (ratio,) = _effects(codes, [size], ordered=ordered)
    if ratio <= float(chdtri(_OWN_BLOCKS - 1, 0.001)) / (_OWN_BLOCKS - 1):
        return 1.0
    within = (ratio - 1) / (size - 1)
    return max(1.0, 1 + (rows / _OWN_BLOCKS - 1) * within)


_OWN_BLOCKS = 20


def _lengths(rows: int) -> list[int]:
    found, size = [], _SHORTEST
    while size * _FEWEST <= rows:
        found.append(size)
        size *= 4
    return found


def _effects(
    codes: npt.NDArray[np.uint8], sizes: Sequence[int], *, ordered: bool
) -> tuple[float, ...]:
    """Variance of the means of blocks, over what it were with independent rows, by their size."""
    counts = np.bincount(codes, minlength=256)[:MISSING]
    if np.count_nonzero(counts) < 2:  # noqa: PLR2004 - what is the same throughout can't vary
        return (1.0,) * len(sizes)
    if not ordered:
        return tuple(_of_names(codes, counts, size) for size in sizes)
    ranks = np.cumsum(counts) - counts / 2
    values = np.append(ranks, ranks @ counts / counts.sum())[codes] / counts.sum()
    return tuple(_of_numbers(values, size) for size in sizes)


def _of_numbers(values: npt.NDArray[np.float64], size: int) -> float:
    """Of ranks; where there is no value they are the mean, so that gaps aren't taken for values."""
    blocks = len(values) // size
    means = values[: blocks * size].reshape(blocks, size).mean(axis=1)
    return round(size * float(means.var(ddof=1)) / float(values.var()), 4)


def _of_names(codes: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64], size: int) -> float:
    """Of all names, each as yes or no: by their variance, or with the same weight for each.

    The first is of what frequent names do, the second of what rare ones do, and is by how much a
    chi-squared statistic of them is too large (Rao and Scott 1981). The greater counts. To look at
    the most frequent names alone would be to look at those with the longest bursts.
    """
    blocks = len(codes) // size
    shares = counts / counts.sum()
    there = shares > 0
    sums, squares = np.zeros(int(there.sum())), np.zeros(int(there.sum()))
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        few = min(_BLOCKS_AT_ONCE, blocks - first)
        part = codes[first * size : (first + few) * size].astype(np.intp)
        part += 256 * np.repeat(np.arange(few), size)
        table = np.bincount(part, minlength=256 * few).reshape(few, 256).astype(np.float64)
        held = table[:, :MISSING][:, there] + table[:, MISSING:] * shares[there]
        sums += held.sum(axis=0)
        squares += (held * held).sum(axis=0)
    between = (squares - sums * sums / blocks) / (blocks - 1) / size
    p = shares[there]
    filled = counts.sum() / len(codes)
    weighted = between.sum() / (filled * float(np.sum(p * (1 - p))))
    alike = float(np.sum(between / p)) / (filled * (len(p) - 1))
    return round(float(max(weighted, alike)), 4)


def _run(present: npt.NDArray[np.uint8]) -> int:
    """The longest run of equal codes."""
    if not len(present):
        return 0
    changes = np.flatnonzero(np.diff(present)) + 1
    return int(np.diff(np.concatenate(([0], changes, [len(present)]))).max())
