"""Distances between two distributions, from their counts over the same cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.drift.binning import ABOVE, BELOW, MISSING, OTHER

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.drift.column_sketch import Sketch

__all__ = ["cells", "jensen_shannon", "kolmogorov_smirnov", "psi", "wasserstein"]

_GROUPS = 10


def psi(
    reference: npt.NDArray[np.int64], window: npt.NDArray[np.int64], chance: float = 0.0
) -> float:
    """Population stability index: the sum of ``(q - p) ln(q / p)`` over the cells.

    Half a row is added to each cell, so that an empty cell doesn't make the index infinite.

    Parameters
    ----------
    reference, window
        Rows by cell, over the same cells.
    chance
        Is subtracted, down to 0 (``significance.distance_by_chance``).
    """
    occupied = (reference + window) > 0
    p, q = (_smooth_shares(counts[occupied]) for counts in (reference, window))
    return max(float(np.sum((q - p) * np.log(q / p))) - chance, 0.0)


def jensen_shannon(
    reference: npt.NDArray[np.int64], window: npt.NDArray[np.int64], chance: float = 0.0
) -> float:
    """Jensen-Shannon distance, the root of the divergence in bits: 0 (equal) to 1 (disjoint).

    ``chance`` is subtracted before the root is taken, in the unit of ``psi``.
    """
    p, q = (counts / max(counts.sum(), 1) for counts in (reference, window))
    middle = (p + q) / 2

    def entropy_from(shares: npt.NDArray[np.float64]) -> float:
        positive = shares > 0
        return float(np.sum(shares[positive] * np.log2(shares[positive] / middle[positive])))

    divergence = (entropy_from(p) + entropy_from(q)) / 2 - chance / (8 * math.log(2))
    return math.sqrt(max(0.0, divergence))


def kolmogorov_smirnov(reference: npt.NDArray[np.int64], window: npt.NDArray[np.int64]) -> float:
    """Kolmogorov-Smirnov distance: the greatest difference of the cumulative shares.

    The cells are in order. Inside a cell the difference may be greater, by at most the cell's
    share.
    """
    p, q = (counts / max(counts.sum(), 1) for counts in (reference, window))
    return float(np.max(np.abs(np.cumsum(p - q)), initial=0.0))


def wasserstein(reference: Sketch, window: Sketch) -> float:
    """Wasserstein distance of numbers, in standard deviations of the reference.

    It is the mean distance by which values have to be moved: the area between the two distribution
    functions. These are known at the bins' limits, and interpolated linearly between them. Where
    each value has its own bin, the distance is exact.
    """
    deviation, breaks = reference.deviation, np.array(reference.binning.breaks)
    if not len(breaks) or not reference.present or not window.present or not deviation > 0:
        return float("nan")
    ours, theirs = reference.shares, window.shares
    bins = reference.binning.bins
    # The distribution functions before each break, and at the last bin's end.
    f, g = (np.concatenate(([s[0]], s[0] + np.cumsum(s[1 : bins + 1]))) for s in (ours, theirs))
    gap = np.abs(f - g)
    if reference.binning.discrete:
        area = float(np.sum(gap[1:] * np.diff(breaks)))
    else:
        area = float(np.sum((gap[:-1] + gap[1:]) / 2 * np.diff(breaks)))
    # Outside the reference's range: triangles to the window's least and greatest number.
    low = breaks[0] if window.low is None else min(window.low, breaks[0])
    high = breaks[-1] if window.high is None else max(window.high, breaks[-1])
    area += float(gap[0] * (breaks[0] - low) / 2 + (1 - g[-1]) * (high - breaks[-1]) / 2)
    return area / deviation


def cells(reference: Sketch, window: Sketch) -> list[tuple[str, int, int]]:
    """Label and rows of both in at most a dozen cells: tenths of the reference, or categories.

    PSI and the Jensen-Shannon distance of numbers are computed over these cells, and plots show
    them.
    """
    if reference.binning.kind == "number":
        return _decile_cells(reference, window)
    ours, theirs = reference.counts[:MISSING], window.counts[:MISSING]
    codes = np.argsort(-ours, kind="stable")
    codes = codes[(ours[codes] + theirs[codes]) > 0]
    named, others = codes[codes != OTHER], codes[codes == OTHER]
    shown, rest = named[:_GROUPS], np.append(named[_GROUPS:], others)
    entries = [(reference.binning.label(int(c)), int(ours[c]), int(theirs[c])) for c in shown]
    if len(rest):
        entries.append(("all others", int(ours[rest].sum()), int(theirs[rest].sum())))
    return entries


def _decile_cells(reference: Sketch, window: Sketch) -> list[tuple[str, int, int]]:
    binning = reference.binning
    ours, theirs = reference.counts, window.counts
    entries: list[tuple[str, int, int]] = []
    share = max(reference.present, 1) / _GROUPS
    first, total = 1, 0
    for code in range(1, binning.bins + 1):
        total += int(ours[code])
        if total < share * (len(entries) + 1) and code < binning.bins:
            continue
        span = slice(first, code + 1)
        entries.append(
            (binning.range_label(first, code), int(ours[span].sum()), int(theirs[span].sum()))
        )
        first = code + 1
    for code in (BELOW, ABOVE):
        if ours[code] + theirs[code]:
            entry = (binning.label(code), int(ours[code]), int(theirs[code]))
            entries.insert(0, entry) if code == BELOW else entries.append(entry)
    return entries


def _smooth_shares(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares
