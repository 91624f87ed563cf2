"""How things look: summaries, tables, errors, JSON. Nothing else in the package prints.

What is shown comes from outside: names of columns, people, branches, messages of Git and DVC. So
the console shows characters that would steer a terminal as what they are, whoever prints them.
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
_STEERING = re.compile(
    # Control characters but tab and line feed, marks of direction, separators of lines,
    # surrogates (bytes that were no UTF-8) and tags.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def escape_controls(text: str) -> str:
    """Text with the characters that would steer a terminal written out, ESC as x1b."""
    return _STEERING.sub(lambda found: _written(found[0]), text)


def line(text: object) -> str:
    """Text from outside for one line of rich markup: visible, unbroken, no markup of its own."""
    from rich.markup import escape

    return escape(escape_controls(" ".join(str(text).split("\n")).replace("\t", " ")))


def _written(character: str) -> str:
    code = ord(character)
    if code < 0x100:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"  # noqa: PLR2004


def console(*, stderr: bool = False) -> Console:
    """A rich console; on anything but a terminal it writes plain text of full width."""
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
        """Shows what would steer a terminal; rich's own control codes are no text."""

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control is None and _STEERING.search(segment.text):
                    yield Segment(escape_controls(segment.text), segment.style)
                else:
                    yield segment

        def render_str(self, text: str, **options: Any) -> Text:
            # Before rich measures it, and drops some of these characters.
            return super().render_str(escape_controls(text), **options)

    return VisibleConsole


def draw_summary(title: str, summary: Summary, seconds: float | None, *, tables: bool) -> None:
    """One headline with a tick, warnings below it, and the tables if asked for."""
    out = console()
    took = "" if seconds is None else f"  [dim]{seconds:.1f} s[/dim]"
    out.print(f"[green]✓[/green] [bold]{title:<10}[/bold] {line(summary.headline)}{took}")
    for warning in summary.warnings:
        out.print(f"  [yellow]![/yellow] {line(warning)}")
    if tables:
        for table in summary.tables:
            draw_table(table)


def draw_table(table: Table) -> None:
    """A table, cut to what a screen holds."""
    out = console()
    out.print(render_table(table))
    if len(table.rows) > _SHOWN_ROWS:
        out.print(f"[dim]... and {len(table.rows) - _SHOWN_ROWS} more rows[/dim]")


def render_table(table: Table) -> RichTable:
    """A table as rich shows it, its first rows."""
    from rich.table import Table as RichTable

    made = RichTable(title=line(table.title), title_justify="left", title_style="bold", box=None)
    for i, column in enumerate(table.columns):
        numeric = all(isinstance(row[i], int | float) for row in table.rows)
        made.add_column(line(column), justify="right" if numeric and table.rows else "left")
    for row in table.rows[:_SHOWN_ROWS]:
        made.add_row(*(_cell(value) for value in row))
    return made


def draw_json(content: Any, indent: int | None = 2) -> None:
    """Plain JSON on stdout, for scripts."""
    text = json.dumps(content, indent=indent, ensure_ascii=False, default=str)
    sys.stdout.write(_STEERING.sub(lambda found: _as_json(found[0]), text) + "\n")


def draw_note(text: str) -> None:
    """A sentence that should be seen, on stderr."""
    console(stderr=True).print(f"[yellow]![/yellow] {line(text)}")


def draw_error(error: MlopsError) -> None:
    """What is wrong, and what to do: two lines on stderr."""
    out = console(stderr=True)
    out.print(f"[bold red]error:[/bold red] {line(error.message)}")
    if error.hint:
        out.print(f"  [dim]→[/dim] {line(error.hint)}")


def _as_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


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
        return ", ".join(line(v) for v in value)
    return line(value)
