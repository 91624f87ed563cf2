"""Durations such as ``24h`` or ``1mo`` as numbers, where they have a fixed length."""

from __future__ import annotations

import re
from functools import cache

__all__ = ["microseconds"]

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
    """The length of a duration in UTC; None where it depends on the calendar (mo, q, y)."""
    parts = re.findall(r"([0-9]+)(us|ms|mo|s|m|h|d|w|q|y)", duration)
    if any(unit not in _UNITS for _, unit in parts):
        return None
    return sum(int(number) * _UNITS[unit] for number, unit in parts)
