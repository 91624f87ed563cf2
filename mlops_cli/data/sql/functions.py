"""Allowed words of an expression: functions, types and operators.

A function is allowed if its result for a row depends on that row alone: it must not read other
rows, other tables, files, the clock or the session, and must not be random. docs/params.md has the
same list, and a test compares the two.
"""

from __future__ import annotations

from mlops_cli.data.sql.tokens import GrammarError

__all__ = [
    "ARITIES",
    "CLOCK_FUNCTIONS",
    "CROSS_ROW_FUNCTIONS",
    "FUNCTIONS",
    "OPERATORS",
    "RESERVED_WORDS",
    "TYPES",
    "check_argument_count",
    "clock_error",
    "function_error",
]

_UNLIMITED = 100


def _args(names: str, least: int, most: int) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(names.split(), (least, most))


FUNCTIONS: dict[str, dict[str, tuple[int, int]]] = {
    "numbers": {
        **_args("abs acos acosd asin asind atan atand bit_count bit_not cbrt ceil ceiling", 1, 1),
        **_args("cos cosd cot cotd degrees exp floor ln log10 log1p log2 radians sign sin", 1, 1),
        **_args("sind sqrt tan tand", 1, 1),
        **_args("atan2 atan2d bit_and bit_or bit_xor div log mod pow power", 2, 2),
        **_args("round trunc truncate", 1, 2),
    },
    "texts": {
        **_args("bit_length char_length character_length initcap length lower", 1, 1),
        **_args("normalize octet_length reverse upper", 1, 1),
        **_args("ltrim rtrim", 1, 2),
        **_args("ends_with left right starts_with strpos", 2, 2),
        **_args("lpad rpad regexp_like substr", 2, 3),
        **_args("regexp_replace replace split_part", 3, 3),
        **_args("concat", 1, _UNLIMITED),
        **_args("concat_ws", 2, _UNLIMITED),
    },
    "times": {
        **_args("date datetime strftime strptime time timestamp date_part", 2, 2),
        **_args("year quarter month week day dayofweek hour minute second", 1, 1),
    },
    "conditions": {
        **_args("coalesce greatest least", 1, _UNLIMITED),
        **_args("ifnull nullif", 2, 2),
        **_args("if", 3, 3),
    },
}
"""Group -> function -> minimum and maximum number of arguments."""

ARITIES = {name: bounds for group in FUNCTIONS.values() for name, bounds in group.items()}
"""Function -> minimum and maximum number of arguments."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TYPES = _words(
    "bigint bool boolean char character date datetime decimal double float float4 float8 int int2 "
    "int4 int8 integer numeric real smallint string text time timestamp tinyint varchar"
)
"""Types that CAST, TRY_CAST and ``::`` accept."""

OPERATORS = _words("+ - * / // % = == != <> < <= > >= <=> & | || ~ ~* !~ !~* ~~ ~~* !~~ !~~* ^@")

RESERVED_WORDS = _words(
    "select values with from exists union intersect except over where having qualify group order "
    "limit window and or xor not is in between like ilike rlike regexp as case when then else end "
    "null true false distinct any all some"
)
"""Words that name a column only in double quotes."""

CLOCK_FUNCTIONS = _words(
    "current_date current_time current_timestamp localtime localtimestamp now today"
)

CROSS_ROW_FUNCTIONS = _words(
    "any_value array_agg avg corr count covar covar_pop covar_samp cume_dist dense_rank first "
    "first_value lag last last_value lead len max mean median min mode ntile percent_rank product "
    "quantile_cont quantile_disc rank row_number std stddev stdev string_agg sum unnest var "
    "variance"
)
"""Functions that read other rows; they are refused with a message of their own."""


def check_argument_count(name: str, count: int) -> None:
    """Check the number of arguments of an allowed function.

    Raises
    ------
    GrammarError
        If the function takes another number of them.
    """
    least, most = ARITIES[name]
    if not least <= count <= most:
        takes = f"{least} to {most}" if most != least else f"{least}"
        takes = f"at least {least}" if most == _UNLIMITED else takes
        hint = (
            "Give the format, such as DATE(x, '%Y-%m-%d'): without one it is guessed from "
            "other rows."
            if name in {"date", "datetime", "time", "timestamp"}
            else ""
        )
        raise GrammarError(f"{name.upper()} has {count} arguments, and takes {takes}", hint)


def function_error(name: str) -> GrammarError:
    """The error for a function that is not allowed."""
    if name in CLOCK_FUNCTIONS:
        return clock_error(name)
    if name in CROSS_ROW_FUNCTIONS or name == "columns":
        return GrammarError(f"{name.upper()} reads other rows or columns", reads_other_rows=True)
    return GrammarError(
        f"{name.upper()[:40]} is not a function of an expression",
        "docs/params.md lists the functions that there are.",
    )


def clock_error(name: str) -> GrammarError:
    """The error for a function that reads the clock."""
    return GrammarError(
        f"{name.upper()} reads the clock",
        "The same data must give the same features: use a column with a time.",
    )
