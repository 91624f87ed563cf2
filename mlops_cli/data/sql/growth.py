"""Bounds how many times longer an expression may make a text.

The values of a request are a stranger's. Three nested REPLACE that write ten characters for one
turn four megabytes into four gigabytes, so the factor is bounded when an expression is parsed.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlops_cli.data.sql.tokens import GrammarError, Token

__all__ = ["MAX_GROWTH", "growth_of_call", "refuse_growth"]

MAX_GROWTH = 100
"""Maximum factor by which a text may become longer."""
_MAY_BE_EMPTY = ("*", "?", "|", "^", "$", "{", "()", r"\b", r"\B", r"\A", r"\z")
"""Parts of a regular expression that may match between any two characters."""


def growth_of_call(name: str, arguments: Sequence[tuple[int, Sequence[Token]]]) -> int:
    """The growth factor of a function call, from the growth and tokens of its arguments."""
    growths = [growth for growth, _ in arguments]
    if name in {"concat", "concat_ws"}:
        return sum(growths)
    if name in {"replace", "regexp_replace"}:
        pattern, new = (_literal_text(name, tokens) for _, tokens in arguments[1:3])
        matches_anywhere = not pattern or (
            name == "regexp_replace" and any(sign in pattern for sign in _MAY_BE_EMPTY)
        )
        # A group reference such as $1 counts as two characters, and is no longer than its match.
        return growths[0] * (len(new) + 1 if matches_anywhere else max(1, len(new)))
    return max(growths)


def refuse_growth(growth: int) -> None:
    """Refuse an expression that may make a text too long."""
    if growth > MAX_GROWTH:
        raise GrammarError(
            f"it may make a text more than {MAX_GROWTH} times longer",
            "Replace by shorter texts, or less often within each other.",
        )


def _literal_text(name: str, tokens: Sequence[Token]) -> str:
    if len(tokens) != 1 or tokens[0].kind != "text":
        raise GrammarError(f"{name.upper()} takes what it replaces, and by what, in quotes")
    return tokens[0].text[1:-1].replace("''", "'")
