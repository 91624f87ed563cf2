"""The charts of the report's page."""

from __future__ import annotations

import datetime as dt
from html import escape
from typing import TYPE_CHECKING, Any

from mlops_cli.monitoring import svg_charts
from mlops_cli.monitoring.svg_charts import Line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tree = Mapping[str, Any]

__all__ = ["calibration", "grid", "history", "over_time"]

_HISTORY = 60
"""Former verdicts that are plotted."""
_DAY = 86_400


def history(report: Tree, former: Sequence[Tree]) -> str:
    """The first metric over the former windows, where there are any."""
    entries = [*former[-_HISTORY:], _as_entry(report)]
    metric = next(
        (n for e in reversed(entries) for n in (*e["figures"], *(e["estimate"]["figures"] or {}))),
        None,
    )
    if metric is None or len(entries) < 2:  # noqa: PLR2004 - one point is no line
        return ""
    at = [_seconds(e["until"]) for e in entries]
    known = [e["figures"].get(metric) for e in entries]
    guess = [(e["estimate"]["figures"] or {}).get(metric) for e in entries]
    drawn = svg_charts.lines(
        [_line("expected", "c", at, guess), _line("realised", "a", at, known)],
        _dates(at),
        what=f"{metric} over windows",
        level=_evaluated(report, metric),
    )
    return (
        f'<figure class="wide"><h3>{escape(metric)} from window to window</h3>{drawn}'
        "<figcaption>Dashed: the evaluation. Shaded: intervals.</figcaption></figure>"
    )


def over_time(report: Tree) -> str:
    """What came in, and what was predicted, in parts of the window."""
    series = report["over_time"]
    if not series:
        return ""
    parts = series["parts"]
    at = [_seconds(part["start"]) for part in parts]
    dates = _dates(at)

    def line(name: str, style: str, key: str) -> Line:
        return Line(name, style, [(x, part[key]) for x, part in zip(at, parts, strict=True)])

    def there(*keys: str) -> bool:
        return any(part[key] is not None for part in parts for key in keys)

    metric = series["metric"]
    drawn = [("Predictions and labels", svg_charts.lines(
        [line("predictions", "b", "rows"), line("labelled", "a", "labelled")], dates,
        what="predictions and labels over time", low=0))]  # fmt: skip
    if there("output"):
        drawn.append(("Mean prediction and mean label", svg_charts.lines(
            [line("predicted", "c", "output"), line("came true", "a", "label")], dates,
            what="mean prediction over time")))  # fmt: skip
    if there("figure", "expected"):
        drawn.append((f"{metric} within the window", svg_charts.lines(
            [line("expected", "c", "expected"), line("realised", "a", "figure")], dates,
            what=f"{metric} over time", level=_evaluated(report, metric))))  # fmt: skip
    if there("p95_milliseconds"):
        drawn.append(("95% of predictions within, milliseconds", svg_charts.lines(
            [line("p95", "a", "p95_milliseconds")], dates, what="latency over time",
            low=0)))  # fmt: skip
    return f"<h2>Over time</h2>{grid(drawn)}"


def calibration(report: Tree) -> str:
    """Observed over predicted share, where labels have come."""
    found = report["calibration"]
    if not found:
        return ""
    points = [(p["predicted"], p["observed"]) for p in found["points"]]
    ends = (0.0, max(1e-9, *(max(pair) for pair in points)))
    drawn = svg_charts.lines(
        [
            Line("if predictions were right", "b", [(e, e) for e in ends]),
            Line("observed", "a", sorted(points)),
        ],
        [(x, f"{x:.2g}") for x in (0.0, ends[1] / 2, ends[1])],
        what="observed over predicted share",
        low=0,
    )
    error = found["error"]
    said = (
        f"On {found['rows']:,} labelled rows probabilities are off by {error['value']:.3g} on "
        f"average [{error['low']:.3g}, {error['high']:.3g}]; by chance it would be at most "
        f"{found['by_chance']:.3g}."
    )
    return (
        f'<h2>Calibration</h2><div class="grid2"><figure>{drawn}<figcaption>Observed over '
        f"predicted share, in bins of as many rows.</figcaption></figure><p>{said}</p></div>"
    )


def grid(drawn: Sequence[tuple[str, str]]) -> str:
    """Charts beside each other, each under its title."""
    cells = "".join(f"<figure><h3>{escape(title)}</h3>{svg}</figure>" for title, svg in drawn)
    return f'<div class="grid2">{cells}</div>' if cells else ""


def _as_entry(report: Tree) -> dict[str, Any]:
    figures = (report["performance"] or {}).get("figures", {})
    return {
        "until": report["until"],
        "figures": {name: of["figure"] for name, of in figures.items()},
        "estimate": {"figures": (report["estimate"] or {}).get("figures")},
    }


def _line(name: str, style: str, at: Sequence[float], figures: Sequence[Any]) -> Line:
    order = sorted(range(len(at)), key=at.__getitem__)
    return Line(
        name,
        style,
        [(at[i], None if figures[i] is None else figures[i]["value"]) for i in order],
        [None if figures[i] is None else (figures[i]["low"], figures[i]["high"]) for i in order],
    )


def _evaluated(report: Tree, metric: str) -> float | None:
    of = report["evaluation"].get(metric)
    return None if of is None else of["value"]


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def _dates(at: Sequence[float]) -> list[tuple[float, str]]:
    """At most five labels for an axis of times."""
    if not at:
        return []
    span = max(at) - min(at)
    form = "%H:%M" if span < _DAY else "%d %b %H:%M" if span < 3 * _DAY else "%d %b"
    if span > 300 * _DAY:
        form = "%b %Y"
    steps = 4 if span else 0
    picked = [min(at) + span * i / max(steps, 1) for i in range(steps + 1)]
    return [(x, dt.datetime.fromtimestamp(x, dt.UTC).strftime(form)) for x in picked]
