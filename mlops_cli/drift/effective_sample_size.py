"""Effective sample size of autocorrelated rows, by Kish's design effect.

A day of hourly weather, logged with each of a thousand requests, isn't a thousand observations of
the weather. A test that assumes independence finds drift in every window. Kish's design effect
(1965) is the factor by which the variance of a mean over ``n`` consecutive rows exceeds that of
``n`` independent rows. ``n`` divided by it is the effective number of rows. It is measured on the
reference rows in their order, for blocks of several lengths. So it covers seasons and trends as
well.
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

_MIN_LENGTH = 16
"""Rows of the shortest block."""
_MIN_BLOCKS = 12
"""Minimum number of blocks; the variance of fewer is too uncertain."""
_BLOCKS_AT_ONCE = 4096
_TREND = 0.9
"""Minimum design effect of a trend, as a share of the block's length; noisy seasons have less."""


@dataclass(frozen=True)
class DesignEffect:
    """The design effects of one column.

    Parameters
    ----------
    block_lengths
        Lengths of blocks of consecutive rows, rising.
    value_effects
        Design effect of the values, by length of block.
    missing_effects
        Design effect of whether a value is missing, by length of block.
    longest_run
        Longest run of one value, among the rows that have a value.
    """

    block_lengths: tuple[int, ...] = ()
    value_effects: tuple[float, ...] = ()
    missing_effects: tuple[float, ...] = ()
    longest_run: int = 0

    @classmethod
    def measure(cls, codes: npt.NDArray[np.uint8], *, ordered: bool) -> DesignEffect:
        """Measure the design effects on the codes of reference rows in their order.

        Parameters
        ----------
        codes
            One column's codes, (rows,).
        ordered
            Whether the codes are a number's bins; otherwise they are names.
        """
        missing = codes == MISSING
        present = codes[~missing]
        blocks = tuple(_block_lengths(len(codes)))
        values = _design_effects(codes, blocks, ordered=ordered)
        gaps = _design_effects(missing.astype(np.uint8), blocks, ordered=False)
        return cls(blocks, values, gaps, _longest_run(present))

    def effective_rows(self, rows: int, *, for_missing: bool = False) -> float:
        """Effective number of ``rows`` consecutive rows, 1 to ``rows``."""
        if not self.block_lengths or rows <= 1:
            return float(rows)
        effects = (1.0, *(self.missing_effects if for_missing else self.value_effects))
        if not for_missing and self.has_trend and rows > self.block_lengths[-1]:
            return 1.0
        # Interpolated over the logarithm of the length; constant beyond the longest block.
        effect = np.interp(np.log(rows), np.log((1, *self.block_lengths)), effects)
        return max(rows / max(float(effect), 1.0), 1.0)

    @property
    def has_trend(self) -> bool:
        """Whether each of the longest blocks is worth about one row: a month, a year, a counter."""
        return (
            bool(self.block_lengths) and self.value_effects[-1] >= _TREND * self.block_lengths[-1]
        )

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        return {
            "blocks": list(self.block_lengths),
            "values": list(self.value_effects),
            "gaps": list(self.missing_effects),
            "run": self.longest_run,
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> DesignEffect:
        """Restore from the result of ``to_json``."""
        return cls(tuple(tree["blocks"]), tuple(tree["values"]), tuple(tree["gaps"]), tree["run"])


def cluster_design_effect(codes: npt.NDArray[np.uint8], rows: int, *, ordered: bool) -> float:
    """A window's own design effect, measured on an ordered sample of its rows; 1 if unclear.

    The means of blocks of independent rows vary by chance. The ratio of variances is then
    chi-squared over its degrees of freedom. A ratio counts only if it exceeds that distribution's
    99.9% quantile; otherwise the effect is 1.
    """
    from scipy.special import chdtri

    size = len(codes) // _OWN_BLOCKS
    if size < 2:  # noqa: PLR2004
        return 1.0
    (ratio,) = _design_effects(codes, [size], ordered=ordered)
    if ratio <= float(chdtri(_OWN_BLOCKS - 1, 0.001)) / (_OWN_BLOCKS - 1):
        return 1.0
    within = (ratio - 1) / (size - 1)
    return max(1.0, 1 + (rows / _OWN_BLOCKS - 1) * within)


_OWN_BLOCKS = 20
"""Blocks of a window's sample."""


def _block_lengths(rows: int) -> list[int]:
    lengths, size = [], _MIN_LENGTH
    while size * _MIN_BLOCKS <= rows:
        lengths.append(size)
        size *= 4
    return lengths


def _design_effects(
    codes: npt.NDArray[np.uint8], sizes: Sequence[int], *, ordered: bool
) -> tuple[float, ...]:
    """Design effect by size of block: variance of block means, relative to independent rows."""
    counts = np.bincount(codes, minlength=256)[:MISSING]
    if np.count_nonzero(counts) < 2:  # noqa: PLR2004 - a constant can't vary
        return (1.0,) * len(sizes)
    if not ordered:
        return tuple(_names_effect(codes, counts, size) for size in sizes)
    ranks = np.cumsum(counts) - counts / 2
    values = np.append(ranks, ranks @ counts / counts.sum())[codes] / counts.sum()
    return tuple(_numbers_effect(values, size) for size in sizes)


def _numbers_effect(values: npt.NDArray[np.float64], size: int) -> float:
    """Design effect of ranks; missing ones are the mean, so that gaps don't count as values."""
    blocks = len(values) // size
    means = values[: blocks * size].reshape(blocks, size).mean(axis=1)
    return round(size * float(means.var(ddof=1)) / float(values.var()), 4)


def _names_effect(codes: npt.NDArray[np.uint8], counts: npt.NDArray[np.int64], size: int) -> float:
    """Design effect of names, each as yes or no: weighted by variance, or equally.

    The first weighting reflects frequent names. The second reflects rare names: it is the factor by
    which a chi-squared statistic over the names is too large (Rao and Scott 1981). The greater one
    counts. The most frequent names alone would be a selection of those with the longest bursts.
    """
    blocks = len(codes) // size
    shares = counts / counts.sum()
    occurring = shares > 0
    sums, squares = np.zeros(int(occurring.sum())), np.zeros(int(occurring.sum()))
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        batch = min(_BLOCKS_AT_ONCE, blocks - first)
        part = codes[first * size : (first + batch) * size].astype(np.intp)
        part += 256 * np.repeat(np.arange(batch), size)
        table = np.bincount(part, minlength=256 * batch).reshape(batch, 256).astype(np.float64)
        block_counts = table[:, :MISSING][:, occurring] + table[:, MISSING:] * shares[occurring]
        sums += block_counts.sum(axis=0)
        squares += (block_counts * block_counts).sum(axis=0)
    between = (squares - sums * sums / blocks) / (blocks - 1) / size
    p = shares[occurring]
    present_share = counts.sum() / len(codes)
    by_variance = between.sum() / (present_share * float(np.sum(p * (1 - p))))
    unweighted = float(np.sum(between / p)) / (present_share * (len(p) - 1))
    return round(float(max(by_variance, unweighted)), 4)


def _longest_run(present: npt.NDArray[np.uint8]) -> int:
    """The longest run of equal codes."""
    if not len(present):
        return 0
    changes = np.flatnonzero(np.diff(present)) + 1
    return int(np.diff(np.concatenate(([0], changes, [len(present)]))).max())
