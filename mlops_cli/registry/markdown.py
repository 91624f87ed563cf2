"""Markdown, and YAML of its front matter, from values that may hold any character."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["code", "line", "literal", "yaml"]

_MARKS = str.maketrans({c: f"\\{c}" for c in "\\`*[]|~#"} | {"&": "&amp;", "<": "&lt;"})
# An underscore inside of a word is no markup.
_MARKUP_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def line(text: str) -> str:
    """Markdown on one line: white space of any kind becomes one space."""
    return " ".join(text.split())


def literal(value: Any) -> str:
    r"""Escape a value from the data, so that Markdown shows it unchanged.

    Examples
    --------
    >>> literal("a|b <i>"), literal(None), literal(0.5)
    ('a\\|b &lt;i>', '(missing)', '0.5')
    """
    if value is None:
        return "(missing)"
    text = "".join(c if c.isprintable() else " " for c in str(value))
    return _MARKUP_UNDERSCORE.sub(r"\\_", line(text).translate(_MARKS)) or "(empty)"


def code(text: str) -> str:
    """Text as a code span on one line; it may contain backticks."""
    text = line(text)
    if "`" not in text:
        return f"`{text}`"
    fence = "`" * (max(len(run) for run in re.findall("`+", text)) + 1)
    return f"{fence} {text} {fence}"


def yaml(value: str | float) -> str:
    """A text or a number as a scalar of YAML, on one line.

    Texts are always quoted, so parsers of YAML 1.1 and 1.2 read the same values.
    """
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        # YAML 1.1 reads 1e-06 as a string.
        return f"{value:.6f}".rstrip("0").removesuffix(".") if value % 1 else f"{value:.1f}"
    return '"' + "".join(_escape(c) for c in value) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"
