"""What a stage reports: progress while it runs, and a summary at its end, as plain data.

Stages never print. The command line draws these on a terminal, writes them as plain lines
elsewhere, or outputs them as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["Leaderboard", "Progress", "Silent", "Summary", "Table", "count_noun", "figure_text"]


@dataclass(frozen=True)
class Table:
    """A small table to show: column names and rows of plain values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Leaderboard:
    """The present results of a search.

    Attributes
    ----------
    leaders
        The best results so far.
    best_values
        The best value after each trial that had one.
    seconds_left
        Seconds until the search has to end; None: there is no limit.
    """

    leaders: Table
    best_values: tuple[float, ...]
    seconds_left: float | None = None


class Progress(Protocol):
    """Interface through which a stage reports its progress."""

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Report the present step and, optionally, how much of it is done."""

    def note(self, text: str) -> None:
        """Report a message that stays on the screen (a warning, a decision)."""

    def show_leaderboard(self, leaderboard: Leaderboard) -> None:
        """Show the results of a search, in the place of the ones shown before."""


class Silent:
    """A Progress that ignores everything: for tests and for use as a library."""

    def update(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def show_leaderboard(self, leaderboard: Leaderboard) -> None:
        """Ignore."""


@dataclass(frozen=True)
class Summary:
    """Result of a stage: a headline, small tables, warnings, and facts for ``--json``."""

    headline: str
    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def figure_text(figure: Mapping[str, float] | None, absent: str = "-") -> str:
    """A figure (``value``, ``low``, ``high``) with its interval, such as 0.81 [0.8, 0.82]."""
    if figure is None:
        return absent
    return f"{figure['value']:.4g} [{figure['low']:.4g}, {figure['high']:.4g}]"


def count_noun(number: int, noun: str) -> str:
    """A number with its noun.

    Examples
    --------
    >>> count_noun(1, "label"), count_noun(2000, "label")
    ('1 label', '2,000 labels')
    """
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
