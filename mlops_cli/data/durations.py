"""Durations such as ``24h`` or ``1mo``: in microseconds, and added by the calendar."""

from __future__ import annotations

import datetime as dt
import re
from functools import cache

__all__ = ["add", "microseconds", "subtract"]

_UNITS = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}


@cache
def microseconds(duration: str) -> int | None:
    """The length of a duration in UTC; None if it depends on the calendar (mo, q, y)."""
    parts = re.findall(r"([0-9]+)(us|ms|mo|s|m|h|d|w|q|y)", duration)
    if any(unit not in _UNITS for _, unit in parts):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def add(moment: dt.datetime, span: str) -> dt.datetime:
    """Add a span to a moment, by the calendar.

    Examples
    --------
    >>> add(dt.datetime(2013, 1, 31), "1mo")
    datetime.datetime(2013, 2, 28, 0, 0)
    """
    import polars as pl

    later: dt.datetime = pl.Series([moment]).dt.offset_by(span)[0]
    return later


def subtract(moment: dt.datetime, span: str | None) -> dt.datetime:
    """Subtract a span from a moment, by the calendar; None changes nothing.

    Examples
    --------
    >>> subtract(dt.datetime(2013, 3, 31), "1mo")
    datetime.datetime(2013, 2, 28, 0, 0)
    """
    return moment if span is None else add(moment, f"-{span}")
