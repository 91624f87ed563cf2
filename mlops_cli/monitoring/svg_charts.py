"""SVG charts as text, so that a report needs neither scripts nor a network.

Colours are CSS classes, which the page defines for light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Line", "bars", "lines", "spark"]

_WIDTH, _HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 28
_TICKS = 4


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes
    ----------
    name
        Name in the legend.
    style
        CSS class of the page: a, b, c.
    points
        (x, y) in rising x; a y of None is a gap.
    band
        (low, high) for each point, or None.
    """

    name: str
    style: str
    points: Sequence[tuple[float, float | None]]
    band: Sequence[tuple[float, float] | None] = ()

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
    high: float | None = None,
) -> str:
    """Lines over a common x, with a legend above them.

    Parameters
    ----------
    labels
        Positions and texts on the x-axis.
    what
        Description of the chart for screen readers.
    level
        Value of y at which a dashed line crosses the chart.
    low, high
        Ends of the y-axis; None: by the data.
    """
    values = [y for line in of for y in line.heights]
    values += [v for v in (level, low, high) if v is not None]
    xs = [x for line in of for x, _ in line.points]
    if not values or not xs:
        return '<p class="quiet">Nothing to plot yet.</p>'
    ticks = _round_ticks(min(values) if low is None else low, max(values) if high is None else high)
    axes = _Axes(min(xs), max(xs), ticks[0], ticks[-1])
    parts = [_grid(axes, ticks, labels)]
    if level is not None:
        parts.append(_level_line(axes, level))
    parts += [_band(axes, line) for line in of if any(line.band)]
    parts += [_stroke(axes, line) for line in of]
    legend = _legend((line.style, line.name) for line in of) if len(of) > 1 else ""
    return f"{legend}{_svg(parts, what, _HEIGHT)}"


def bars(of: Sequence[tuple[str, float, float]], *, what: str, names: tuple[str, str]) -> str:
    """Pairs of horizontal bars, such as shares in the reference and in the window."""
    if not of:
        return ""
    most = max((max(a, b) for _, a, b in of), default=0) or 1.0
    step, left, width = 22, 150, _WIDTH - 150 - 60
    parts = []
    for number, (label, one, other) in enumerate(of):
        y = number * step + 4
        short = label if len(label) <= 22 else f"{label[:21]}…"  # noqa: PLR2004
        parts.append(
            f'<text x="{left - 8}" y="{y + 12}" class="tick" text-anchor="end">'
            f"{escape(short)}</text>"
            f'<rect x="{left}" y="{y}" width="{one / most * width:.1f}" height="7" class="fill b"/>'
            f'<rect x="{left}" y="{y + 8}" width="{other / most * width:.1f}" height="7" '
            f'class="fill a"/>'
            f'<text x="{left + max(one, other) / most * width + 6:.1f}" y="{y + 12}" '
            f'class="tick">{other:.1%}</text>'
        )
    legend = _legend(zip("ba", names, strict=True))
    return f"{legend}{_svg(parts, what, len(of) * step + 8)}"


def _legend(keys: Iterable[tuple[str, str]]) -> str:
    """Legend of pairs of style and name."""
    spans = "".join(f'<span class="key {style}">{escape(name)}</span>' for style, name in keys)
    return f'<div class="legend">{spans}</div>'


def spark(values: Sequence[tuple[float, float]]) -> str:
    """Sparkline of two overlaid histograms, reference and window, for a table's cell."""
    if not values:
        return ""
    most = max(max(pair) for pair in values) or 1.0
    width, height = 96, 24
    step = width / len(values)
    parts = [
        f'<rect x="{i * step:.1f}" y="{height - one / most * height:.1f}" width="{step - 1:.1f}" '
        f'height="{one / most * height:.1f}" class="fill b"/>'
        f'<rect x="{i * step + step / 4:.1f}" y="{height - other / most * height:.1f}" '
        f'width="{step / 2 - 1:.1f}" height="{other / most * height:.1f}" class="fill a"/>'
        for i, (one, other) in enumerate(values)
    ]
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class _Axes:
    """Maps data to coordinates of the chart."""

    left: float
    right: float
    bottom: float
    top: float

    def x(self, value: float) -> float:
        span = self.right - self.left
        share = (value - self.left) / span if span else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.bottom) / (self.top - self.bottom)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def _svg(parts: Sequence[str], what: str, height: int) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(what, quote=True)}">{"".join(parts)}</svg>'
    )


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


def _grid(axes: _Axes, ticks: Sequence[float], labels: Sequence[tuple[float, str]]) -> str:
    step = ticks[1] - ticks[0]
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{axes.y(t):.1f}" y2="{axes.y(t):.1f}" '
        f'class="grid"/><text x="{_LEFT - 8}" y="{axes.y(t) + 4:.1f}" class="tick" '
        f'text-anchor="end">{_format_number(t, step)}</text>'
        for t in ticks
    ]
    for x, text in labels:
        px = axes.x(x)
        anchor = "start" if px < _LEFT + 20 else "end" if px > _WIDTH - _RIGHT - 20 else "middle"
        parts.append(
            f'<text x="{px:.1f}" y="{_HEIGHT - 8}" class="tick" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )
    return "".join(parts)


def _level_line(axes: _Axes, level: float) -> str:
    y = axes.y(level)
    return f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="level"/>'


def _cut_at_gaps(line: Line) -> list[list[int]]:
    """Positions of the points, cut at gaps."""
    runs: list[list[int]] = [[]]
    for number, (_, y) in enumerate(line.points):
        if y is None:
            runs.append([])
        else:
            runs[-1].append(number)
    return [run for run in runs if run]


def _stroke(axes: _Axes, line: Line) -> str:
    parts = []
    for run in _cut_at_gaps(line):
        coordinates = [(axes.x(line.points[i][0]), axes.y(line.points[i][1] or 0.0)) for i in run]
        if len(coordinates) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in coordinates)
            parts.append(f'<polyline points="{path}" class="stroke {line.style}"/>')
        if len(line.points) <= 60:  # noqa: PLR2004 - more dots than that hide the line
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" class="fill {line.style}"/>'
                for x, y in coordinates
            ]
    return "".join(parts)


def _band(axes: _Axes, line: Line) -> str:
    points = [(line.points[i][0], pair) for i, pair in enumerate(line.band) if pair]
    if len(points) == 1:
        x, (low, high) = points[0]
        return (
            f'<line x1="{axes.x(x):.1f}" x2="{axes.x(x):.1f}" y1="{axes.y(low):.1f}" '
            f'y2="{axes.y(high):.1f}" class="stroke {line.style}"/>'
        )
    upper = [f"{axes.x(x):.1f},{axes.y(high):.1f}" for x, (_, high) in points]
    lower = [f"{axes.x(x):.1f},{axes.y(low):.1f}" for x, (low, _) in reversed(points)]
    return f'<polygon points="{" ".join(upper + lower)}" class="band {line.style}"/>'
