"""What has happened to a column that is distributed otherwise, where it has a simple name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from mlops_cli.drift.binning import MISSING
from mlops_cli.drift.distances import kolmogorov_smirnov
from mlops_cli.drift.significance import effective_n

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from mlops_cli.drift.column_sketch import Sketch

    Floats = npt.NDArray[np.float64]

__all__ = ["CategorySwap", "ShiftOrScale", "find_shift_or_scale", "find_swap", "median_ratio"]

_LEVELS = np.linspace(0.05, 0.95, 19)
_FEWEST = 20
_ALIKE = 0.06
"""A column that was moved back has to be so near to the reference, by Kolmogorov-Smirnov."""
_EXACT = 0.025
"""The same for a change of scale: a drift only happens to look like one."""
_CLEAR = 1.5
"""Less than that, up or down, is no change of scale."""
_SAME_SCALE = (0.8, 1.25)
_EXPLAINED = 0.75
"""An exchange has to explain so much of the change of all shares."""


class ShiftOrScale(NamedTuple):
    """Values are ``factor`` times what they were, plus ``offset``; ``left`` is the rest, as KS."""

    kind: Literal["shift", "scale"]
    factor: float
    offset: float
    left: float


class CategorySwap(NamedTuple):
    """Two categories that have each other's share."""

    first: str
    second: str
    explained: float


def find_shift_or_scale(reference: Sketch, values: Floats, distance: float) -> ShiftOrScale | None:
    """The change of location and scale that explains a number's drift, if one does.

    Parameters
    ----------
    reference
        The sketch of the reference.
    values
        Some of the window's numbers.
    distance
        The Kolmogorov-Smirnov distance that there is to explain.
    """
    if len(values) < _FEWEST or not reference.coding.bins:
        return None
    before, after = _quantiles(reference), np.quantile(values, _LEVELS)
    if not _spread(before) > 0 or not _spread(after) > 0:
        return None
    noise = 1.7 / math.sqrt(len(values))
    alike, exact = (min(max(least, noise), distance / 3) for least in (_ALIKE, _EXACT))
    most = {"shift": alike, "scale": min(alike, exact)}
    changes = [
        ShiftOrScale(_kind(factor), factor, offset, _left(reference, values, factor, offset))
        for factor, offset in _candidates(before, after)
    ]
    changes = [change for change in changes if change.left <= most[change.kind]]
    return _simplest(changes) if changes else None


def _spread(quantiles: Floats) -> float:
    return float(quantiles[-2] - quantiles[1])


def _kind(factor: float) -> Literal["shift", "scale"]:
    return "shift" if _SAME_SCALE[0] <= factor <= _SAME_SCALE[1] else "scale"


def _candidates(before: Floats, after: Floats) -> Iterator[tuple[float, float]]:
    """Factors and offsets to try, from a plain shift on; what is hardly a scale is left out."""
    middle = len(_LEVELS) // 2
    factors = (_spread(after) / _spread(before), float(np.polyfit(before, after, 1)[0]))
    candidates = [(1.0, float(np.median(after - before)))]
    candidates += [(f, float(after[middle] - f * before[middle])) for f in factors]
    if before[middle]:
        candidates.append((float(after[middle] / before[middle]), 0.0))
    for factor, offset in candidates:
        clear = not 1 / _CLEAR < factor < _CLEAR
        if factor > 0 and (clear or _kind(factor) == "shift"):
            yield factor, offset


def _simplest(changes: Sequence[ShiftOrScale]) -> ShiftOrScale:
    """The nearest; but a plain shift or a plain factor, if it is about as near."""
    nearest = min(change.left for change in changes)
    near = [change for change in changes if change.left <= nearest + _ALIKE / 3]
    shifts = [change for change in near if change.factor == 1.0]
    plain = [change for change in near if change.offset == 0.0]
    return (shifts or plain or sorted(near, key=lambda change: change.left))[0]


def median_ratio(
    reference: Sketch, values: Floats, rows: tuple[float, float]
) -> tuple[float, float, float] | None:
    """How many times the reference's median the window's is, with its 95% interval.

    The interval is that of the median's rank, which varies by half the root of the rows. None: the
    two have no ratio, as one isn't above 0.
    """
    before = float(_quantiles(reference)[len(_LEVELS) // 2])
    half = 1.96 * 0.5 / math.sqrt(max(effective_n(*rows), 1.0))
    low, middle, high = np.quantile(values, np.clip([0.5 - half, 0.5, 0.5 + half], 0, 1))
    if not before > 0 or not low > 0:
        return None
    return float(middle / before), float(low / before), float(high / before)


def find_swap(reference: Sketch, window: Sketch, distance: float) -> CategorySwap | None:
    """The two categories whose exchange explains nearly all of a category's drift."""
    p, q = reference.shares, window.shares
    total = float(np.abs(p - q).sum())
    codes = [int(c) for c in np.flatnonzero((p + q)[: len(reference.coding.names)])]
    apart = sorted(codes, key=lambda c: -abs(p[c] - q[c]))[:6]
    best: CategorySwap | None = None
    for place, i in enumerate(apart):
        for j in apart[place + 1 :]:
            if p[i] <= 0 or p[j] <= 0:
                continue
            now = abs(p[i] - q[i]) + abs(p[j] - q[j])
            then = abs(p[i] - q[j]) + abs(p[j] - q[i])
            explained = (now - then) / total if total else 0.0
            if explained > max(_EXPLAINED, best.explained if best else 0.0):
                names = reference.coding.names
                best = CategorySwap(names[i], names[j], explained)
    return best if distance > 0 else None


def _quantiles(reference: Sketch) -> Floats:
    """The reference's numbers at the levels, from its bins."""
    coding = reference.coding
    shares = reference.shares[1 : coding.bins + 1]
    cumulated = np.cumsum(shares) / max(float(shares.sum()), 1e-300)
    breaks = np.array(coding.breaks)
    if coding.discrete:
        places = np.minimum(np.searchsorted(cumulated, _LEVELS), coding.bins - 1)
        found: Floats = breaks[places]
    else:
        found = np.interp(_LEVELS, np.concatenate(([0.0], cumulated)), breaks)
    return found


def _left(reference: Sketch, values: Floats, factor: float, offset: float) -> float:
    """The distance that is left when the values have been moved back."""
    coding = reference.coding
    back = (values - offset) / factor
    limits = np.array(coding.breaks[:-1])
    if coding.discrete and len(limits) > 1:
        # What was one of the values is one again, whatever rounding did.
        middles = (limits[1:] + limits[:-1]) / 2
        places = np.searchsorted(middles, back) + 1
    else:
        # Rounding must not push a value over the limit that it sits on.
        slack = 1e-9 * max(abs(coding.breaks[0]), abs(coding.breaks[-1]))
        places = np.searchsorted(limits, back + slack, side="right")
        places[back > coding.breaks[-1] + slack] = 253
    counts = np.bincount(places, minlength=MISSING)[:MISSING]
    return kolmogorov_smirnov(reference.counts[:MISSING], counts)
