"""How far two distributions are apart, by their counts over the same cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.drift.binning import OTHER

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.drift.column_sketch import Sketch

__all__ = ["cells", "jensen_shannon", "kolmogorov_smirnov", "psi", "wasserstein"]

_GROUPS = 10


def psi(
    reference: npt.NDArray[np.int64], window: npt.NDArray[np.int64], chance: float = 0.0
) -> float:
    """Population stability index: the sum of ``(q - p) ln(q / p)`` over the cells.

    Half a row is added to each cell, so that an empty one doesn't make it infinite.

    Parameters
    ----------
    reference, window
        Rows by cell, of the same cells.
    chance
        What is taken off, down to 0 (``significance.by_chance``).
    """
    seen = (reference + window) > 0
    p, q = (_smoothed(counts[seen]) for counts in (reference, window))
    return max(float(np.sum((q - p) * np.log(q / p))) - chance, 0.0)


def jensen_shannon(
    reference: npt.NDArray[np.int64], window: npt.NDArray[np.int64], chance: float = 0.0
) -> float:
    """Jensen-Shannon distance, the root of the divergence in bits: 0 (equal) to 1 (disjoint).

    ``chance`` is taken off before the root, as ``psi`` does.
    """
    p, q = (counts / max(counts.sum(), 1) for counts in (reference, window))
    middle = (p + q) / 2

    def entropy_from(shares: npt.NDArray[np.float64]) -> float:
        there = shares > 0
        return float(np.sum(shares[there] * np.log2(shares[there] / middle[there])))

    found = (entropy_from(p) + entropy_from(q)) / 2 - chance / (8 * math.log(2))
    return math.sqrt(max(0.0, found))


def kolmogorov_smirnov(reference: npt.NDArray[np.int64], window: npt.NDArray[np.int64]) -> float:
    """Greatest difference of the cumulated shares, over cells in order.

    Between the limits of the cells it may be greater, by no more than a cell's share.
    """
    p, q = (counts / max(counts.sum(), 1) for counts in (reference, window))
    return float(np.max(np.abs(np.cumsum(p - q)), initial=0.0))


def wasserstein(reference: Sketch, window: Sketch) -> float:
    """Mean distance that numbers have to be moved, in standard deviations of the reference.

    It is the area between the two distribution functions, known at the bins' limits and taken as
    straight between them; where each value has its own bin it is exact.
    """
    deviation, breaks = reference.deviation, np.array(reference.coding.breaks)
    if not len(breaks) or not reference.present or not window.present or not deviation > 0:
        return float("nan")
    ours, theirs = reference.shares, window.shares
    bins = reference.coding.bins
    # The distribution function before each break; of the last bin's end too.
    f, g = (np.concatenate(([s[0]], s[0] + np.cumsum(s[1 : bins + 1]))) for s in (ours, theirs))
    gap = np.abs(f - g)
    if reference.coding.discrete:
        area = float(np.sum(gap[1:] * np.diff(breaks)))
    else:
        area = float(np.sum((gap[:-1] + gap[1:]) / 2 * np.diff(breaks)))
    # Outside there is only the window: a triangle down to its least, up to its greatest number.
    low = breaks[0] if window.low is None else min(window.low, breaks[0])
    high = breaks[-1] if window.high is None else max(window.high, breaks[-1])
    area += float(gap[0] * (breaks[0] - low) / 2 + (1 - g[-1]) * (high - breaks[-1]) / 2)
    return area / deviation


def cells(reference: Sketch, window: Sketch) -> list[tuple[str, int, int]]:
    """Label and rows of both in at most a dozen cells: tenths of the reference, or categories.

    They are what the index is taken over, and what a plot shows.
    """
    if reference.coding.kind == "number":
        return _tenths(reference, window)
    ours, theirs = reference.counts[:255], window.counts[:255]
    codes = np.argsort(-ours, kind="stable")
    codes = codes[(ours[codes] + theirs[codes]) > 0]
    named, others = codes[codes != OTHER], codes[codes == OTHER]
    shown, rest = named[:_GROUPS], np.append(named[_GROUPS:], others)
    found = [(reference.coding.label(int(c)), int(ours[c]), int(theirs[c])) for c in shown]
    if len(rest):
        found.append(("all others", int(ours[rest].sum()), int(theirs[rest].sum())))
    return found


def _tenths(reference: Sketch, window: Sketch) -> list[tuple[str, int, int]]:
    coding = reference.coding
    ours, theirs = reference.counts, window.counts
    found: list[tuple[str, int, int]] = []
    share = max(reference.present, 1) / _GROUPS
    first, total = 1, 0
    for code in range(1, coding.bins + 1):
        total += int(ours[code])
        if total < share * (len(found) + 1) and code < coding.bins:
            continue
        span = slice(first, code + 1)
        found.append((coding.span(first, code), int(ours[span].sum()), int(theirs[span].sum())))
        first = code + 1
    for code in (0, 253):
        if ours[code] + theirs[code]:
            entry = (coding.label(code), int(ours[code]), int(theirs[code]))
            found.insert(0, entry) if code == 0 else found.append(entry)
    return found


def _smoothed(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    smoothed: npt.NDArray[np.float64] = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return smoothed
