"""Views of a difference between two revisions: tables, Markdown and JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mlops_cli.cli.output import console
from mlops_cli.reporting import Table

if TYPE_CHECKING:
    from mlops_cli.registry.compare_revisions import (
        Difference,
        FigureChange,
        MetricValue,
        ValueChange,
    )

__all__ = ["as_json", "as_markdown", "draw_difference"]

_MAX_ROWS = 20
_MAX_WIDTH = 100


def draw_difference(difference: Difference) -> None:
    """Print a difference as tables and notes."""
    out = console.console()
    out.print(f"[bold]{console.line(_headline(difference))}[/bold]")
    for table in _tables(difference):
        console.draw_table(table)
    for note in difference.notes:
        out.print(f"  [dim]![/dim] {console.line(note)}")


def as_json(difference: Difference) -> dict[str, Any]:
    """Convert a difference to plain data."""
    return asdict(difference)


def as_markdown(difference: Difference) -> str:
    """Format a difference as GitHub-flavoured Markdown, for a job summary or a merge request."""
    parts = [f"### {_escape_markdown(_headline(difference))}"]
    for table in _tables(difference):
        rows = [table.columns, tuple("---" for _ in table.columns), *table.rows[:_MAX_ROWS]]
        lines = [_markdown_row(row, escape=i != 1) for i, row in enumerate(rows)]
        if len(table.rows) > _MAX_ROWS:
            lines.append(f"\n... and {len(table.rows) - _MAX_ROWS} more rows")
        parts.append(f"**{_escape_markdown(table.title)}**\n\n" + "\n".join(lines))
    if difference.notes:
        parts.append("\n".join(f"- {_escape_markdown(note)}" for note in difference.notes))
    return "\n\n".join(parts) + "\n"


def _headline(d: Difference) -> str:
    if d.same_model:
        return f"{d.old} → {d.new}: the same model"
    changed = any((d.params, d.data, d.features_added, d.features_removed, d.result))
    metrics_changed = any(m.verdict != "same" for m in d.metrics)
    return f"{d.old} → {d.new}" + ("" if changed or metrics_changed else ": no difference")


def _tables(d: Difference) -> Iterator[Table]:
    columns = ("metric", d.old, d.new, "difference", "verdict")
    if d.metrics:
        yield Table("test metrics", columns, tuple(_metric_row(m) for m in d.metrics))
    if d.worse_slices:
        yield Table(
            f"slices that got clearly worse: {len(d.worse_slices)} of {d.slices}",
            ("slice", "rows", *columns),
            tuple(
                (
                    f"{s.column} = {'(missing)' if s.value is None else s.value}",
                    f"{s.rows[0]:,} → {s.rows[1]:,}",
                    *_metric_row(s.change),
                )
                for s in d.worse_slices
            ),
        )
    yield from _change_tables("result", d.result, d)
    yield from _change_tables("parameters", d.params, d)
    yield from _change_tables("data", d.data, d)
    features = [("added", name) for name in d.features_added]
    features += [("removed", name) for name in d.features_removed]
    if features:
        yield Table("features", ("change", "feature"), tuple(features))


def _change_tables(title: str, changes: tuple[ValueChange, ...], d: Difference) -> Iterator[Table]:
    if changes:
        rows = tuple(
            (
                c.name,
                "(not there)" if c.kind == "added" else _format_value(c.old),
                "(not there)" if c.kind == "removed" else _format_value(c.new),
            )
            for c in changes
        )
        yield Table(title, ("what", d.old, d.new), rows)


def _metric_row(change: FigureChange) -> tuple[str, str, str, str, str]:
    difference = "" if change.difference is None else f"{change.difference:+.4g}"
    verdict = {"unclear": "no clear difference"}.get(change.verdict or "", change.verdict or "")
    if change.verdict in {"better", "worse"} and change.overlap is False:
        verdict += ", clearly"
    difference = "0" if change.difference == 0 else difference
    if change.paired is not None and change.difference:
        difference += f" [{change.paired.low:+.4g}, {change.paired.high:+.4g}]"
    return (
        change.metric,
        _format_figure(change.old),
        _format_figure(change.new),
        difference,
        verdict,
    )


def _format_figure(figure: MetricValue | None) -> str:
    if figure is None:
        return "(not there)"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.4g}"
    return f"{figure.value:.4g} [{figure.low:.4g}, {figure.high:.4g}]"


def _format_value(value: Any) -> str:
    """Format a value like YAML, in one line of limited length."""
    if isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "null"}[value]
    elif isinstance(value, int) and abs(value) >= 10_000:  # noqa: PLR2004
        text = f"{value:,}"
    elif isinstance(value, list | tuple):
        text = f"[{', '.join(_format_value(v) for v in value)}]"
    else:
        text = str(value)
    text = " ".join(text.split())
    return text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 1] + "…"


def _markdown_row(cells: tuple[Any, ...], *, escape: bool) -> str:
    texts = (_escape_markdown(str(cell)) if escape else str(cell) for cell in cells)
    return "| " + " | ".join(texts) + " |"


def _escape_markdown(text: str) -> str:
    """Escape Markdown, because values come from data and must not format the page."""
    text = re.sub(r"([\\`*_{}\[\]<>|~$])", r"\\\1", " ".join(text.split()))
    # A mention would notify people, and a number would link to an issue.
    return re.sub(r"([@#!])(?=\w)", r"\1<!-- -->", text)
