"""Charts as SVG text: drawn here, so that a report needs neither scripts nor a network.

Colours are classes of the page that they stand in, which knows light, dark and paper.
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
        In the legend.
    style
        A class of the page: a, b, c.
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
        """All y, with the ends of the band."""
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
        What is shown, for who can't see it.
    level
        A dashed line across.
    low, high
        The y-axis' ends, where the data shall not decide.
    """
    values = [y for line in of for y in line.heights]
    values += [v for v in (level, low, high) if v is not None]
    xs = [x for line in of for x, _ in line.points]
    if not values or not xs:
        return '<p class="quiet">Nothing to plot yet.</p>'
    ticks = _nice(min(values) if low is None else low, max(values) if high is None else high)
    frame = _Frame(min(xs), max(xs), ticks[0], ticks[-1])
    parts = [_grid(frame, ticks, labels)]
    if level is not None:
        parts.append(_across(frame, level))
    parts += [_band(frame, line) for line in of if any(line.band)]
    parts += [_stroke(frame, line) for line in of]
    legend = _legend((line.style, line.name) for line in of) if len(of) > 1 else ""
    return f"{legend}{_svg(parts, what, _HEIGHT)}"


def bars(of: Sequence[tuple[str, float, float]], *, what: str, names: tuple[str, str]) -> str:
    """Pairs of lying bars, such as shares in the reference and in the window."""
    if not of:
        return ""
    most = max((max(a, b) for _, a, b in of), default=0) or 1.0
    step, left, wide = 22, 150, _WIDTH - 150 - 60
    parts = []
    for number, (label, one, other) in enumerate(of):
        y = number * step + 4
        short = label if len(label) <= 22 else f"{label[:21]}…"  # noqa: PLR2004
        parts.append(
            f'<text x="{left - 8}" y="{y + 12}" class="tick" text-anchor="end">'
            f"{escape(short)}</text>"
            f'<rect x="{left}" y="{y}" width="{one / most * wide:.1f}" height="7" class="fill b"/>'
            f'<rect x="{left}" y="{y + 8}" width="{other / most * wide:.1f}" height="7" '
            f'class="fill a"/>'
            f'<text x="{left + max(one, other) / most * wide + 6:.1f}" y="{y + 12}" '
            f'class="tick">{other:.1%}</text>'
        )
    legend = _legend(zip("ba", names, strict=True))
    return f"{legend}{_svg(parts, what, len(of) * step + 8)}"


def _legend(keys: Iterable[tuple[str, str]]) -> str:
    """The names of styles."""
    spans = "".join(f'<span class="key {style}">{escape(name)}</span>' for style, name in keys)
    return f'<div class="legend">{spans}</div>'


def spark(values: Sequence[tuple[float, float]]) -> str:
    """Two small shapes over each other, for a table's cell: reference and window."""
    if not values:
        return ""
    most = max(max(pair) for pair in values) or 1.0
    wide, high = 96, 24
    step = wide / len(values)
    parts = [
        f'<rect x="{i * step:.1f}" y="{high - one / most * high:.1f}" width="{step - 1:.1f}" '
        f'height="{one / most * high:.1f}" class="fill b"/>'
        f'<rect x="{i * step + step / 4:.1f}" y="{high - other / most * high:.1f}" '
        f'width="{step / 2 - 1:.1f}" height="{other / most * high:.1f}" class="fill a"/>'
        for i, (one, other) in enumerate(values)
    ]
    return (
        f'<svg class="spark" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'aria-hidden="true">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True)
class _Frame:
    """From data to places."""

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


def _nice(low: float, high: float) -> list[float]:
    """Round ticks that hold the range."""
    if high - low < 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - (abs(low) or 1) * 0.1, high + (abs(high) or 1) * 0.1
    raw = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, last + 1)]


def _number(value: float, step: float) -> str:
    if abs(value) >= 10_000:  # noqa: PLR2004
        return f"{value:,.0f}"
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits += f"{step:.{digits}f}" != f"{step:g}" and step < 1
    return f"{value:.{digits}f}"


def _grid(frame: _Frame, ticks: Sequence[float], labels: Sequence[tuple[float, str]]) -> str:
    step = ticks[1] - ticks[0]
    parts = [
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{frame.y(t):.1f}" y2="{frame.y(t):.1f}" '
        f'class="grid"/><text x="{_LEFT - 8}" y="{frame.y(t) + 4:.1f}" class="tick" '
        f'text-anchor="end">{_number(t, step)}</text>'
        for t in ticks
    ]
    for x, text in labels:
        at = frame.x(x)
        anchor = "start" if at < _LEFT + 20 else "end" if at > _WIDTH - _RIGHT - 20 else "middle"
        parts.append(
            f'<text x="{at:.1f}" y="{_HEIGHT - 8}" class="tick" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )
    return "".join(parts)


def _across(frame: _Frame, level: float) -> str:
    y = frame.y(level)
    return f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="level"/>'


def _runs(line: Line) -> list[list[int]]:
    """Positions without gaps between them."""
    runs: list[list[int]] = [[]]
    for number, (_, y) in enumerate(line.points):
        if y is None:
            runs.append([])
        else:
            runs[-1].append(number)
    return [run for run in runs if run]


def _stroke(frame: _Frame, line: Line) -> str:
    parts = []
    for run in _runs(line):
        at = [(frame.x(line.points[i][0]), frame.y(line.points[i][1] or 0.0)) for i in run]
        if len(at) > 1:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
            parts.append(f'<polyline points="{path}" class="stroke {line.style}"/>')
        if len(line.points) <= 60:  # noqa: PLR2004 - more dots than that hide the line
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" class="fill {line.style}"/>'
                for x, y in at
            ]
    return "".join(parts)


def _band(frame: _Frame, line: Line) -> str:
    there = [(line.points[i][0], pair) for i, pair in enumerate(line.band) if pair]
    if len(there) == 1:
        x, (low, high) = there[0]
        return (
            f'<line x1="{frame.x(x):.1f}" x2="{frame.x(x):.1f}" y1="{frame.y(low):.1f}" '
            f'y2="{frame.y(high):.1f}" class="stroke {line.style}"/>'
        )
    upper = [f"{frame.x(x):.1f},{frame.y(high):.1f}" for x, (_, high) in there]
    lower = [f"{frame.x(x):.1f},{frame.y(low):.1f}" for x, (low, _) in reversed(there)]
    return f'<polygon points="{" ".join(upper + lower)}" class="band {line.style}"/>'
