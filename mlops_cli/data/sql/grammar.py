"""Parser for SQL expressions: accepts a safe subset of SQL, before Polars sees it.

Polars' own grammar has subqueries, table functions, windows and the clock. This one has none of
them, so an expression can read only the columns of its row. An accepted expression is written
again, without comments and with each column in quotes, and only that text reaches Polars.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mlops_cli.data.sql.functions import (
    ARITIES,
    CLOCK_FUNCTIONS,
    OPERATORS,
    RESERVED_WORDS,
    TYPES,
    check_argument_count,
    clock_error,
    function_error,
)
from mlops_cli.data.sql.growth import growth_of_call, refuse_growth
from mlops_cli.data.sql.tokens import END, GrammarError, Token, is_selectable, tokens_of

__all__ = ["MAX_CHARACTERS", "MAX_NESTING", "MAX_NODES", "GrammarError", "Sql", "parse"]

MAX_CHARACTERS = 20_000
"""Maximum number of characters of an expression."""
MAX_NESTING = 32
"""Maximum nesting of parentheses, functions and conditions."""
MAX_NODES = 200
"""Maximum number of operators, functions, casts and conditions.

Polars' time grows with the cube of the length of a chain.
"""
MAX_PAD_WIDTH = 1_000
"""Maximum width for LPAD and RPAD, and maximum part for SPLIT_PART."""

_MATCHES = ("like", "ilike", "rlike", "regexp")


@dataclass(frozen=True)
class Sql:
    """An accepted expression: its text for Polars, and its columns in order."""

    text: str
    columns: tuple[str, ...]


def parse(sql: str) -> Sql:
    """Parse an expression.

    Raises
    ------
    GrammarError
        If its words, functions, length or depth aren't allowed.
    """
    if len(sql) > MAX_CHARACTERS:
        raise GrammarError(f"it has {len(sql):,} characters, and may have {MAX_CHARACTERS:,}")
    parser = _Parser(tokens_of(sql))
    refuse_growth(parser.expression(0))
    if parser.current is not END:
        raise parser.unexpected_token()
    return Sql(" ".join(parser.output), tuple(dict.fromkeys(parser.columns)))


@dataclass
class _Parser:
    """Recursive descent; operator precedence is left to Polars, as it doesn't matter here."""

    tokens: list[Token]
    index: int = 0
    nodes: int = 0
    growth: int = 1
    output: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    @property
    def current(self) -> Token:
        return self.tokens[self.index] if self.index < len(self.tokens) else END

    @property
    def next_token(self) -> Token:
        return self.tokens[self.index + 1] if self.index + 1 < len(self.tokens) else END

    def consume(self, *words: str) -> Token:
        """Consume the next token, which must be one of these words or signs (any, if none)."""
        token = self.current
        if token is END or (words and token.lower not in words):
            raise self.unexpected_token(words)
        self.index += 1
        self.output.append(token.text)
        return token

    def accept(self, *words: str) -> bool:
        """Consume the next token if it is one of these."""
        if self.current.lower and self.current.lower in words:
            self.consume()
            return True
        return False

    def unexpected_token(self, words: tuple[str, ...] = ()) -> GrammarError:
        low = self.current.lower
        if low in {"select", "values", "with", "from", "exists", "union", "intersect", "except"}:
            return GrammarError(
                f"{self.current.text.upper()} reads a table",
                "An expression reads the columns of its row; a column of that name is written in "
                "double quotes.",
            )
        if low in {"over", "distinct", "any", "all", "some"}:
            return GrammarError(
                f"{self.current.text.upper()} reads other rows", reads_other_rows=True
            )
        expected = f" where {' or '.join(w.upper() for w in words)} should stand" if words else ""
        problem = (
            "it ends" if self.current is END else f"{self.current.text[:40]!r} is not expected"
        )
        return GrammarError(f"{problem}{expected or (' too early' if self.current is END else '')}")

    def count_node(self, depth: int = 0) -> None:
        """Count one more node, and check the limits of size and depth."""
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise GrammarError(
                f"it has more than {MAX_NODES} operators and functions",
                "Use `x IN (...)` for a chain of OR, or compute a part under `derive`.",
            )
        if depth > MAX_NESTING:
            raise GrammarError(f"it is nested more than {MAX_NESTING} deep")

    # -- operators and operands --------------------------------------------------------------

    def expression(self, depth: int) -> int:
        """Parse operands joined by operators; return the factor by which a text may grow."""
        before, self.growth = self.growth, 1
        self.operand(depth)
        while self.operator(depth):
            joins, so_far = self.output[-1] == "||", self.growth
            self.growth = 1
            self.operand(depth)
            self.growth = self.growth + so_far if joins else max(self.growth, so_far)
        here = self.growth
        self.growth = max(before, here)
        return here

    def operator(self, depth: int) -> bool:
        """Parse operators up to one that needs an operand after it; return whether there is one.

        Operators without a second operand (``::``, IS NULL) or with a list (IN) are complete.
        """
        while True:
            low = self.current.lower
            if low in OPERATORS or low in {"and", "or", "xor"}:
                self.count_node()
                self.consume()
                return True
            if low == "::":
                self.count_node()
                self.consume()
                self.type()
            elif low == "is":
                self.count_node()
                self.consume()
                self.accept("not")
                if self.accept("distinct"):
                    self.consume("from")
                    return True
                self.consume("null", "true", "false", "distinct")
            elif low in {"not", "in", "between", *_MATCHES}:
                self.count_node(depth + 1)
                self.accept("not")
                if self.consume("in", "between", *_MATCHES).lower != "in":
                    return True
                self.arguments(depth + 1)
            else:
                return False

    def operand(self, depth: int) -> None:
        """Parse a literal, a column, a function, a condition, or an expression in parentheses."""
        while self.current.lower in {"not", "-", "+"}:
            depth += 1
            self.count_node(depth)
            self.consume()
        if self.current.kind == "word":
            self.word(depth)
            return
        token, low = self.current, self.current.lower
        if token.kind in {"text", "number"}:
            self.consume()
            if token.kind == "number" and "." in token.text and "e" not in token.text.lower():
                # Polars would read a decimal, for which division by zero is an error.
                self.output[-1] = f"{token.text.rstrip('.')}e0"
        elif token.kind == "name":
            self.column(token.text[1:-1].replace(token.text[0] * 2, token.text[0]))
        elif low == "(":
            self.count_node(depth + 1)
            self.consume()
            self.expression(depth + 1)
            self.consume(")")
        else:
            raise self.unexpected_token()

    def word(self, depth: int) -> None:
        """Parse an operand that begins with a bare word."""
        token, low = self.current, self.current.lower
        if low in {"null", "true", "false"}:
            self.consume()
        elif low == "case":
            self.case(depth + 1)
        elif low in RESERVED_WORDS:
            raise self.unexpected_token()
        elif low == "interval" and self.next_token.kind in {"text", "number"}:
            self.interval()
        elif low in {"date", "timestamp", "datetime", "time"} and self.next_token.kind == "text":
            self.consume()
            self.consume()
        elif self.next_token.lower == "(":
            self.call(low, depth + 1)
        elif low in CLOCK_FUNCTIONS:
            raise clock_error(token.text)
        else:
            self.column(token.text)

    def column(self, name: str) -> None:
        """Parse a column, and write it in quotes."""
        if not is_selectable(name):
            raise GrammarError(f"{name!r} stands for many columns", "Name one column.")
        self.index += 1
        self.columns.append(name)
        self.output.append('"' + name.replace('"', '""') + '"')

    def interval(self) -> None:
        """Parse ``INTERVAL '2 hours'`` or ``INTERVAL 2 hours``."""
        self.consume()
        if self.consume().kind == "number":
            if self.current.kind != "word":
                raise self.unexpected_token()
            self.consume()

    def case(self, depth: int) -> None:
        """Parse ``CASE [x] WHEN y THEN z [ELSE w] END``."""
        self.count_node(depth)
        self.consume()
        if self.current.lower != "when":
            self.expression(depth)
        self.consume("when")
        while True:
            self.count_node(depth)
            self.expression(depth)
            self.consume("then")
            self.expression(depth)
            if not self.accept("when"):
                break
        if self.accept("else"):
            self.expression(depth)
        self.consume("end")

    def type(self) -> None:
        """Parse the name of a type, with its size in parentheses."""
        low = self.current.lower
        if low not in TYPES:
            raise GrammarError(
                f"{self.current.text[:40]!r} is no type of an expression",
                "BIGINT, DOUBLE, VARCHAR, BOOLEAN, DATE and TIMESTAMP are some.",
            )
        self.consume()
        if low == "double":
            self.accept("precision")
        if self.current.lower == "(":
            self.consume()
            self.number()
            if self.accept(","):
                self.number()
            self.consume(")")
        if low in {"timestamp", "time"} and self.accept("with", "without"):
            self.consume("time")
            self.consume("zone")

    def number(self) -> None:
        """Parse a number."""
        if self.current.kind != "number":
            raise self.unexpected_token()
        self.consume()

    # -- functions -----------------------------------------------------------------------------

    def call(self, name: str, depth: int) -> None:
        """Parse a call of an allowed function, and check its number of arguments."""
        self.count_node(depth)
        special = {
            "cast": self.cast,
            "try_cast": self.cast,
            "extract": self.extract,
            "trim": self.trim,
            "position": self.position,
            "substring": self.substring,
        }.get(name)
        if special is not None:
            self.consume()
            self.consume("(")
            special(depth)
            self.consume(")")
            return
        if name not in ARITIES:
            raise function_error(name)
        self.consume()
        arguments = self.arguments(depth)
        starts = [start for start, _, _ in arguments]
        check_argument_count(name, len(starts))
        if name in {"lpad", "rpad"}:
            self.check_width(name, starts[1])
        if name == "split_part":
            self.check_part(starts[2])
        grown = [(growth, self.tokens[start:end]) for start, end, growth in arguments]
        self.growth = max(self.growth, growth_of_call(name, grown))

    def check_part(self, start: int) -> None:
        """Refuse a part that isn't a literal number: Polars reads a column of parts across rows."""
        start += self.tokens[start].lower == "-"
        part, after = self.tokens[start], self.tokens[start + 1]
        if not (part.text.isdecimal() and after.lower == ")" and int(part.text) <= MAX_PAD_WIDTH):
            raise GrammarError(
                f"SPLIT_PART takes its part as a number of at most {MAX_PAD_WIDTH:,}"
            )

    def check_width(self, name: str, start: int) -> None:
        width, after = self.tokens[start], self.tokens[start + 1]
        is_literal = width.text.isdecimal() and after.lower in {",", ")"}
        if not is_literal or int(width.text) > MAX_PAD_WIDTH:
            raise GrammarError(f"{name.upper()} fills up to a number of at most {MAX_PAD_WIDTH:,}")

    def arguments(self, depth: int) -> list[tuple[int, int, int]]:
        """Parse expressions in parentheses, at least one: the begin, end and growth of each."""
        self.consume("(")
        if self.current.lower == ")":
            raise GrammarError("there is nothing between the parentheses")
        spans = list[tuple[int, int, int]]()
        while not spans or self.accept(","):
            begin = self.index
            growth = self.expression(depth)
            spans.append((begin, self.index, growth))
        self.consume(")")
        return spans

    def cast(self, depth: int) -> None:
        """Parse ``x AS type``."""
        self.expression(depth)
        self.consume("as")
        self.type()

    def extract(self, depth: int) -> None:
        """Parse ``field FROM x``."""
        if self.current.kind != "word":
            raise self.unexpected_token()
        self.consume()
        self.consume("from")
        self.expression(depth)

    def trim(self, depth: int) -> None:
        """Parse ``[BOTH | LEADING | TRAILING] [characters] FROM x``, or ``x``."""
        if self.next_token.lower != ")":
            self.accept("both", "leading", "trailing")
        if not self.accept("from"):
            self.expression(depth)
            if not self.accept("from"):
                return
        self.expression(depth)

    def position(self, depth: int) -> None:
        """Parse ``x IN y``."""
        self.operand(depth)
        self.consume("in")
        self.expression(depth)

    def substring(self, depth: int) -> None:
        """Parse ``x FROM y [FOR z]``."""
        self.expression(depth)
        if self.accept("from", ","):
            self.expression(depth)
            if self.accept("for", ","):
                self.expression(depth)
