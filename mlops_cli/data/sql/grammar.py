"""The grammar of an expression: what of SQL is read, before Polars sees any of it.

Polars' own grammar has subqueries, table functions, windows and the clock. This one has none of
them, so that an expression can read the columns of its row and nothing else. What it accepts is
written anew, without comments and with each column in quotes, and only that reaches Polars.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mlops_cli.data.sql.functions import CLOCK, FUNCTIONS, OPERATORS, OTHER_ROWS, RESERVED, TYPES
from mlops_cli.data.sql.growth import growth_of_call, refuse_growth
from mlops_cli.data.sql.tokens import END, GrammarError, Token, is_selectable, tokens_of

__all__ = ["LONGEST", "MOST_NESTED", "MOST_NODES", "GrammarError", "Sql", "parse"]

LONGEST = 20_000
"""Characters of one expression."""
MOST_NESTED = 32
"""Parentheses, functions and conditions within each other."""
MOST_NODES = 200
"""Operators, functions, casts and conditions: Polars' work grows with the cube of a chain."""
WIDEST_PAD = 1_000
"""Characters to which LPAD and RPAD fill up, and parts that SPLIT_PART counts."""

_ARITIES = {name: bounds for group in FUNCTIONS.values() for name, bounds in group.items()}
_MATCHES = ("like", "ilike", "rlike", "regexp")


@dataclass(frozen=True)
class Sql:
    """An accepted expression: its text for Polars, and the columns that it names, in order."""

    text: str
    columns: tuple[str, ...]


def parse(sql: str) -> Sql:
    """Read an expression.

    Raises
    ------
    GrammarError
        If it isn't one: by its words, its functions, its length or its depth.
    """
    if len(sql) > LONGEST:
        raise GrammarError(f"it has {len(sql):,} characters, and may have {LONGEST:,}")
    parser = _Parser(tokens_of(sql))
    refuse_growth(parser.expression(0))
    if parser.now is not END:
        raise parser.unexpected()
    return Sql(" ".join(parser.out), tuple(dict.fromkeys(parser.columns)))


@dataclass
class _Parser:
    """Recursive descent; how operators bind is left to Polars, as it changes nothing here."""

    tokens: list[Token]
    at: int = 0
    nodes: int = 0
    growth: int = 1
    out: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    @property
    def now(self) -> Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else END

    @property
    def following(self) -> Token:
        return self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else END

    def take(self, *words: str) -> Token:
        """The next token, which has to be one of these words or signs (any, if none is given)."""
        token = self.now
        if token is END or (words and token.low not in words):
            raise self.unexpected(words)
        self.at += 1
        self.out.append(token.text)
        return token

    def goes_on(self, *words: str) -> bool:
        """Take the next token if it is one of these."""
        if self.now.low and self.now.low in words:
            self.take()
            return True
        return False

    def unexpected(self, words: tuple[str, ...] = ()) -> GrammarError:
        low = self.now.low
        if low in {"select", "values", "with", "from", "exists", "union", "intersect", "except"}:
            return GrammarError(
                f"{self.now.text.upper()} reads a table",
                "An expression reads the columns of its row; a column of that name is written in "
                "double quotes.",
            )
        if low in {"over", "distinct", "any", "all", "some"}:
            return GrammarError(f"{self.now.text.upper()} reads other rows", other_rows=True)
        wanted = f" where {' or '.join(w.upper() for w in words)} should stand" if words else ""
        what = "it ends" if self.now is END else f"{self.now.text[:40]!r} is not expected"
        return GrammarError(f"{what}{wanted or (' too early' if self.now is END else '')}")

    def count(self, depth: int = 0) -> None:
        """Count one more node, at a depth."""
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise GrammarError(
                f"it has more than {MOST_NODES} operators and functions",
                "Use `x IN (...)` for a chain of OR, or compute a part under `derive`.",
            )
        if depth > MOST_NESTED:
            raise GrammarError(f"it is nested more than {MOST_NESTED} deep")

    # -- what stands between operators -------------------------------------------------------

    def expression(self, depth: int) -> int:
        """Operands with operators between them; gives by how much a text may grow."""
        before, self.growth = self.growth, 1
        self.operand(depth)
        while self.operator(depth):
            joins, so_far = self.out[-1] == "||", self.growth
            self.growth = 1
            self.operand(depth)
            self.growth = self.growth + so_far if joins else max(self.growth, so_far)
        here = self.growth
        self.growth = max(before, here)
        return here

    def operator(self, depth: int) -> bool:
        """An operator that an operand follows; those that end by themselves are taken whole."""
        while True:
            low = self.now.low
            if low in OPERATORS or low in {"and", "or", "xor"}:
                self.count()
                self.take()
                return True
            if low == "::":
                self.count()
                self.take()
                self.type()
            elif low == "is":
                self.count()
                self.take()
                self.goes_on("not")
                if self.goes_on("distinct"):
                    self.take("from")
                    return True
                self.take("null", "true", "false", "distinct")
            elif low in {"not", "in", "between", *_MATCHES}:
                self.count(depth + 1)
                self.goes_on("not")
                if self.take("in", "between", *_MATCHES).low != "in":
                    return True
                self.arguments(depth + 1)
            else:
                return False

    def operand(self, depth: int) -> None:
        """A value: a literal, a column, a function, a condition, or what stands in parentheses."""
        while self.now.low in {"not", "-", "+"}:
            depth += 1
            self.count(depth)
            self.take()
        if self.now.kind == "word":
            self.word(depth)
            return
        token, low = self.now, self.now.low
        if token.kind in {"text", "number"}:
            self.take()
            if token.kind == "number" and "." in token.text and "e" not in token.text.lower():
                # Polars would make a decimal of it, whose division by zero is an error.
                self.out[-1] = f"{token.text.rstrip('.')}e0"
        elif token.kind == "name":
            self.column(token.text[1:-1].replace(token.text[0] * 2, token.text[0]))
        elif low == "(":
            self.count(depth + 1)
            self.take()
            self.expression(depth + 1)
            self.take(")")
        else:
            raise self.unexpected()

    def word(self, depth: int) -> None:
        """What begins with a bare word."""
        token, low = self.now, self.now.low
        if low in {"null", "true", "false"}:
            self.take()
        elif low == "case":
            self.case(depth + 1)
        elif low in RESERVED:
            raise self.unexpected()
        elif low == "interval" and self.following.kind in {"text", "number"}:
            self.interval()
        elif low in {"date", "timestamp", "datetime", "time"} and self.following.kind == "text":
            self.take()
            self.take()
        elif self.following.low == "(":
            self.call(low, depth + 1)
        elif low in CLOCK:
            raise _clock(token.text)
        else:
            self.column(token.text)

    def column(self, name: str) -> None:
        """A column, which is written in quotes."""
        if not is_selectable(name):
            raise GrammarError(f"{name!r} stands for many columns", "Name one column.")
        self.at += 1
        self.columns.append(name)
        self.out.append('"' + name.replace('"', '""') + '"')

    def interval(self) -> None:
        """INTERVAL '2 hours', or INTERVAL 2 hours."""
        self.take()
        if self.take().kind == "number":
            if self.now.kind != "word":
                raise self.unexpected()
            self.take()

    def case(self, depth: int) -> None:
        """CASE [x] WHEN y THEN z [ELSE w] END."""
        self.count(depth)
        self.take()
        if self.now.low != "when":
            self.expression(depth)
        self.take("when")
        while True:
            self.count(depth)
            self.expression(depth)
            self.take("then")
            self.expression(depth)
            if not self.goes_on("when"):
                break
        if self.goes_on("else"):
            self.expression(depth)
        self.take("end")

    def type(self) -> None:
        """A type's name, with its size in parentheses."""
        low = self.now.low
        if low not in TYPES:
            raise GrammarError(
                f"{self.now.text[:40]!r} is no type of an expression",
                "BIGINT, DOUBLE, VARCHAR, BOOLEAN, DATE and TIMESTAMP are some.",
            )
        self.take()
        if low == "double":
            self.goes_on("precision")
        if self.now.low == "(":
            self.take()
            self.number()
            if self.goes_on(","):
                self.number()
            self.take(")")
        if low in {"timestamp", "time"} and self.goes_on("with", "without"):
            self.take("time")
            self.take("zone")

    def number(self) -> None:
        """A number as it stands."""
        if self.now.kind != "number":
            raise self.unexpected()
        self.take()

    # -- functions -----------------------------------------------------------------------------

    def call(self, name: str, depth: int) -> None:
        """A function of the list, with as many arguments as it takes."""
        self.count(depth)
        special = {
            "cast": self.cast,
            "try_cast": self.cast,
            "extract": self.extract,
            "trim": self.trim,
            "position": self.position,
            "substring": self.substring,
        }.get(name)
        if special is not None:
            self.take()
            self.take("(")
            special(depth)
            self.take(")")
            return
        if name not in _ARITIES:
            raise _refused(name)
        self.take()
        arguments = self.arguments(depth)
        begins = [at for at, _, _ in arguments]
        least, most = _ARITIES[name]
        if not least <= len(begins) <= most:
            takes = f"{least} to {most}" if most != least else f"{least}"
            takes = f"at least {least}" if most == _ARITIES["concat"][1] else takes
            hint = (
                "Give the format, such as DATE(x, '%Y-%m-%d'): without one it is guessed from "
                "other rows."
                if name in {"date", "datetime", "time", "timestamp"}
                else ""
            )
            raise GrammarError(
                f"{name.upper()} has {len(begins)} arguments, and takes {takes}", hint
            )
        if name in {"lpad", "rpad"}:
            self.check_width(name, begins[1])
        if name == "split_part":
            self.check_part(begins[2])
        grown = [(growth, self.tokens[at:end]) for at, end, growth in arguments]
        self.growth = max(self.growth, growth_of_call(name, grown))

    def check_part(self, at: int) -> None:
        """Refuse a part that isn't written as a number: a column of them is read across rows."""
        at += self.tokens[at].low == "-"
        part, after = self.tokens[at], self.tokens[at + 1]
        if not (part.text.isdecimal() and after.low == ")" and int(part.text) <= WIDEST_PAD):
            raise GrammarError(f"SPLIT_PART takes its part as a number of at most {WIDEST_PAD:,}")

    def check_width(self, name: str, at: int) -> None:
        width, after = self.tokens[at], self.tokens[at + 1]
        plain = width.text.isdecimal() and after.low in {",", ")"}
        if not plain or int(width.text) > WIDEST_PAD:
            raise GrammarError(f"{name.upper()} fills up to a number of at most {WIDEST_PAD:,}")

    def arguments(self, depth: int) -> list[tuple[int, int, int]]:
        """Expressions in parentheses, at least one: where each begins and ends, and its growth."""
        self.take("(")
        if self.now.low == ")":
            raise GrammarError("there is nothing between the parentheses")
        read = list[tuple[int, int, int]]()
        while not read or self.goes_on(","):
            begin = self.at
            growth = self.expression(depth)
            read.append((begin, self.at, growth))
        self.take(")")
        return read

    def cast(self, depth: int) -> None:
        """X AS type."""
        self.expression(depth)
        self.take("as")
        self.type()

    def extract(self, depth: int) -> None:
        """Field FROM x."""
        if self.now.kind != "word":
            raise self.unexpected()
        self.take()
        self.take("from")
        self.expression(depth)

    def trim(self, depth: int) -> None:
        """[BOTH | LEADING | TRAILING] [characters] FROM x, or x."""
        if self.following.low != ")":
            self.goes_on("both", "leading", "trailing")
        if not self.goes_on("from"):
            self.expression(depth)
            if not self.goes_on("from"):
                return
        self.expression(depth)

    def position(self, depth: int) -> None:
        """X IN y."""
        self.operand(depth)
        self.take("in")
        self.expression(depth)

    def substring(self, depth: int) -> None:
        """X FROM y [FOR z]."""
        self.expression(depth)
        if self.goes_on("from", ","):
            self.expression(depth)
            if self.goes_on("for", ","):
                self.expression(depth)


def _refused(name: str) -> GrammarError:
    if name in CLOCK:
        return _clock(name)
    if name in OTHER_ROWS or name == "columns":
        return GrammarError(f"{name.upper()} reads other rows or columns", other_rows=True)
    return GrammarError(
        f"{name.upper()[:40]} is not a function of an expression",
        "docs/params.md lists the functions that there are.",
    )


def _clock(name: str) -> GrammarError:
    return GrammarError(
        f"{name.upper()} reads the clock",
        "The same data must give the same features: use a column with a time.",
    )
