"""A backtest as one page: HTML and SVG in one file, which needs no network and prints well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

__all__ = ["page"]

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Told apart also by people who see few colours (Okabe and Ito 2008)."""
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2", "1 2", "12 4")
_WIDTH, _HEIGHT = 760, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 14, 12, 40
_MARKS = (
    "A filled dot: a new model came into use. A ring: one was trained and refused. A triangle: an "
    "alarm that the policy looks at."
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
    """The page of a report by ``backtest.report``."""
    name, metric = escape(report["project"]), escape(report["metric"])
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width">',
        f"<title>Backtest of {name}</title><style>{_STYLE}</style>",
        f"<h1>Backtest of {name}</h1>",
        f"<p>{_headline(report)}</p>",
        *(f"<p class=note>{escape(note)}</p>" for note in report["notes"]),
        _summary(report),
        _prices(report),
        f"<h2>{metric} over time</h2>",
        _key(report),
        _chart(report, [_metric_points(policy) for policy in report["policies"]]),
        f"<p class=note>{_MARKS}</p>",
        "<h2>Cost so far</h2>",
        _key(report),
        _chart(report, [_cost_points(report, policy) for policy in report["policies"]]),
        *(_periods(policy, report["metric"]) for policy in report["policies"]),
        f"<p class=note>{_how(report)}</p></html>\n",
    ]
    return "\n".join(parts)


def _headline(report: Mapping[str, Any]) -> str:
    best = next(p for p in report["policies"] if p["name"] == report["best"])
    return (
        f"From {report['from']} to {report['to']}, looking every {escape(report['every'])}, "
        f"<b>{escape(report['best'])}</b> costs least: {_number(best['cost']['total'])}, with "
        f"{best['trained']} trainings, at {_number(report['error_cost'])} for a unit of error and "
        f"{_number(report['retrain_cost'])} for a training."
    )


def _how(report: Mapping[str, Any]) -> str:
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
            else "those of the last search (models/tuning), which knew more than was known then."
        )
    )


def _summary(report: Mapping[str, Any]) -> str:
    columns = [f"{report['metric']}, mean by rows", "cost", "over the best", "trained", "in use",
               "alarms: true", "false", "missed"]  # fmt: skip
    rows = []
    for p in report["policies"]:
        over, alarms = p.get("over_best"), p["alarms"] or {}
        gap = "" if over is None else f"{_number(over['value'])} [{_number(over['low'])}, "
        gap += "" if over is None else f"{_number(over['high'])}]"
        cells = [
            _number(p["metric"]),
            _number(p["cost"]["total"]),
            gap,
            p["trained"],
            p["deployed"],
        ]
        cells += [alarms.get(k, "") for k in ("true", "false", "missed")]
        rows.append((p["name"], cells, p["name"] == report["best"]))
    return _table("Policies", ["policy", *columns], rows)


def _prices(report: Mapping[str, Any]) -> str:
    told = report["best_by_retrain_cost"]
    words = []
    for entry in told:
        end = "upwards" if entry["to"] is None else f"to {_number(entry['to'])}"
        words.append(f"from {_number(entry['from'])} {end}: <b>{escape(entry['policy'])}</b>")
    return f"<p>Best by what a training costs: {'; '.join(words)}.</p>"


def _periods(policy: Mapping[str, Any], metric: str) -> str:
    rows = []
    for r in policy["rounds"]:
        figure = r["metric"]
        shown = "" if figure is None else _number(figure["value"])
        shown += "" if figure is None else f" [{_number(figure['low'])}, {_number(figure['high'])}]"
        why = r["trained_because"]
        done = "" if why is None else f"{why}: {r['outcome']}"
        done += "" if not r["detail"] else f" ({r['detail']})"
        if r["error_saved"] is not None:
            done += f", saved {_number(r['error_saved'])}"
        found = ", ".join(r["found"]) + (" (was degraded)" if r["degraded"] else "")
        rows.append((r["from"][:16], [r["rows"], shown, r["model_of"][:10], found, done], False))
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
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{told}<thead><tr>{head}<tbody>{body}</table>"


def _key(report: Mapping[str, Any]) -> str:
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


def _chart(report: Mapping[str, Any], lines: Sequence[Points]) -> str:
    values = [y for line in lines for _, y, _ in line] or [0.0]
    low, high = min(values), max(values)
    margin = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    low, high = low - margin, high + margin
    starts = [r["from"][:10] for r in report["policies"][0]["rounds"]]

    def x(at: float) -> float:
        return _LEFT + at / len(starts) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [*_axes(starts, low, high, x, y)]
    for i, line in enumerate(lines):
        drawn += _line(i, [(x(at), y(value), r) for at, value, r in line], report["policies"][i])
    title = "A line for each policy; the tables below have the figures."
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role=img aria-label="{title}">'
        + "".join(drawn)
        + "</svg>"
    )


def _axes(starts: Sequence[str], low: float, high: float, x: Any, y: Any) -> Iterator[str]:
    for k in range(5):
        value = low + (high - low) * k / 4
        at = y(value)
        yield f'<path d="M{_LEFT} {at:.1f}H{_WIDTH - _RIGHT}" stroke="#e4e4e4"/>'
        yield f"<text x={_LEFT - 6} y={at + 4:.1f} text-anchor=end>{_number(value)}</text>"
    every = max(1, -(-len(starts) // 9))
    for i, start in enumerate(starts):
        if i % every == 0:
            at = x(i)
            yield f'<path d="M{at:.1f} {_HEIGHT - _BOTTOM}v5" stroke="#888"/>'
            yield f"<text x={at:.1f} y={_HEIGHT - _BOTTOM + 18}>{escape(start)}</text>"


def _line(i: int, points: Points, policy: Mapping[str, Any]) -> Iterator[str]:
    colour, watches = _colour(i), policy["alarms"] is not None
    for (x1, y1, _), (x2, y2, _) in pairwise(points):
        yield (
            f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width=2 '
            f'stroke-dasharray="{_dash(i)}"/>'
        )
    for at, value, r in points:
        told = f"<title>{escape(policy['name'])}, {r['from'][:10]}: {r['outcome']}</title>"
        dot = f"<circle cx={at:.1f} cy={value:.1f} r=4.5"
        if r["outcome"] == "deployed":
            yield f'{dot} fill="{colour}">{told}</circle>'
        elif r["outcome"] is not None:
            yield f'{dot} fill="#fff" stroke="{colour}" stroke-width=2>{told}</circle>'
        if watches and r["alarm"]:
            said = escape("; ".join(r["findings"]) or ", ".join(r["found"]))
            yield (
                f'<path d="M{at:.1f} {value - 15:.1f}l5 8h-10z" fill="{colour}">'
                f"<title>{said}</title></path>"
            )


def _colour(i: int) -> str:
    return _COLOURS[i % len(_COLOURS)]


def _dash(i: int) -> str:
    return _DASHES[i % len(_DASHES)]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or abs(value) >= 1000:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.4g}"
