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

from mlops_cli.core.coding import MISSING

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Dependence", "clustered"]

_SHORTEST = 16
_FEWEST = 12
"""Blocks; of fewer the variance says little."""
_CLASSES = 4
"""A category's most frequent values are looked at, each as yes or no."""


@dataclass(frozen=True)
class Dependence:
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
    def of(cls, codes: npt.NDArray[np.uint8], *, ordered: bool) -> Dependence:
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
        values = _effects(_scores(present, codes, ordered=ordered), blocks)
        gaps = _effects([missing.astype(np.float64)] if missing.any() else [], blocks)
        return cls(blocks, values, gaps, _run(present))

    def effective(self, rows: int, *, gaps: bool = False) -> float:
        """How many independent rows so many consecutive ones are worth, 1 to ``rows``."""
        if not self.blocks or rows <= 1:
            return float(rows)
        effects = (1.0, *(self.gaps if gaps else self.values))
        # Between lengths by their logarithm; beyond the longest the effect stays.
        effect = np.interp(np.log(rows), np.log((1, *self.blocks)), effects)
        return max(rows / max(float(effect), 1.0), 1.0)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "blocks": list(self.blocks),
            "values": list(self.values),
            "gaps": list(self.gaps),
            "run": self.run,
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Dependence:
        """From what ``to_json`` gave."""
        return cls(tuple(tree["blocks"]), tuple(tree["values"]), tuple(tree["gaps"]), tree["run"])


def clustered(codes: npt.NDArray[np.uint8], rows: int, *, ordered: bool) -> float:
    """The design effect of a window of its own, from an ordered sample of its rows; 1 if unclear.

    Between blocks of independent rows, means vary by chance: the ratio of variances is then a
    chi-squared one over its degrees of freedom, and no more than 1 is taken as shown unless it
    exceeds what one in a thousand does.
    """
    from scipy.special import chdtri

    size = len(codes) // _OWN_BLOCKS
    if size < 2:  # noqa: PLR2004
        return 1.0
    present = codes[codes != MISSING]
    (ratio,) = _effects(_scores(present, codes, ordered=ordered), [size])
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


def _scores(
    present: npt.NDArray[np.uint8], codes: npt.NDArray[np.uint8], *, ordered: bool
) -> list[npt.NDArray[np.float64]]:
    """Rows as numbers whose means are compared: ranks, or yes and no of frequent categories.

    Where there is no value they have the mean, so that gaps aren't taken for values.
    """
    if not len(present):
        return []
    counts = np.bincount(present, minlength=256)
    shares = counts / len(present)
    if ordered:
        middle = np.cumsum(shares) - shares / 2
        middle[MISSING] = float(shares @ middle)
        return [middle[codes]]
    frequent = np.argsort(-counts, kind="stable")[:_CLASSES]
    tables = []
    for code in frequent[counts[frequent] > 0]:
        table = np.zeros(256)
        table[code] = 1.0
        table[MISSING] = shares[code]
        tables.append(table[codes])
    return tables


def _effects(parts: list[npt.NDArray[np.float64]], sizes: Sequence[int]) -> tuple[float, ...]:
    """Variance of the means of blocks, over what it were with independent rows, by their size."""
    within = sum(float(values.var()) for values in parts)
    if not within > 0:
        return (1.0,) * len(sizes)
    found = []
    for size in sizes:
        between = 0.0
        for values in parts:
            blocks = len(values) // size
            means = values[: blocks * size].reshape(blocks, size).mean(axis=1)
            between += size * float(means.var(ddof=1))
        found.append(round(between / within, 4))
    return tuple(found)


def _run(present: npt.NDArray[np.uint8]) -> int:
    """The longest run of equal codes."""
    if not len(present):
        return 0
    changes = np.flatnonzero(np.diff(present)) + 1
    return int(np.diff(np.concatenate(([0], changes, [len(present)]))).max())
