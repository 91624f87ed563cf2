"""Masks values in reports and logs, which more people read than the data."""

from __future__ import annotations

import datetime as dt
from typing import Any

__all__ = ["describe_misfit", "mask"]

_LONGEST = 24
_LONGEST_MARKER = 4
"""Maximum number of characters of a marker for missing values, such as NULL."""


def mask(value: Any) -> Any:
    """The shape of a value: letters become ``a`` and ``A``, digits ``9``; the format stays visible.

    Booleans and missing values are returned as they are, because they identify nobody.

    Examples
    --------
    >>> mask("ann.b@example.org"), mask(-12.5), mask(None)
    ('aaa.a@aaaaaaa.aaa', '-99.9', None)
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (tuple, list)):
        return tuple(mask(v) for v in value)
    text = value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)
    shape = "".join(map(_mask_character, text[:_LONGEST]))
    return shape if len(text) <= _LONGEST else f"{shape}... ({len(text)} characters)"


def describe_misfit(value: Any) -> str:
    """A refused value for an error message: masked, unless it is a short marker such as NULL.

    Examples
    --------
    >>> describe_misfit("n/a"), describe_misfit("ann@example.org")
    ("'n/a'", "'aaa@aaaaaaa.aaa'")
    """
    return repr(value if isinstance(value, str) and len(value) <= _LONGEST_MARKER else mask(value))


def _mask_character(character: str) -> str:
    if character.isdigit():
        return "9"
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return character if character.isprintable() and character.isascii() else "?"
