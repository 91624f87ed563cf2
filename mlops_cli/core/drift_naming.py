"""What has happened to a column that is distributed otherwise, where it has a simple name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlops_cli.core.coding import MISSING
from mlops_cli.core.distances import kolmogorov_smirnov
from mlops_cli.core.significance import joined, ks_p_value

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.core.sketches import Sketch

    Floats = npt.NDArray[np.float64]

__all__ = ["Moved", "Swapped", "median_ratio", "moved", "swapped"]

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
_NARROW = 0.01
"""A conversion is thought of only where the factor is known to a hundredth."""
_ALIKE_P = 0.05
"""And where the rest may be chance, by this p-value."""
_CONVERSIONS = (
    (1.8, 32.0, "is it in degrees Fahrenheit now, and was in Celsius?"),
    (1 / 1.8, -32 / 1.8, "is it in degrees Celsius now, and was in Fahrenheit?"),
    *(
        entry
        for factor, small, large in (
            (1.609344, "kilometres", "miles"),
            (2.2046226, "pounds", "kilograms"),
            (100.0, "per cent, or hundredths of the unit", "shares, or the unit"),
        )
        for entry in (
            (factor, 0.0, f"is it in {small} now, and was in {large}?"),
            (1 / factor, 0.0, f"is it in {large} now, and was in {small}?"),
        )
    ),
    *(
        (10.0**power, 0.0, f"has its decimal point moved by {abs(power)}?")
        for power in (-9, -6, -3, -1, 1, 3, 6, 9)
    ),
)


class Moved(NamedTuple):
    """Values are ``factor`` times what they were, plus ``offset``; ``left`` is the rest, as KS.

    The kind is shift, scale, or unit, of which a ``question`` says which conversion fits.
    """

    kind: str
    factor: float
    offset: float
    left: float
    question: str = ""


class Swapped(NamedTuple):
    """Two categories that have each other's share."""

    first: str
    second: str
    explained: float


def moved(
    reference: Sketch, window: Sketch, values: Floats, distance: float, rows: tuple[float, float]
) -> Moved | None:
    """The change of scale and place that explains a number's drift, if one does.

    Parameters
    ----------
    reference, window
        The sketches of both sides.
    values
        Some of the window's numbers.
    distance
        The Kolmogorov-Smirnov distance that there is to explain.
    rows
        Effective rows of the reference and of the window.
    """
    if len(values) < _FEWEST or not reference.coding.bins:
        return None
    before, after = _quantiles(reference), np.quantile(values, _LEVELS)
    spread = float(before[-2] - before[1])
    if not spread > 0 or not float(after[-2] - after[1]) > 0:
        return None
    if (conversion := _conversion(reference, window, values, rows)) is not None:
        return conversion
    slope = float(np.polyfit(before, after, 1)[0])
    factor = float(after[-2] - after[1]) / spread
    middle = len(_LEVELS) // 2
    free = [(f, float(after[middle] - f * before[middle])) for f in (factor, slope)]
    if before[middle]:
        free.append((float(after[middle] / before[middle]), 0.0))
    free += [(f, offset) for f, offset, _ in _CONVERSIONS]
    noise = 1.7 / math.sqrt(len(values))
    enough, exact = (min(max(least, noise), distance / 3) for least in (_ALIKE, _EXACT))
    found: list[Moved] = []
    for f, offset in ((1.0, float(np.median(after - before))), *free):
        if not f > 0:
            continue
        same = _SAME_SCALE[0] <= f <= _SAME_SCALE[1]
        if not same and 1 / _CLEAR < f < _CLEAR:
            continue
        left = _left(reference, values, f, offset)
        if left <= (enough if same else min(enough, exact)):
            found.append(Moved("shift" if same else "scale", f, offset, left))
    if not found:
        return None
    # The nearest; but a plain shift or a plain factor, if it is about as near.
    nearest = min(m.left for m in found)
    near = [m for m in found if m.left <= nearest + _ALIKE / 3]
    shifts = [m for m in near if m.kind == "shift" and m.factor == 1.0]
    plain = [m for m in near if m.offset == 0.0]
    return (shifts or plain or sorted(near, key=lambda m: m.left))[0]


def median_ratio(
    reference: Sketch, values: Floats, rows: tuple[float, float]
) -> tuple[float, float, float] | None:
    """How many times the reference's median the window's is, with its 95% interval.

    The interval is that of the median's rank, which varies by half the root of the rows. None: the
    two have no ratio, as one isn't above 0.
    """
    before = float(_quantiles(reference)[len(_LEVELS) // 2])
    half = 1.96 * 0.5 / math.sqrt(max(joined(*rows), 1.0))
    low, middle, high = np.quantile(values, np.clip([0.5 - half, 0.5, 0.5 + half], 0, 1))
    if not before > 0 or not low > 0:
        return None
    return float(middle / before), float(low / before), float(high / before)


def _conversion(
    reference: Sketch, window: Sketch, values: Floats, rows: tuple[float, float]
) -> Moved | None:
    """A usual conversion of units that nothing speaks against, and hardly any other factor."""
    m, n = rows[0], min(rows[1], len(values))

    def alike(factor: float, offset: float) -> bool:
        return ks_p_value(_left(reference, values, factor, offset), m, n) >= _ALIKE_P

    for factor, offset, question in _CONVERSIONS:
        error = _error(reference, window, factor, offset, rows)
        if error is None or not alike(factor, offset):
            continue
        around = (factor * (1 - _NARROW / 2), factor * (1 + _NARROW / 2))
        if 2 * error <= _NARROW or not any(alike(other, offset) for other in around):
            left = _left(reference, values, factor, offset)
            return Moved("unit", factor, offset, left, question)
    return None


def _error(
    reference: Sketch, window: Sketch, factor: float, offset: float, rows: tuple[float, float]
) -> float | None:
    """Half of the 95% interval of the means' ratio, as a part; None: the factor isn't in it."""
    there, here = reference.mean, window.mean - offset
    if not there or not here / there > 0:
        return None
    parts = (reference.deviation / there, window.deviation / here)
    error = 1.96 * math.hypot(*(p / math.sqrt(n) for p, n in zip(parts, rows, strict=True)))
    return error if abs(here / there / factor - 1) <= error else None


def swapped(reference: Sketch, window: Sketch, distance: float) -> Swapped | None:
    """The two categories whose exchange explains nearly all of a category's drift."""
    p, q = reference.shares, window.shares
    total = float(np.abs(p - q).sum())
    codes = [int(c) for c in np.flatnonzero((p + q)[: len(reference.coding.names)])]
    apart = sorted(codes, key=lambda c: -abs(p[c] - q[c]))[:6]
    best: Swapped | None = None
    for place, i in enumerate(apart):
        for j in apart[place + 1 :]:
            if p[i] <= 0 or p[j] <= 0:
                continue
            now = abs(p[i] - q[i]) + abs(p[j] - q[j])
            then = abs(p[i] - q[j]) + abs(p[j] - q[i])
            explained = (now - then) / total if total else 0.0
            if explained > max(_EXPLAINED, best.explained if best else 0.0):
                names = reference.coding.names
                best = Swapped(names[i], names[j], explained)
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
