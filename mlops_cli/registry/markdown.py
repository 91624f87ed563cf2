"""Render Markdown and its YAML front matter from values that may hold any character."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["bullets", "code", "front_matter", "line", "literal", "table"]

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


def bullets(items: Iterable[str]) -> str:
    """A list with one item per line."""
    return "\n".join(f"- {line(item)}" for item in items)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def front_matter(tree: Mapping[str, Any]) -> str:
    """Nested mappings, lists, texts and numbers as a block of YAML between lines of dashes.

    Texts are always quoted, so parsers of YAML 1.1 and 1.2 read the same values.
    """
    return "\n".join(["---", *_yaml_lines(tree), "---"]) + "\n"


def _yaml_lines(node: Mapping[str, Any] | Sequence[Any], indent: str = "") -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if isinstance(value, Mapping | list):
                yield f"{indent}{key}:"
                yield from _yaml_lines(value, indent + "  ")
            else:
                yield f"{indent}{key}: {_scalar(value)}"
        return
    for item in node:
        if isinstance(item, Mapping):
            first, *rest = _yaml_lines(item, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}"


def _scalar(value: str | float) -> str:
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
