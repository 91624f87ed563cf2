"""Progress output: one live line on a terminal, plain lines at intervals in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mlops_cli.cli.output.console import console, escape_controls, line, render_table

if TYPE_CHECKING:
    from mlops_cli.reporting import Leaderboard, Progress

__all__ = ["LiveLine", "PlainLines", "live_progress", "sparkline"]

_PLAIN_SECONDS = 10.0
"""Minimum time between two plain lines."""
_SPARKS = "▁▂▃▄▅▆▇█"
_SPARKLINE_WIDTH = 60


class LiveLine(AbstractContextManager["LiveLine"]):
    """Live line with a spinner, a description, a bar and the time; erased at the end.

    During a search, its leaderboard is shown above the line.
    """

    def __init__(self, stage: str) -> None:
        from rich.console import RenderableType
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        class WithBoard(Bar):
            above: tuple[RenderableType, ...] = ()

            def get_renderables(self) -> Iterable[RenderableType]:
                yield from self.above
                yield from super().get_renderables()

        self._bar = WithBoard(
            SpinnerColumn(),
            TextColumn(f"[bold]{stage:<10}[/bold]"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            transient=True,
            console=console(),
        )
        self._task = self._bar.add_task("starting", total=None, count="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Show a description and the progress."""
        count = "" if done is None or total is None else f"{done:,.0f}/{total:,.0f}"
        description = escape_controls(text).replace("\n", " ")
        self._bar.update(
            self._task,
            description=description,
            completed=done or 0,
            total=total,
            count=count,
        )

    def note(self, text: str) -> None:
        """Print a line above the live line."""
        self._bar.console.print(f"  [yellow]![/yellow] {line(text)}")

    def show_leaderboard(self, leaderboard: Leaderboard) -> None:
        """Show the leaderboard, the best value over time, and the remaining time."""
        from rich.text import Text

        course = Text(sparkline(leaderboard.best_values, _SPARKLINE_WIDTH), style="cyan")
        if leaderboard.seconds_left is not None:
            course.append(f"  {max(leaderboard.seconds_left, 0):.0f} s left", style="dim")
        self._bar.above = (render_table(leaderboard.leaders), course)


def sparkline(values: Sequence[float], most: int) -> str:
    """Draw the last values as a line of blocks, scaled to their range; empty without values."""
    shown = list(values[-most:])
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    step = (high - low) / (len(_SPARKS) - 1) or 1.0
    return "".join(_SPARKS[round((value - low) / step)] for value in shown)


class PlainLines(AbstractContextManager["PlainLines"]):
    """Plain lines for a log, at most one every ten seconds, and notes."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._last_printed = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: there is no live line to erase."""

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Print a line if ten seconds have passed since the last one."""
        now = time.monotonic()
        if now - self._last_printed >= _PLAIN_SECONDS:
            self._last_printed = now
            count = "" if done is None or total is None else f" ({done:,.0f} of {total:,.0f} done)"
            self._print(f"{text}{count}")

    def note(self, text: str) -> None:
        """Print a line."""
        self._print(f"! {text}")

    def show_leaderboard(self, leaderboard: Leaderboard) -> None:
        """Do nothing: a leaderboard would fill a log."""

    def _print(self, text: str) -> None:
        one_line = text.replace("\n", " ")
        sys.stdout.write(f"  {self._stage}: {escape_controls(one_line)}\n")
        sys.stdout.flush()


class _NoProgress(AbstractContextManager["Progress"]):
    def __enter__(self) -> Progress:
        from mlops_cli.reporting import Silent

        return Silent()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Do nothing: there is no live line to erase."""


def live_progress(stage: str, *, quiet: bool) -> AbstractContextManager[Progress]:
    """Progress for stdout: a live line on a terminal, else plain lines; nothing if quiet."""
    if quiet:
        return _NoProgress()
    if sys.stdout.isatty():
        return LiveLine(stage)
    return PlainLines(stage)
