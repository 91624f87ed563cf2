"""Writes YAML that is readable and unambiguous."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["comment", "flow_list", "scalar"]

_PLAIN = re.compile(r"[A-Za-z]([A-Za-z0-9_ ()/.+*-]*[A-Za-z0-9_)])?")
# Reserved words of YAML 1.2 and 1.1: the file must mean the same to any parser.
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def scalar(value: Any) -> str:
    """One value in YAML; texts are quoted only if necessary.

    Examples
    --------
    >>> scalar("age"), scalar("no"), scalar("it's"), scalar(2.0), scalar(None)
    ('age', "'no'", "'it''s'", '2.0', 'null')
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        # YAML reads 1e+20 as a text; a number needs the point.
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED:
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escape(c) for c in text) + '"'


def _escape(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def flow_list(values: Iterable[Any]) -> str:
    """Values as a list on one line."""
    return "[" + ", ".join(scalar(v) for v in values) + "]"


def comment(text: str) -> str:
    """A text for a YAML comment after ``# ``: on one line, and not too long."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= 160 else line[:157] + "..."  # noqa: PLR2004  the line's length
