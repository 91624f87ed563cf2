"""The size of a JSON text before it is parsed: how many values it has, and how deep they lie.

A parser makes an object of each value, which takes up to thirty times the memory of the text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["DEEPEST", "JsonSize", "may_be_deep", "measure", "text_is_deep"]

DEEPEST = 64
"""Lists and objects inside each other; what reads values recursively slows down beyond."""
_CHUNK = 1 << 20
_QUOTE, _COMMA = b'",'
_OPENING, _CLOSING = b"{[", b"}]"


class JsonSize(NamedTuple):
    """What a parser would make of a text.

    Attributes
    ----------
    values
        Members of lists and objects, at most.
    containers
        Lists and objects.
    depth
        Lists and objects inside each other.
    """

    values: int
    containers: int
    depth: int


def measure(text: bytes) -> JsonSize:
    """Count values outside of strings; of a text that isn't JSON, any numbers."""
    if b"\\" in text:
        # What is left of an escape holds neither a quote nor a backslash.
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    values = containers = level = depth = 0
    inside = False
    for start in range(0, len(text), _CHUNK):
        part = np.frombuffer(text, np.uint8, min(_CHUNK, len(text) - start), start)
        quoted = np.logical_xor.accumulate(part == _QUOTE) ^ inside
        inside = bool(quoted[-1])
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
    """Whether a text has enough lists and objects to be deeper than allowed; quick."""
    return text.count(b"{") + text.count(b"[") > DEEPEST


def text_is_deep(text: bytes) -> bool:
    """Whether a text is deeper than allowed; quick where it is flat."""
    return may_be_deep(text) and measure(text).depth > DEEPEST
