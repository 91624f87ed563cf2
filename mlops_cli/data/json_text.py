"""Number of values and depth of a JSON text, measured before it is parsed.

A parser creates an object for each value, which takes up to thirty times the memory of the text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["MAX_DEPTH", "JsonSize", "may_be_deep", "measure", "text_is_deep"]

MAX_DEPTH = 64
"""Maximum nesting of lists and objects; recursive readers slow down beyond it."""
_CHUNK = 1 << 20
_QUOTE, _COMMA = b'",'
_OPENING, _CLOSING = b"{[", b"}]"


class JsonSize(NamedTuple):
    """Size of a JSON text as Python objects.

    Attributes
    ----------
    values
        Upper bound for the number of members of lists and objects.
    containers
        Number of lists and objects.
    depth
        Nesting of lists and objects.
    """

    values: int
    containers: int
    depth: int


def measure(text: bytes) -> JsonSize:
    """Measure a JSON text; for a text that isn't JSON, the numbers mean nothing."""
    if b"\\" in text:
        # Without escaped backslashes and quotes, each quote begins or ends a string.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    values = containers = level = depth = 0
    in_string = False
    for start in range(0, len(text), _CHUNK):
        part = np.frombuffer(text, np.uint8, min(_CHUNK, len(text) - start), start)
        quoted = np.logical_xor.accumulate(part == _QUOTE) ^ in_string
        in_string = bool(quoted[-1])
        outside = ~quoted
        values += int(np.count_nonzero((part == _COMMA) & outside))
        opens = ((part == _OPENING[0]) | (part == _OPENING[1])) & outside
        containers += int(np.count_nonzero(opens))
        closes = ((part == _CLOSING[0]) | (part == _CLOSING[1])) & outside
        levels = np.cumsum(opens.astype(np.int32) - closes, dtype=np.int32)
        depth = max(depth, level + int(levels.max()))
        level += int(levels[-1])
    return JsonSize(values + containers, containers, depth)


def may_be_deep(text: bytes) -> bool:
    """Whether a text has enough brackets to be deeper than allowed; fast."""
    return text.count(b"{") + text.count(b"[") > MAX_DEPTH


def text_is_deep(text: bytes) -> bool:
    """Whether a text is nested deeper than allowed; fast for flat texts."""
    return may_be_deep(text) and measure(text).depth > MAX_DEPTH
