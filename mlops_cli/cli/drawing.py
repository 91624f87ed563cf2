"""How things look: summaries, tables, errors, JSON. Nothing else in the package prints."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import MlopsError
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

__all__ = ["console", "draw_error", "draw_json", "draw_summary", "draw_table"]

_SHOWN_ROWS = 40


def console(*, stderr: bool = False) -> Console:
    """A rich console; on anything but a terminal it writes plain text of full width."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160
    return Console(stderr=stderr, highlight=False, soft_wrap=not stream.isatty(), width=width)


def draw_summary(title: str, summary: Summary, seconds: float | None, *, tables: bool) -> None:
    """One headline with a tick, warnings below it, and the tables if asked for."""
    out = console()
    took = "" if seconds is None else f"  [dim]{seconds:.1f} s[/dim]"
    out.print(f"[green]✓[/green] [bold]{title:<10}[/bold] {_safe(summary.headline)}{took}")
    for warning in summary.warnings:
        out.print(f"  [yellow]![/yellow] {_safe(warning)}")
    if tables:
        for table in summary.tables:
            draw_table(table)


def draw_table(table: Table) -> None:
    """A table, cut to what a screen holds."""
    out = console()
    out.print(drawn(table))
    if len(table.rows) > _SHOWN_ROWS:
        out.print(f"[dim]... and {len(table.rows) - _SHOWN_ROWS} more rows[/dim]")


def drawn(table: Table) -> RichTable:
    """A table as rich shows it, its first rows."""
    from rich.table import Table as RichTable

    made = RichTable(title=table.title, title_justify="left", title_style="bold", box=None)
    for i, column in enumerate(table.columns):
        numeric = all(isinstance(row[i], int | float) for row in table.rows)
        made.add_column(column, justify="right" if numeric and table.rows else "left")
    for row in table.rows[:_SHOWN_ROWS]:
        made.add_row(*(_cell(value) for value in row))
    return made


def draw_json(content: Any) -> None:
    """Plain JSON on stdout, for scripts."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")


def draw_error(error: MlopsError) -> None:
    """What is wrong, and what to do: two lines on stderr."""
    out = console(stderr=True)
    out.print(f"[bold red]error:[/bold red] {_safe(error.message)}")
    if error.hint:
        out.print(f"  [dim]→[/dim] {_safe(error.hint)}")


def _safe(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"  # noqa: PLR2004
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value)
    return _safe(str(value))
