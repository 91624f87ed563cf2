"""Progress on a terminal (one live line) and elsewhere (a plain line now and then)."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from mlops_cli.reporting import Progress

__all__ = ["LiveLine", "PlainLines", "shown"]

_PLAIN_EVERY = 10.0


class LiveLine(AbstractContextManager["LiveLine"]):
    """A spinner, what is being done, a bar and the time; erased at the end."""

    def __init__(self, stage: str) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            SpinnerColumn(),
            TextColumn(f"[bold]{stage:<10}[/bold]"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            transient=True,
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
        """Show the text, and how much of how much."""
        from rich.markup import escape

        count = "" if done is None or total is None else f"{done:,.0f}/{total:,.0f}"
        self._bar.update(
            self._task, description=escape(text), completed=done or 0, total=total, count=count
        )

    def note(self, text: str) -> None:
        """Print a line above the live one."""
        from rich.markup import escape

        self._bar.console.print(f"  [yellow]![/yellow] {escape(text)}")


class PlainLines(AbstractContextManager["PlainLines"]):
    """Lines for a log: the start, then at most one every ten seconds."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._last = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to clear away."""

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Print a line if the last one is old enough."""
        now = time.monotonic()
        if now - self._last >= _PLAIN_EVERY:
            self._last = now
            count = "" if done is None or total is None else f" ({done:,.0f} of {total:,.0f} done)"
            self._print(f"{text}{count}")

    def note(self, text: str) -> None:
        """Print a line."""
        self._print(f"! {text}")

    def _print(self, text: str) -> None:
        sys.stdout.write(f"  {self._stage}: {text}\n")
        sys.stdout.flush()


class _Nothing(AbstractContextManager["Progress"]):
    def __enter__(self) -> Progress:
        from mlops_cli.reporting import Silent

        return Silent()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to clear away."""


def shown(stage: str, *, quiet: bool) -> AbstractContextManager[Progress]:
    """The progress that fits where stdout goes."""
    if quiet:
        return _Nothing()
    if sys.stdout.isatty():
        return LiveLine(stage)
    return PlainLines(stage)
