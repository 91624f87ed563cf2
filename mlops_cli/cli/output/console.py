"""Console output: summaries, tables, errors and JSON. Nothing else in the package prints.

Output contains untrusted text: names of columns, people and branches, messages of Git and DVC. So
the console escapes all characters that could control a terminal.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from typing import TYPE_CHECKING, Any

from mlops_cli.errors import MlopsError
from mlops_cli.reporting import Summary, Table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table as RichTable
    from rich.text import Text

__all__ = [
    "console",
    "draw_error",
    "draw_json",
    "draw_note",
    "draw_summary",
    "draw_table",
    "escape_controls",
    "line",
]

_SHOWN_ROWS = 40
_CONTROL_CHARACTERS = re.compile(
    # Control characters except tab and line feed, text direction marks, line separators,
    # surrogates (bytes that weren't UTF-8) and tags.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def escape_controls(text: str) -> str:
    """Escape the characters that could control a terminal, ESC as x1b."""
    return _CONTROL_CHARACTERS.sub(lambda match: _escape_character(match[0]), text)


def line(text: object) -> str:
    """Escape untrusted text for one line of rich markup: no control characters, no markup."""
    from rich.markup import escape

    return escape(escape_controls(" ".join(str(text).split("\n")).replace("\t", " ")))


def _escape_character(character: str) -> str:
    """Write a character as a Python escape sequence."""
    code = ord(character)
    if code < 0x100:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def console(*, stderr: bool = False) -> Console:
    """Create a rich console; without a terminal, it writes plain text and doesn't wrap lines."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 160
    return _console_class()(
        stderr=stderr, highlight=False, soft_wrap=not stream.isatty(), width=width, emoji=False
    )


@functools.cache
def _console_class() -> type[Console]:
    from rich.console import Console
    from rich.segment import Segment

    class VisibleConsole(Console):
        """Escapes control characters in text, but not rich's own control codes."""

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control is None and _CONTROL_CHARACTERS.search(segment.text):
                    yield Segment(escape_controls(segment.text), segment.style)
                else:
                    yield segment

        def render_str(self, text: str, **options: Any) -> Text:
            # Escape before rich measures the text and drops some of these characters.
            return super().render_str(escape_controls(text), **options)

    return VisibleConsole


def draw_summary(title: str, summary: Summary, seconds: float | None, *, tables: bool) -> None:
    """Print a headline with a tick, warnings below it and, if requested, the tables."""
    out = console()
    took = "" if seconds is None else f"  [dim]{seconds:.1f} s[/dim]"
    out.print(f"[green]✓[/green] [bold]{title:<10}[/bold] {line(summary.headline)}{took}")
    for warning in summary.warnings:
        out.print(f"  [yellow]![/yellow] {line(warning)}")
    if tables:
        for table in summary.tables:
            draw_table(table)


def draw_table(table: Table) -> None:
    """Print the first rows of a table."""
    out = console()
    out.print(render_table(table))
    if len(table.rows) > _SHOWN_ROWS:
        out.print(f"[dim]... and {len(table.rows) - _SHOWN_ROWS} more rows[/dim]")


def render_table(table: Table) -> RichTable:
    """Convert the first rows of a table to a rich table."""
    from rich.table import Table as RichTable

    rich_table = RichTable(
        title=line(table.title), title_justify="left", title_style="bold", box=None
    )
    for i, column in enumerate(table.columns):
        numeric = all(isinstance(row[i], int | float) for row in table.rows)
        rich_table.add_column(line(column), justify="right" if numeric and table.rows else "left")
    for row in table.rows[:_SHOWN_ROWS]:
        rich_table.add_row(*(_format_cell(value) for value in row))
    return rich_table


def draw_json(content: Any, indent: int | None = 2) -> None:
    """Print plain JSON to stdout, for scripts."""
    text = json.dumps(content, indent=indent, ensure_ascii=False, default=str)
    sys.stdout.write(_CONTROL_CHARACTERS.sub(lambda match: _escape_json(match[0]), text) + "\n")


def draw_note(text: str) -> None:
    """Print a note to stderr."""
    console(stderr=True).print(f"[yellow]![/yellow] {line(text)}")


def draw_error(error: MlopsError) -> None:
    """Print an error to stderr: its message, and the hint what to do."""
    out = console(stderr=True)
    out.print(f"[bold red]error:[/bold red] {line(error.message)}")
    if error.hint:
        out.print(f"  [dim]→[/dim] {line(error.hint)}")


def _escape_json(character: str) -> str:
    """Write a character as JSON escape sequences."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e6 else f"{value:,.0f}"  # noqa: PLR2004
    if isinstance(value, list | tuple):
        return ", ".join(line(v) for v in value)
    return line(value)
