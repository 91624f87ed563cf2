"""How many times longer than its column's value a text of an expression may become.

The values of a request are a stranger's: three REPLACE within each other that write ten characters
for one make four gigabytes of four megabytes. So the factor is bounded when an expression is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlops_cli.data.sql.tokens import GrammarError, Token

__all__ = ["MOST_GROWTH", "growth_of_call", "refuse_growth"]

MOST_GROWTH = 100
"""Times that a text may become longer."""
_MAY_BE_EMPTY = ("*", "?", "|", "^", "$", "{", "()", r"\b", r"\B", r"\A", r"\z")
"""Signs of a pattern that may match between any two characters."""


def growth_of_call(name: str, arguments: Sequence[tuple[int, Sequence[Token]]]) -> int:
    """The growth of a function, of its arguments' growth and tokens."""
    growths = [growth for growth, _ in arguments]
    if name in {"concat", "concat_ws"}:
        return sum(growths)
    if name in {"replace", "regexp_replace"}:
        pattern, new = (_literal(name, tokens) for _, tokens in arguments[1:3])
        anywhere = not pattern or (
            name == "regexp_replace" and any(sign in pattern for sign in _MAY_BE_EMPTY)
        )
        # A reference to a group, such as $1, has two characters or more for one match.
        return growths[0] * (len(new) + 1 if anywhere else max(1, len(new)))
    return max(growths)


def refuse_growth(growth: int) -> None:
    """Refuse an expression that could make too much of a value."""
    if growth > MOST_GROWTH:
        raise GrammarError(
            f"it may make a text more than {MOST_GROWTH} times longer",
            "Replace by shorter texts, or less often within each other.",
        )


def _literal(name: str, tokens: Sequence[Token]) -> str:
    if len(tokens) != 1 or tokens[0].kind != "text":
        raise GrammarError(f"{name.upper()} takes what it replaces, and by what, in quotes")
    return tokens[0].text[1:-1].replace("''", "'")
