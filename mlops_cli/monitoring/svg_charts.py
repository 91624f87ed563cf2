"""Line charts as coordinates, which ``templates/charts.html.jinja`` draws as SVG.

A page with such charts needs neither scripts nor a network. Colours are CSS classes, which the
page defines for light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

__all__ = ["Chart", "Line", "lines"]

Chart = dict[str, Any]
"""Coordinates and texts of a chart, for the template."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 626, 12, 192
"""Edges of the area with the lines; the template has the same."""
_TICKS = 4
_MAX_DOTS = 60
"""Maximum points of a line that are drawn as dots; more would hide the line."""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes
    ----------
    name
        Name in the legend.
    style
        CSS class of the page: a, b, c, ...
    points
        (x, y) in rising x; a y of None is a gap.
    band
        (low, high) for each point, or None.
    marks
        Marks of each point, as (kind, tooltip): fill (a large dot), ring, or alarm (a triangle
        above the point).
    """

    name: str
    style: str
    points: Sequence[tuple[float, float | None]]
    band: Sequence[tuple[float, float] | None] = ()
    marks: Sequence[Sequence[tuple[str, str]]] = ()

    @property
    def heights(self) -> list[float]:
        """All values of y, with the ends of the band."""
        ends = [end for pair in self.band if pair for end in pair]
        return [y for _, y in self.points if y is not None] + ends


def lines(
    of: Sequence[Line],
    labels: Sequence[tuple[float, str]],
    *,
    what: str,
    level: float | None = None,
    low: float | None = None,
) -> Chart | None:
    """Lines over a common x; None without any point.

    Parameters
    ----------
    labels
        Positions and texts on the x-axis.
    what
        Description of the chart for screen readers.
    level
        Value of y at which a dashed line crosses the chart.
    low
        Lower end of the y-axis; None: by the data.
    """
    values = [y for line in of for y in line.heights]
    values += [v for v in (level, low) if v is not None]
    xs = [x for line in of for x, _ in line.points]
    if not values or not xs:
        return None
    ticks = _round_ticks(min(values) if low is None else low, max(values))
    x, y = _scale(min(xs), max(xs), _LEFT, _RIGHT), _scale(ticks[0], ticks[-1], _BOTTOM, _TOP)
    return {
        "what": what,
        "ticks": [(y(tick), _format_number(tick, ticks[1] - ticks[0])) for tick in ticks],
        "labels": [(x(position), text) for position, text in labels],
        "level": None if level is None else y(level),
        "lines": [_place(line, x, y) for line in of],
    }


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Map of data to coordinates; the middle if all data are one value."""
    span = high - low
    return lambda value: start + ((value - low) / span if span else 0.5) * (end - start)


def _place(line: Line, x: Callable[[float], float], y: Callable[[float], float]) -> dict[str, Any]:
    """Coordinates of a line: its runs between gaps, the outline of its band, and its marks."""
    runs = groupby(line.points, key=lambda point: point[1] is None)
    band = [(x(p[0]), *pair) for p, pair in zip(line.points, line.band, strict=False) if pair]
    return {
        "key": (line.style, line.name),
        "style": line.style,
        "runs": [
            [(x(a), y(b)) for a, b in run if b is not None] for is_gap, run in runs if not is_gap
        ],
        "dots": len(line.points) <= _MAX_DOTS,
        "band": [(a, y(high)) for a, _, high in band] + [(a, y(low)) for a, low, _ in band[::-1]],
        "marks": [
            (x(a), y(b), kind, text)
            for (a, b), marks in zip(line.points, line.marks, strict=False)
            if b is not None
            for kind, text in marks
        ],
    }


def _round_ticks(low: float, high: float) -> list[float]:
    """Round ticks that include the range."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _format_number(value: float, step: float) -> str:
    if abs(value) >= 10_000:  # noqa: PLR2004
        return f"{value:,.0f}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits += f"{step:.{digits}f}" != f"{step:g}" and step < 1
    return f"{value:.{digits}f}"
