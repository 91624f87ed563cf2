"""Types of drift in one column: shift, change of scale, or swap of two categories."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mlops_cli.drift.binning import ABOVE, MISSING
from mlops_cli.drift.distances import kolmogorov_smirnov
from mlops_cli.drift.significance import effective_n

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from mlops_cli.drift.column_sketch import Sketch

    Floats = npt.NDArray[np.float64]

__all__ = ["CategorySwap", "ShiftOrScale", "find_shift_or_scale", "find_swap", "median_ratio"]

_LEVELS = np.linspace(0.05, 0.95, 19)
_MIN_VALUES = 20
_MAX_SHIFT_LEFT = 0.06
"""Maximum Kolmogorov-Smirnov distance that may remain after a shift is undone."""
_MAX_SCALE_LEFT = 0.025
"""The same for a change of scale, which other drift may resemble by chance."""
_MIN_FACTOR = 1.5
"""Minimum factor, up or down, of a change of scale."""
_SAME_SCALE = (0.8, 1.25)
_MIN_EXPLAINED = 0.75
"""Minimum part of the change in all shares that a swap has to explain."""


class ShiftOrScale(NamedTuple):
    """Values are ``factor`` times the old ones, plus ``offset``.

    ``remaining_distance`` is the Kolmogorov-Smirnov distance after the change is undone.
    """

    kind: Literal["shift", "scale"]
    factor: float
    offset: float
    remaining_distance: float


class CategorySwap(NamedTuple):
    """Two categories that have exchanged their shares."""

    first: str
    second: str
    explained_share: float


def find_shift_or_scale(reference: Sketch, values: Floats, distance: float) -> ShiftOrScale | None:
    """Find the change of location and scale that explains a number's drift; None if none does.

    Parameters
    ----------
    reference
        The sketch of the reference.
    values
        A sample of the window's numbers.
    distance
        The Kolmogorov-Smirnov distance to explain.
    """
    if len(values) < _MIN_VALUES or not reference.binning.bins:
        return None
    before, after = _quantiles(reference), np.quantile(values, _LEVELS)
    if not _spread(before) > 0 or not _spread(after) > 0:
        return None
    noise = 1.7 / math.sqrt(len(values))
    shift_limit, scale_limit = (
        min(max(least, noise), distance / 3) for least in (_MAX_SHIFT_LEFT, _MAX_SCALE_LEFT)
    )
    limits = {"shift": shift_limit, "scale": min(shift_limit, scale_limit)}
    changes = [
        ShiftOrScale(
            _kind(factor), factor, offset, _remaining_distance(reference, values, factor, offset)
        )
        for factor, offset in _candidate_changes(before, after)
    ]
    changes = [change for change in changes if change.remaining_distance <= limits[change.kind]]
    return _choose_simplest(changes) if changes else None


def _spread(quantiles: Floats) -> float:
    return float(quantiles[-2] - quantiles[1])


def _kind(factor: float) -> Literal["shift", "scale"]:
    return "shift" if _SAME_SCALE[0] <= factor <= _SAME_SCALE[1] else "scale"


def _candidate_changes(before: Floats, after: Floats) -> Iterator[tuple[float, float]]:
    """Factors and offsets to try, a plain shift first, without unclear changes of scale."""
    middle = len(_LEVELS) // 2
    factors = (_spread(after) / _spread(before), float(np.polyfit(before, after, 1)[0]))
    changes = [(1.0, float(np.median(after - before)))]
    changes += [(f, float(after[middle] - f * before[middle])) for f in factors]
    if before[middle]:
        changes.append((float(after[middle] / before[middle]), 0.0))
    for factor, offset in changes:
        clear = not 1 / _MIN_FACTOR < factor < _MIN_FACTOR
        if factor > 0 and (clear or _kind(factor) == "shift"):
            yield factor, offset


def _choose_simplest(changes: Sequence[ShiftOrScale]) -> ShiftOrScale:
    """Choose the closest change; a plain shift or a plain factor wins if it is about as close."""
    closest = min(change.remaining_distance for change in changes)
    close = [
        change for change in changes if change.remaining_distance <= closest + _MAX_SHIFT_LEFT / 3
    ]
    shifts = [change for change in close if change.factor == 1.0]
    plain = [change for change in close if change.offset == 0.0]
    return (shifts or plain or sorted(close, key=lambda change: change.remaining_distance))[0]


def median_ratio(
    reference: Sketch, values: Floats, rows: tuple[float, float]
) -> tuple[float, float, float] | None:
    """Ratio of the window's median to the reference's, with its 95% interval.

    The interval is that of the median's rank, whose standard deviation is half the square root of
    the number of rows. None: the reference's median or the interval's low end isn't above 0, so
    there is no ratio.
    """
    before = float(_quantiles(reference)[len(_LEVELS) // 2])
    half = 1.96 * 0.5 / math.sqrt(max(effective_n(*rows), 1.0))
    low, middle, high = np.quantile(values, np.clip([0.5 - half, 0.5, 0.5 + half], 0, 1))
    if not before > 0 or not low > 0:
        return None
    return float(middle / before), float(low / before), float(high / before)


def find_swap(reference: Sketch, window: Sketch, distance: float) -> CategorySwap | None:
    """Find the two categories whose swap explains most of a column's drift; None if none do."""
    p, q = reference.shares, window.shares
    total = float(np.abs(p - q).sum())
    codes = [int(c) for c in np.flatnonzero((p + q)[: len(reference.binning.names)])]
    most_changed = sorted(codes, key=lambda c: -abs(p[c] - q[c]))[:6]
    best: CategorySwap | None = None
    for position, i in enumerate(most_changed):
        for j in most_changed[position + 1 :]:
            if p[i] <= 0 or p[j] <= 0:
                continue
            change = abs(p[i] - q[i]) + abs(p[j] - q[j])
            swapped_change = abs(p[i] - q[j]) + abs(p[j] - q[i])
            explained = (change - swapped_change) / total if total else 0.0
            if explained > max(_MIN_EXPLAINED, best.explained_share if best else 0.0):
                names = reference.binning.names
                best = CategorySwap(names[i], names[j], explained)
    return best if distance > 0 else None


def _quantiles(reference: Sketch) -> Floats:
    """The reference's quantiles at ``_LEVELS``, from its bins."""
    binning = reference.binning
    shares = reference.shares[1 : binning.bins + 1]
    cumulative = np.cumsum(shares) / max(float(shares.sum()), 1e-300)
    breaks = np.array(binning.breaks)
    if binning.discrete:
        bins = np.minimum(np.searchsorted(cumulative, _LEVELS), binning.bins - 1)
        quantiles: Floats = breaks[bins]
    else:
        quantiles = np.interp(_LEVELS, np.concatenate(([0.0], cumulative)), breaks)
    return quantiles


def _remaining_distance(reference: Sketch, values: Floats, factor: float, offset: float) -> float:
    """Kolmogorov-Smirnov distance that remains after the change is undone."""
    binning = reference.binning
    original = (values - offset) / factor
    limits = np.array(binning.breaks[:-1])
    if binning.discrete and len(limits) > 1:
        # Assign each number to the closest value of the reference, so that rounding has no effect.
        midpoints = (limits[1:] + limits[:-1]) / 2
        codes = np.searchsorted(midpoints, original) + 1
    else:
        # Rounding must not push a value across the limit that it is equal to.
        slack = 1e-9 * max(abs(binning.breaks[0]), abs(binning.breaks[-1]))
        codes = np.searchsorted(limits, original + slack, side="right")
        codes[original > binning.breaks[-1] + slack] = ABOVE
    counts = np.bincount(codes, minlength=MISSING)[:MISSING]
    return kolmogorov_smirnov(reference.counts[:MISSING], counts)
