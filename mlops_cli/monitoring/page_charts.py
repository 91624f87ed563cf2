"""Charts of the HTML report."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from mlops_cli.monitoring.svg_charts import Chart, Line, lines

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tree = Mapping[str, Any]

__all__ = ["calibration", "history", "over_time"]

_MAX_HISTORY = 60
"""Maximum former verdicts that are plotted."""
_DAY = 86_400


def history(report: Tree, former: Sequence[Tree]) -> dict[str, Any] | None:
    """Plot the first metric over the former windows, if there are any."""
    entries = [*former[-_MAX_HISTORY:], _history_entry(report)]
    metric = next(
        (n for e in reversed(entries) for n in (*e["figures"], *(e["estimate"]["figures"] or {}))),
        None,
    )
    if metric is None or len(entries) < 2:  # noqa: PLR2004 - one point is no line
        return None
    entries.sort(key=lambda e: _seconds(e["until"]))
    times = [_seconds(e["until"]) for e in entries]
    realised = [e["figures"].get(metric) for e in entries]
    expected = [(e["estimate"]["figures"] or {}).get(metric) for e in entries]
    chart = lines(
        [_line("expected", "c", times, expected), _line("realised", "a", times, realised)],
        _date_labels(times),
        what=f"{metric} over windows",
        level=_evaluation_figure(report, metric),
    )
    return {"metric": metric, "chart": chart}


def over_time(report: Tree) -> list[tuple[str, Chart | None]]:
    """Plot predictions, labels, the metric and latency over the window."""
    series = report["over_time"]
    if not series:
        return []
    metric, parts = series["metric"], series["parts"]
    times = [_seconds(part["start"]) for part in parts]

    def chart(what: str, *keys: tuple[str, str, str], **ends: float | None) -> Chart | None:
        return lines(
            [
                Line(name, style, [(x, p[key]) for x, p in zip(times, parts, strict=True)])
                for name, style, key in keys
            ],
            _date_labels(times),
            what=f"{what} over time",
            **ends,
        )

    def any_value(*keys: str) -> bool:
        return any(part[key] is not None for part in parts for key in keys)

    charts = [("Predictions and labels", chart("predictions and labels",
        ("predictions", "b", "rows"), ("labelled", "a", "labelled"), low=0))]  # fmt: skip
    if any_value("output"):
        charts.append(("Mean prediction and mean label", chart("mean prediction",
            ("predicted", "c", "output"), ("came true", "a", "label"))))  # fmt: skip
    if any_value("figure", "expected"):
        charts.append((f"{metric} within the window", chart(metric,
            ("expected", "c", "expected"), ("realised", "a", "figure"),
            level=_evaluation_figure(report, metric))))  # fmt: skip
    if any_value("p95_milliseconds"):
        charts.append(("95% of predictions within, milliseconds", chart("latency",
            ("p95", "a", "p95_milliseconds"), low=0)))  # fmt: skip
    return charts


def calibration(report: Tree) -> Chart | None:
    """Plot observed over predicted shares (a reliability curve), if there are labels."""
    entry = report["calibration"]
    if not entry:
        return None
    points = [(p["predicted"], p["observed"]) for p in entry["points"]]
    end = max(1e-9, *(max(pair) for pair in points))
    return lines(
        [
            Line("if predictions were right", "b", [(0.0, 0.0), (end, end)]),
            Line("observed", "a", sorted(points)),
        ],
        [(x, f"{x:.2g}") for x in (0.0, end / 2, end)],
        what="observed over predicted share",
        low=0,
    )


def _history_entry(report: Tree) -> dict[str, Any]:
    figures = (report["performance"] or {}).get("figures", {})
    return {
        "until": report["until"],
        "figures": {name: entry["figure"] for name, entry in figures.items()},
        "estimate": {"figures": (report["estimate"] or {}).get("figures")},
    }


def _line(name: str, style: str, times: Sequence[float], figures: Sequence[Any]) -> Line:
    return Line(
        name,
        style,
        [(x, f and f["value"]) for x, f in zip(times, figures, strict=True)],
        [f and (f["low"], f["high"]) for f in figures],
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
