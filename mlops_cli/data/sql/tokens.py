"""Tokenizer for SQL expressions: words, quoted texts and names, numbers and signs."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = [
    "CONTROL_CHARACTERS",
    "END",
    "GrammarError",
    "Token",
    "is_selectable",
    "tokens_of",
    "why_unselectable",
]

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|--[^\n]*)
    |(?P<comment>/\*)
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
    |(?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<word>[^\W\d]\w*)
    |(?P<sign>::|<=>|!~~\*|!~~|!~\*|!~|~~\*|~~|~\*|~|\^@|//|\|\||==|!=|<>|<=|>=|[-+*/%=<>&|(),])
    """,
    re.VERBOSE,
)
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Control characters that no expression may have, not even within quotes."""


class GrammarError(Exception):
    """The reason why a text is no expression; ``hint`` suggests what to write, if possible."""

    def __init__(self, reason: str, hint: str = "", *, reads_other_rows: bool = False) -> None:
        super().__init__(reason)
        self.hint = hint
        self.reads_other_rows = reads_other_rows


@dataclass(frozen=True)
class Token:
    """A token: its kind (word, name, text, number, sign), and the text as written."""

    kind: str
    text: str

    @property
    def lower(self) -> str:
        """A bare word in lower case, a sign as it is, and empty for other kinds."""
        return (
            self.text.lower() if self.kind == "word" else "" if self.kind != "sign" else self.text
        )


END = Token("end", "")


def tokens_of(sql: str) -> list[Token]:
    """Split an expression into tokens, without blanks and comments.

    Raises
    ------
    GrammarError
        If a character belongs to no token.
    """
    if control := CONTROL_CHARACTERS.search(sql):
        raise GrammarError(f"it has the control character {control[0]!r}")
    tokens, position = [], 0
    while position < len(sql):
        match = _TOKEN.match(sql, position)
        if match is None:
            problem = (
                "a text without its end"
                if sql[position] in "'\"`"
                else f"{sql[position : position + 12]!r}"
            )
            raise GrammarError(f"{problem} at character {position + 1}")
        kind = str(match.lastgroup)
        position = _skip_comment(sql, position) if kind == "comment" else match.end()
        if kind not in {"blank", "comment"}:
            tokens.append(Token(kind, match[0]))
    return tokens


def _skip_comment(sql: str, start: int) -> int:
    depth = 0
    for mark in re.finditer(r"/\*|\*/", sql[start:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return start + mark.end()
    raise GrammarError(f"a comment without its end at character {start + 1}")


def is_selectable(name: str) -> bool:
    """Whether an expression can name this column alone; see ``why_unselectable``."""
    return not why_unselectable(name)


def why_unselectable(name: str) -> str:
    """Why an expression can't name this column; empty if it can.

    ``*`` and ``^...$`` are patterns for many columns.
    """
    if name == "*" or (name.startswith("^") and name.endswith("$")):
        return "SQL takes its name for a pattern of many columns"
    control = CONTROL_CHARACTERS.search(name)
    return f"its name has the control character {control[0]!r}" if control else ""
