"""Writes YAML that is readable and unambiguous."""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import Any

from mlops_cli.data.templates import Filters

__all__ = ["FILTERS", "comment", "scalar"]

_PLAIN = re.compile(r"[A-Za-z]([A-Za-z0-9_ ()/.+*-]*[A-Za-z0-9_)])?")
# Reserved words of YAML 1.2 and 1.1: the file must mean the same to any parser.
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def scalar(value: Any) -> str:
    """One value in YAML, or several on one line; texts are quoted only if necessary.

    Examples
    --------
    >>> scalar("age"), scalar("no"), scalar("it's"), scalar(2.0), scalar([None, "a, b"])
    ('age', "'no'", "'it''s'", '2.0', "[null, 'a, b']")
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(scalar, value))}]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
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


def comment(text: str) -> str:
    """A text for a YAML comment after ``# ``: on one line, and not too long."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= 160 else line[:157] + "..."  # noqa: PLR2004  the line's length


FILTERS: Filters = MappingProxyType({"yaml": scalar, "yaml_comment": comment})
"""For templates of YAML, where every value goes through one of them."""
