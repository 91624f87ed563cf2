"""Monitoring report as one HTML file: no scripts, no network, light, dark or printed."""

from __future__ import annotations

import datetime as dt
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from mlops_cli.monitoring import page_charts, svg_charts
from mlops_cli.reporting import figure_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Tree = Mapping[str, Any]

__all__ = ["html"]

_SHOWN_ROWS = 60
"""Maximum rows of the drift table that are shown at once; the rest unfolds."""
_MAX_PLOTS = 8
"""Maximum columns with a plot of their distribution."""


def html(report: Tree, history: Sequence[Tree]) -> str:
    """Render a report, and the verdicts before it, as a page.

    Parameters
    ----------
    report
        From ``MonitoringReport.to_json``.
    history
        From ``MonitoringHistory.history``.
    """
    body = "\n".join(
        part
        for part in (
            _head(report),
            _tiles(report),
            _findings(report["findings"]),
            _performance(report, history),
            _slices(report),
            page_charts.over_time(report),
            page_charts.calibration(report),
            _drift(report),
            _skew(report),
            _versions(report),
            _foot(report),
        )
        if part
    )
    title = f"{report['model']}@{report['version']}: {report['status']}"
    return _template().replace("{{title}}", escape(title)).replace("{{body}}", body)


def _head(report: Tree) -> str:
    status = report["status"]
    kind = {"ok": "ok", "not judged": "unjudged"}.get(
        status, "degraded" if "degraded" in report["found"] else "drift"
    )
    first, last = _format_time(report["since"]), _format_time(report["until"])
    by = "asked for" if report["time"] == "asked" else "for moments"
    return (
        f"<header><h1>{escape(report['model'])} {escape(report['version'])}</h1>"
        f'<span class="verdict {kind}">{escape(status)}</span></header>'
        f'<p class="quiet">Predictions {by} from {first} to {last}; looked at '
        f"{_format_time(report['at'])} (UTC)</p>"
    )


def _tiles(report: Tree) -> str:
    performance, estimate = report["performance"] or {}, report["estimate"] or {}
    tiles = [("predictions", f"{report['rows']:,}")]
    if performance:
        tiles.append(("have a label", f"{performance['coverage']:.0%}"))
    for name, entry in list(performance.get("figures", {}).items())[:1]:
        tiles.append((f"{name}, realised", f"{entry['figure']['value']:.3f}"))
    for name, entry in list(estimate.get("figures", {}).items())[:1]:
        mark = "" if estimate["trusted"] else " (?)"
        tiles.append((f"{name}, expected{mark}", f"{entry['value']:.3f}"))
    if drift := report["drift"]:
        alarms = sum(f["severity"] == "alarm" for f in drift["findings"])
        tiles.append(("drift alarms", f"{alarms:,}"))
    if latency := report["latency"]:
        tiles.append(("95% within", f"{latency['p95']:.3g} ms"))
    if age := report["age"]:
        tiles.append(("age of the model's data", f"{age['days']:,.0f} days"))
    cells = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for name, value in tiles
    )
    return f'<div class="tiles">{cells}</div>'


def _findings(findings: Sequence[Tree]) -> str:
    if not findings:
        return "<h2>Findings</h2><p>Nothing was found.</p>"
    rows = "".join(
        f'<li><span class="tag {escape(f["means"])}">{escape(f["means"])}</span>'
        f"<span>{escape(f['sentence'])}</span></li>"
        for f in findings
    )
    return f'<h2>Findings</h2><ul class="findings">{rows}</ul>'


def _performance(report: Tree, history: Sequence[Tree]) -> str:
    performance, estimate = report["performance"] or {}, report["estimate"] or {}
    realised, expected = performance.get("figures", {}), estimate.get("figures", {})
    names = list(dict.fromkeys([*realised, *expected]))
    if not names:
        return ""
    rows = []
    for name in names:
        result, estimated = realised.get(name, {}), expected.get(name)
        loss = result.get("loss")
        rows.append(
            (
                name,
                figure_text(report["evaluation"].get(name), ""),
                figure_text(result.get("figure"), ""),
                "" if loss is None else f"{loss['value']:+.3g} (may be {loss['allowed']:.3g})",
                figure_text(estimated, ""),
            )
        )
    table = _table(("metric", "evaluation", "realised", "lost", "expected without labels"), rows)
    sentences = []
    if performance.get("complete_until"):
        sentences.append(
            f"Realised on {performance['complete_rows']:,} predictions up to "
            f"{_format_time(performance['complete_until'])}, of which "
            f"{performance['complete_coverage']:.1%} have a label."
        )
    if estimate:
        sentences.append(_describe_trust(estimate))
    paragraphs = "".join(f'<p class="quiet">{escape(sentence)}</p>' for sentence in sentences)
    return f"<h2>Performance</h2>{table}{paragraphs}{page_charts.history(report, history)}"


def _describe_trust(estimate: Tree) -> str:
    if not estimate["trusted"]:
        return f"The expectation can't be trusted: {'; '.join(estimate['reasons'])}."
    check = estimate["check"]
    if check is None:
        return "The window has no labels to check the expectation with."
    return (
        f"The expectation was off by {check['error']:+.3g} on the {check['rows']:,} rows whose "
        "labels are known."
    )


def _slices(report: Tree) -> str:
    parts = (report["performance"] or {}).get("slices", {})
    rows = [
        (
            f"{column} = {'(missing)' if entry['value'] is None else entry['value']}",
            f"{entry['rows']:,}",
            figure_text(entry.get("evaluation"), ""),
            figure_text(entry.get("figure"), ""),
            f"{entry['loss']['value']:+.3g}" if "loss" in entry else "",
        )
        for column, entries in parts.items()
        for entry in entries
    ]
    if not rows:
        return ""
    table = _table(("slice", "labelled rows", "evaluation", "realised", "lost"), rows)
    return f"<h2>By slice</h2>{table}"


def _drift(report: Tree) -> str:
    drift = report["drift"]
    if not drift:
        return ""
    alarms = {(f["part"], f["column"]) for f in drift["findings"] if f["severity"] == "alarm"}

    def key(column: Tree) -> tuple[bool, float]:
        distance = column["ks"] if column["ks"] is not None else column["js"]
        return (column["part"], column["column"]) not in alarms, -(distance or 0.0)

    columns = sorted(drift["columns"], key=key)
    plots = [
        (
            f"{c['column']} ({c['part']})",
            svg_charts.bars(
                [(b["label"], b["reference"], b["window"]) for b in c["bars"]],
                what=f"shares of {c['column']}",
                names=("reference", "window"),
            ),
        )
        for c in columns[:_MAX_PLOTS]
        if c["bars"] and (c["part"], c["column"]) in alarms
    ]
    rows = [
        (
            c["column"] + ("" if c["part"] == "inputs" else f" ({c['part']})"),
            "drift" if (c["part"], c["column"]) in alarms else "",
            _format_share(c["missing"]),
            _format_share(c["reference_missing"]),
            _format_number(c["psi"]),
            _format_number(c["js"]),
            _format_number(c["ks"]),
            svg_charts.spark([(b["reference"], b["window"]) for b in c["bars"]]),
        )
        for c in columns
    ]
    head = ("column", "", "missing", "in the reference", "PSI", "JS", "KS", "distribution")
    table = _table(head, rows[:_SHOWN_ROWS], raw=len(head) - 1)
    if len(rows) > _SHOWN_ROWS:
        rest = _table(head, rows[_SHOWN_ROWS:], raw=len(head) - 1)
        table += (
            f"<details><summary>{len(rows) - _SHOWN_ROWS} more columns</summary>{rest}</details>"
        )
    return f"<h2>Drift</h2>{page_charts.grid(plots)}{table}"


def _skew(report: Tree) -> str:
    skew = report.get("skew")
    if not skew or not skew["features"]:
        return ""
    rows = [
        (name, f"{entry['share']:.1%}", *(repr(v) for v in entry["examples"][0]))
        for name, entry in sorted(skew["features"].items(), key=lambda item: -item[1]["share"])
    ]
    table = _table(("feature", "rows that differ", "served", "offline"), rows)
    return f"<h2>Train/serve skew</h2><p>{skew['rows']:,} rows were computed again.</p>{table}"


def _versions(report: Tree) -> str:
    if len(report["versions"]) < 2:  # noqa: PLR2004 - there is no other
        return ""
    rows = [
        (
            version["version"],
            version["role"],
            f"{version['rows']:,}",
            report["status"]
            if version["version"] == report["version"]
            else " and ".join(report["others"].get(version["version"], {}).get("found", ())) or "-",
        )
        for version in report["versions"]
    ]
    return f"<h2>Versions</h2>{_table(('version', 'role', 'predictions', 'found'), rows)}"


def _foot(report: Tree) -> str:
    labels = report.get("labels") or {}
    sentence = (
        f"Of the labels, {labels.get('contradicting', 0):,} contradict an earlier one, and "
        f"{labels.get('unknown', 0):,} belong to no prediction in the log. "
    )
    return f"<footer>{sentence}Made by mlops monitor; all figures: mlops monitor --json.</footer>"


# -- small parts ---------------------------------------------------------------------------


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], raw: int | None = None) -> str:
    """An HTML table; column number ``raw`` holds markup, which isn't escaped."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{cell if number == raw else escape(cell)}</td>" for number, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    thead = f"<thead><tr>{top}</tr></thead>"
    return f'<div class="scroll"><table>{thead}<tbody>{body}</tbody></table></div>'


def _format_number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _format_share(value: float) -> str:
    return f"{value:.2%}" if value else ""


def _format_time(text: str) -> str:
    moment = dt.datetime.fromisoformat(text).astimezone(dt.UTC)
    return (
        moment.strftime("%Y-%m-%d") if _is_midnight(moment) else moment.strftime("%Y-%m-%d %H:%M")
    )


def _is_midnight(moment: dt.datetime) -> bool:
    return moment.time().replace(microsecond=0) == dt.time()


@cache
def _template() -> str:
    template = files("mlops_cli.monitoring") / "templates" / "monitor.html"
    return template.read_text(encoding="utf-8")
