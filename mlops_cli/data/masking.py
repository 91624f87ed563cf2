"""A value's shape in its place: more people read reports and logs than the data."""

from __future__ import annotations

import datetime as dt
from typing import Any

__all__ = ["describe_misfit", "mask"]

_LONGEST = 24
_MARK = 4
"""Characters of what stands for a missing value."""


def mask(value: Any) -> Any:
    """The shape of a value: letters as ``a`` and ``A``, digits as ``9``; the rest shows the format.

    Truth values and what is missing say nothing of anybody.

    Examples
    --------
    >>> masked("ann.b@example.org"), masked(-12.5), masked(None)
    ('aaa.a@aaaaaaa.aaa', '-99.9', None)
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(mask(v) for v in value)
    text = value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)
    shape = "".join(map(_shape, text[:_LONGEST]))
    return shape if len(text) <= _LONGEST else f"{shape}... ({len(text)} characters)"


def describe_misfit(value: Any) -> str:
    """A value that is refused, for an error: its shape, or itself where it is a mark such as NULL.

    Examples
    --------
    >>> misfit("n/a"), misfit("ann@example.org")
    ("'n/a'", "'aaa@aaaaaaa.aaa'")
    """
    return repr(value if isinstance(value, str) and len(value) <= _MARK else mask(value))


def _shape(character: str) -> str:
    if character.isdigit():
        return "9"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character if character.isprintable() and character.isascii() else "?"
