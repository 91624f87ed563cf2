"""HTML report of a backtest: one self-contained file with SVG charts, also for printing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

__all__ = ["page"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Palette for colour-blind readers (Okabe and Ito 2008)."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2", "12 4")
_WIDTH, _HEIGHT = 760, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 14, 12, 40
_MARKS_NOTE = (
    "A filled dot: a new model came into use. A ring: one was trained, but not used. A triangle: "
    "an alarm to which the policy reacts."
)
_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:800px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;margin:1em 0;width:100%}caption{text-align:left;font-weight:600}
td,th{padding:.25em .6em;border-bottom:1px solid #ddd;text-align:right;vertical-align:top}
td:first-child,th:first-child,td.t,th.t{text-align:left}tr.best td{font-weight:600}
svg{width:100%;height:auto}svg text{font-size:11px;fill:#444}.key{margin:.2em 0 1em}
.key span{margin-right:1.2em;white-space:nowrap}.note{color:#666}
@media print{body{margin:0;max-width:none}h2{break-after:avoid}table,svg{break-inside:avoid}}
"""


def page(report: Mapping[str, Any]) -> str:
    """Render the HTML page of a report by ``backtest.report``."""
    name, metric = escape(report["project"]), escape(report["metric"])
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>Backtest of {name}</title><style>{_STYLE}</style>",
        f"<h1>Backtest of {name}</h1>",
        f"<p>{_headline(report)}</p>",
        *(f"<p class=note>{escape(note)}</p>" for note in report["notes"]),
        _policy_table(report),
        _best_by_price(report),
        f"<h2>{metric} over time</h2>",
        _legend(report),
        _draw_chart(report, [_metric_points(policy) for policy in report["policies"]]),
        f"<p class=note>{_MARKS_NOTE}</p>",
        "<h2>Cost so far</h2>",
        _legend(report),
        _draw_chart(report, [_cost_points(report, policy) for policy in report["policies"]]),
        *(_period_table(policy, report["metric"]) for policy in report["policies"]),
        f"<p class=note>{_method_note(report)}</p></html>\n",
    ]
    return "\n".join(parts)


def _headline(report: Mapping[str, Any]) -> str:
    best = next(p for p in report["policies"] if p["name"] == report["best"])
    return (
        f"From {report['from']} to {report['to']}, in periods of {escape(report['every'])}, "
        f"<b>{escape(report['best'])}</b> costs least: {_format(best['cost']['total'])}, with "
        f"{best['trained']} trainings, at {_format(report['error_cost'])} for a unit of error and "
        f"{_format(report['retrain_cost'])} for a training."
    )


def _method_note(report: Mapping[str, Any]) -> str:
    delay = report["label_delay"]
    return (
        "Each model was trained by the pipeline itself on what was known at that time; requests "
        "have the features that they had then. Labels arrive when their values are known"
        + (f", and {escape(delay)} later" if delay else "")
        + ". An alarm counts as true where the model was degraded in that period, as all labels "
        "show that came later too. Settings: "
        + (
            f"a search of {report['search_trials']} trials at each training."
            if report["search_trials"]
            else "those of the last search (models/tuning), which used data that came later."
        )
    )


def _policy_table(report: Mapping[str, Any]) -> str:
    columns = [f"{report['metric']}, mean by rows", "cost", "over the best", "trained", "in use",
               "alarms: true", "false", "missed"]  # fmt: skip
    rows = []
    for p in report["policies"]:
        over, alarms = p.get("over_best"), p["alarms"] or {}
        gap = "" if over is None else f"{_format(over['value'])} [{_format(over['low'])}, "
        gap += "" if over is None else f"{_format(over['high'])}]"
        cells = [
            _format(p["metric"]),
            _format(p["cost"]["total"]),
            gap,
            p["trained"],
            p["deployed"],
        ]
        cells += [alarms.get(k, "") for k in ("true", "false", "missed")]
        rows.append((p["name"], cells, p["name"] == report["best"]))
    return _table("Policies", ["policy", *columns], rows)


def _best_by_price(report: Mapping[str, Any]) -> str:
    ranges = report["best_by_retrain_cost"]
    texts = []
    for entry in ranges:
        end = "upwards" if entry["to"] is None else f"to {_format(entry['to'])}"
        texts.append(f"from {_format(entry['from'])} {end}: <b>{escape(entry['policy'])}</b>")
    return f"<p>Best by what a training costs: {'; '.join(texts)}.</p>"


def _period_table(policy: Mapping[str, Any], metric: str) -> str:
    rows = []
    for r in policy["rounds"]:
        figure = r["metric"]
        text = "" if figure is None else _format(figure["value"])
        text += "" if figure is None else f" [{_format(figure['low'])}, {_format(figure['high'])}]"
        reason = r["trained_because"]
        training = "" if reason is None else f"{reason}: {r['outcome']}"
        training += "" if not r["detail"] else f" ({r['detail']})"
        if r["error_saved"] is not None:
            training += f", saved {_format(r['error_saved'])}"
        findings = ", ".join(r["found"]) + (" (was degraded)" if r["degraded"] else "")
        rows.append(
            (r["from"][:16], [r["rows"], text, r["model_of"][:10], findings, training], False)
        )
    columns = ["period from", "rows", metric, "model of", "monitoring finds", "training"]
    return f"<h2>{escape(policy['name'])}</h2>" + _table("", columns, rows)


def _table(
    caption: str, columns: Sequence[str], rows: Sequence[tuple[str, Sequence[Any], bool]]
) -> str:
    head = "".join(f"<th scope=col>{escape(str(c))}" for c in columns)
    body = "".join(
        f"<tr{' class=best' if best else ''}><td>{escape(name)}"
        + "".join(f"<td>{escape(str(c))}" for c in cells)
        for name, cells, best in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}<tbody>{body}</table>"


def _legend(report: Mapping[str, Any]) -> str:
    entries = []
    for i, policy in enumerate(report["policies"]):
        line = (
            f'<svg style="width:34px;height:10px" viewBox="0 0 34 10" aria-hidden=true><path '
            f'd="M0 5H34" stroke="{_colour(i)}" stroke-width=2.5 stroke-dasharray="{_dash(i)}"/>'
            "</svg>"
        )
        entries.append(f"<span>{line} {escape(policy['name'])}</span>")
    return f"<p class=key>{''.join(entries)}</p>"


Points = list[tuple[float, float, Mapping[str, Any]]]


def _metric_points(policy: Mapping[str, Any]) -> Points:
    return [
        (i + 0.5, r["metric"]["value"], r)
        for i, r in enumerate(policy["rounds"])
        if r["metric"] is not None
    ]


def _cost_points(report: Mapping[str, Any], policy: Mapping[str, Any]) -> Points:
    cost, points = 0.0, []
    for i, r in enumerate(policy["rounds"]):
        trained = r["outcome"] not in {None, "too few rows"}
        cost += report["error_cost"] * r["error"] + report["retrain_cost"] * trained
        points.append((i + 1.0, cost, r))
    return points


def _draw_chart(report: Mapping[str, Any], lines: Sequence[Points]) -> str:
    values = [y for line in lines for _, y, _ in line] or [0.0]
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin
    starts = [r["from"][:10] for r in report["policies"][0]["rounds"]]

    def x(position: float) -> float:
        return _LEFT + position / len(starts) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    elements = [*_draw_axes(starts, low, high, x, y)]
    for i, line in enumerate(lines):
        elements += _draw_line(
            i, [(x(position), y(value), r) for position, value, r in line], report["policies"][i]
        )
    title = "A line for each policy; the tables below have the figures."
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role=img aria-label="{title}">'
        + "".join(elements)
        + "</svg>"
    )


def _draw_axes(starts: Sequence[str], low: float, high: float, x: Any, y: Any) -> Iterator[str]:
    for k in range(5):
        value = low + (high - low) * k / 4
        position = y(value)
        yield f'<path d="M{_LEFT} {position:.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>'
        yield f"<text x={_LEFT - 6} y={position + 4:.1f} text-anchor=end>{_format(value)}</text>"
    every = max(1, -(-len(starts) // 9))
    for i, start in enumerate(starts):
        if i % every == 0:
            position = x(i)
            yield f'<path d="M{position:.1f} {_HEIGHT - _BOTTOM}v5" stroke="#888"/>'
            yield f"<text x={position:.1f} y={_HEIGHT - _BOTTOM + 18}>{escape(start)}</text>"


def _draw_line(i: int, points: Points, policy: Mapping[str, Any]) -> Iterator[str]:
    colour, watches = _colour(i), policy["alarms"] is not None
    for (x1, y1, _), (x2, y2, _) in pairwise(points):
        yield (
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width=2 '
            f'stroke-dasharray="{_dash(i)}"/>'
        )
    for position, value, r in points:
        tooltip = f"<title>{escape(policy['name'])}, {r['from'][:10]}: {r['outcome']}</title>"
        dot = f"<circle cx={position:.1f} cy={value:.1f} r=4.5"
        if r["outcome"] == "deployed":
            yield f'{dot} fill="{colour}">{tooltip}</circle>'
        elif r["outcome"] is not None:
            yield f'{dot} fill="#fff" stroke="{colour}" stroke-width=2>{tooltip}</circle>'
        if watches and r["alarm"]:
            findings = escape("; ".join(r["findings"]) or ", ".join(r["found"]))
            yield (
                f'<path d="M{position:.1f} {value - 15:.1f}l5 8h-10z" fill="{colour}">'
                f"<title>{findings}</title></path>"
            )


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _dash(i: int) -> str:
    return _DASHES[i % len(_DASHES)]


def _format(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or abs(value) >= 1000:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.4g}"
