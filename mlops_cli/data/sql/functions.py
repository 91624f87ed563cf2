"""The words of an expression: its functions, types and operators, and no others.

A function stands here if its result for a row follows from that row alone: nothing that reads other
rows, other tables, files, the clock or the session, and nothing random. docs/params.md has the same
list, and a test compares the two.
"""

from __future__ import annotations

__all__ = ["CLOCK", "FUNCTIONS", "OPERATORS", "OTHER_ROWS", "RESERVED", "TYPES"]

_ANY = 100


def _each(names: str, least: int, most: int) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(names.split(), (least, most))


FUNCTIONS: dict[str, dict[str, tuple[int, int]]] = {
    "numbers": {
        **_each("abs acos acosd asin asind atan atand bit_count bit_not cbrt ceil ceiling", 1, 1),
        **_each("cos cosd cot cotd degrees exp floor ln log10 log1p log2 radians sign sin", 1, 1),
        **_each("sind sqrt tan tand", 1, 1),
        **_each("atan2 atan2d bit_and bit_or bit_xor div log mod pow power", 2, 2),
        **_each("round trunc truncate", 1, 2),
    },
    "texts": {
        **_each("bit_length char_length character_length initcap length lower", 1, 1),
        **_each("normalize octet_length reverse upper", 1, 1),
        **_each("ltrim rtrim", 1, 2),
        **_each("ends_with left right starts_with strpos", 2, 2),
        **_each("lpad rpad regexp_like substr", 2, 3),
        **_each("regexp_replace replace split_part", 3, 3),
        **_each("concat", 1, _ANY),
        **_each("concat_ws", 2, _ANY),
    },
    "times": {
        **_each("date datetime strftime strptime time timestamp date_part", 2, 2),
        **_each("year quarter month week day dayofweek hour minute second", 1, 1),
    },
    "conditions": {
        **_each("coalesce greatest least", 1, _ANY),
        **_each("ifnull nullif", 2, 2),
        **_each("if", 3, 3),
    },
}
"""Group -> function -> the least and most arguments."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


TYPES = _words(
    "bigint bool boolean char character date datetime decimal double float float4 float8 int int2 "
    "int4 int8 integer numeric real smallint string text time timestamp tinyint varchar"
)
"""What CAST, TRY_CAST and ``::`` take."""

OPERATORS = _words("+ - * / // % = == != <> < <= > >= <=> & | || ~ ~* !~ !~* ~~ ~~* !~~ !~~* ^@")

RESERVED = _words(
    "select values with from exists union intersect except over where having qualify group order "
    "limit window and or xor not is in between like ilike rlike regexp as case when then else end "
    "null true false distinct any all some"
)
"""Words that name a column only in double quotes."""

CLOCK = _words("current_date current_time current_timestamp localtime localtimestamp now today")

OTHER_ROWS = _words(
    "any_value array_agg avg corr count covar covar_pop covar_samp cume_dist dense_rank first "
    "first_value lag last last_value lead len max mean median min mode ntile percent_rank product "
    "quantile_cont quantile_disc rank row_number std stddev stdev string_agg sum unnest var "
    "variance"
)
"""Functions that are refused with a sentence of their own."""
