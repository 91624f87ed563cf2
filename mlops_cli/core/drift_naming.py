"""What has happened to a column that is distributed otherwise, where it has a simple name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mlops_cli.core.coding import MISSING
from mlops_cli.core.distances import kolmogorov_smirnov

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.core.sketches import Sketch

    Floats = npt.NDArray[np.float64]

__all__ = ["Moved", "Swapped", "moved", "swapped"]

_LEVELS = np.linspace(0.05, 0.95, 19)
_FEWEST = 20
_ALIKE = 0.06
"""A column that was moved back has to be so near to the reference, by Kolmogorov-Smirnov."""
_EXACT = 0.025
"""The same for a change of unit: it is exact, where a drift only happens to look like one."""
_CLEAR = 1.5
"""Less than that, up or down, is no change of unit unless people use it."""
_SAME_SCALE = (0.8, 1.25)
_EXPLAINED = 0.75
"""An exchange has to explain so much of the change of all shares."""
_CONVERSIONS = (
    (1.8, 32.0, "degrees Celsius had become Fahrenheit"),
    (1 / 1.8, -32 / 1.8, "degrees Fahrenheit had become Celsius"),
    (1.0, 273.15, "degrees Celsius had become kelvins"),
    (1.0, -273.15, "kelvins had become degrees Celsius"),
    *(
        entry
        for factor, small, large in (
            (1.609344, "kilometres", "miles"),
            (3.28084, "feet", "metres"),
            (2.54, "centimetres", "inches"),
            (2.2046226, "pounds", "kilograms"),
            (1.943844, "knots", "metres a second"),
            (1.852, "kilometres", "nautical miles"),
            (33.8639, "hectopascals", "inches of mercury"),
            (3.6, "kilometres an hour", "metres a second"),
            (3.785412, "litres", "gallons"),
            (28.349523, "grams", "ounces"),
            (60.0, "minutes", "hours (or seconds, minutes)"),
            (24.0, "hours", "days"),
            (3600.0, "seconds", "hours"),
            (86400.0, "seconds", "days"),
            (10.0, "a tenth of the unit", "the unit"),
            (100.0, "per cent (or hundredths)", "shares (or wholes)"),
            (1000.0, "a thousandth of the unit", "the unit"),
            (1e6, "a millionth of the unit", "the unit"),
        )
        for entry in (
            (factor, 0.0, f"{large} had become {small}"),
            (1 / factor, 0.0, f"{small} had become {large}"),
        )
    ),
)


class Moved(NamedTuple):
    """Values are ``factor`` times what they were, plus ``offset``; ``left`` is the rest, as KS."""

    kind: str
    factor: float
    offset: float
    left: float
    said: str


class Swapped(NamedTuple):
    """Two categories that have each other's share."""

    first: str
    second: str
    explained: float


def moved(reference: Sketch, values: Floats, distance: float) -> Moved | None:
    """The change of scale and place that explains a number's drift, if one does.

    Parameters
    ----------
    reference
        The reference's sketch.
    values
        Some of the window's numbers.
    distance
        The Kolmogorov-Smirnov distance that there is to explain.
    """
    if len(values) < _FEWEST or not reference.coding.bins:
        return None
    before, after = _quantiles(reference), np.quantile(values, _LEVELS)
    spread = float(before[-2] - before[1])
    if not spread > 0 or not float(after[-2] - after[1]) > 0:
        return None
    slope = float(np.polyfit(before, after, 1)[0])
    factor = float(after[-2] - after[1]) / spread
    middle = len(_LEVELS) // 2
    free = [(f, float(after[middle] - f * before[middle]), "") for f in (factor, slope)]
    noise = 1.7 / math.sqrt(len(values))
    enough, exact = (min(max(least, noise), distance / 3) for least in (_ALIKE, _EXACT))
    found: list[tuple[float, bool, Moved]] = []
    place = (1.0, float(np.median(after - before)), "")
    for f, offset, said in (place, *free, *_CONVERSIONS):
        if not f > 0:
            continue
        same = _SAME_SCALE[0] <= f <= _SAME_SCALE[1] and not said
        if not same and not said and 1 / _CLEAR < f < _CLEAR:
            continue
        left = _left(reference, values, f, offset)
        if left > (enough if same else min(enough, exact)):
            continue
        kind = "shift" if same else "unit"
        found.append((left, not said, Moved(kind, f, offset, left, said)))
    if not found:
        return None
    # The nearest; but a conversion that people use, or a plain shift, if it is about as near.
    nearest = min(left for left, _, _ in found)
    near = [(unnamed, left, m) for left, unnamed, m in found if left <= nearest + _ALIKE / 3]
    shifts = [m for _, _, m in near if m.kind == "shift" and m.factor == 1.0]
    return shifts[0] if shifts else min(near, key=lambda n: n[:2])[2]


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
