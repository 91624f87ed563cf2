"""Charts of the HTML report."""

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

_MAX_HISTORY = 60
"""Maximum former verdicts that are plotted."""
_DAY = 86_400


def history(report: Tree, former: Sequence[Tree]) -> str:
    """Plot the first metric over the former windows, if there are any."""
    entries = [*former[-_MAX_HISTORY:], _history_entry(report)]
    metric = next(
        (n for e in reversed(entries) for n in (*e["figures"], *(e["estimate"]["figures"] or {}))),
        None,
    )
    if metric is None or len(entries) < 2:  # noqa: PLR2004 - one point is no line
        return ""
    times = [_seconds(e["until"]) for e in entries]
    realised = [e["figures"].get(metric) for e in entries]
    expected = [(e["estimate"]["figures"] or {}).get(metric) for e in entries]
    chart = svg_charts.lines(
        [_line("expected", "c", times, expected), _line("realised", "a", times, realised)],
        _date_labels(times),
        what=f"{metric} over windows",
        level=_evaluation_figure(report, metric),
    )
    return (
        f'<figure class="wide"><h3>{escape(metric)} from window to window</h3>{chart}'
        "<figcaption>Dashed: the evaluation. Shaded: intervals.</figcaption></figure>"
    )


def over_time(report: Tree) -> str:
    """Plot predictions, labels, the metric and latency over the window."""
    series = report["over_time"]
    if not series:
        return ""
    parts = series["parts"]
    times = [_seconds(part["start"]) for part in parts]
    labels = _date_labels(times)

    def line(name: str, style: str, key: str) -> Line:
        return Line(name, style, [(x, part[key]) for x, part in zip(times, parts, strict=True)])

    def any_value(*keys: str) -> bool:
        return any(part[key] is not None for part in parts for key in keys)

    metric = series["metric"]
    charts = [("Predictions and labels", svg_charts.lines(
        [line("predictions", "b", "rows"), line("labelled", "a", "labelled")], labels,
        what="predictions and labels over time", low=0))]  # fmt: skip
    if any_value("output"):
        charts.append(("Mean prediction and mean label", svg_charts.lines(
            [line("predicted", "c", "output"), line("came true", "a", "label")], labels,
            what="mean prediction over time")))  # fmt: skip
    if any_value("figure", "expected"):
        charts.append((f"{metric} within the window", svg_charts.lines(
            [line("expected", "c", "expected"), line("realised", "a", "figure")], labels,
            what=f"{metric} over time", level=_evaluation_figure(report, metric))))  # fmt: skip
    if any_value("p95_milliseconds"):
        charts.append(("95% of predictions within, milliseconds", svg_charts.lines(
            [line("p95", "a", "p95_milliseconds")], labels, what="latency over time",
            low=0)))  # fmt: skip
    return f"<h2>Over time</h2>{grid(charts)}"


def calibration(report: Tree) -> str:
    """Plot observed over predicted shares (a reliability curve), if there are labels."""
    entry = report["calibration"]
    if not entry:
        return ""
    points = [(p["predicted"], p["observed"]) for p in entry["points"]]
    ends = (0.0, max(1e-9, *(max(pair) for pair in points)))
    chart = svg_charts.lines(
        [
            Line("if predictions were right", "b", [(e, e) for e in ends]),
            Line("observed", "a", sorted(points)),
        ],
        [(x, f"{x:.2g}") for x in (0.0, ends[1] / 2, ends[1])],
        what="observed over predicted share",
        low=0,
    )
    error = entry["error"]
    text = (
        f"On {entry['rows']:,} labelled rows probabilities are off by {error['value']:.3g} on "
        f"average [{error['low']:.3g}, {error['high']:.3g}]; by chance it would be at most "
        f"{entry['by_chance']:.3g}."
    )
    return (
        f'<h2>Calibration</h2><div class="grid2"><figure>{chart}<figcaption>Observed over '
        f"predicted share, in bins of as many rows.</figcaption></figure><p>{text}</p></div>"
    )


def grid(drawn: Sequence[tuple[str, str]]) -> str:
    """Arrange charts beside each other, each under its title."""
    cells = "".join(f"<figure><h3>{escape(title)}</h3>{svg}</figure>" for title, svg in drawn)
    return f'<div class="grid2">{cells}</div>' if cells else ""


def _history_entry(report: Tree) -> dict[str, Any]:
    figures = (report["performance"] or {}).get("figures", {})
    return {
        "until": report["until"],
        "figures": {name: entry["figure"] for name, entry in figures.items()},
        "estimate": {"figures": (report["estimate"] or {}).get("figures")},
    }


def _line(name: str, style: str, times: Sequence[float], figures: Sequence[Any]) -> Line:
    order = sorted(range(len(times)), key=times.__getitem__)
    return Line(
        name,
        style,
        [(times[i], None if figures[i] is None else figures[i]["value"]) for i in order],
        [None if figures[i] is None else (figures[i]["low"], figures[i]["high"]) for i in order],
    )


def _evaluation_figure(report: Tree, metric: str) -> float | None:
    figure = report["evaluation"].get(metric)
    return None if figure is None else figure["value"]


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()


def _date_labels(times: Sequence[float]) -> list[tuple[float, str]]:
    """At most five labels for a time axis."""
    if not times:
        return []
    span = max(times) - min(times)
    form = "%H:%M" if span < _DAY else "%d %b %H:%M" if span < 3 * _DAY else "%d %b"
    if span > 300 * _DAY:
        form = "%b %Y"
    steps = 4 if span else 0
    moments = [min(times) + span * i / max(steps, 1) for i in range(steps + 1)]
    return [(x, dt.datetime.fromtimestamp(x, dt.UTC).strftime(form)) for x in moments]
