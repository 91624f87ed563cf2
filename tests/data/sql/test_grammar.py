"""The SQL grammar of expressions: columns of one row, and functions of them."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.data.column_names import quote
from mlops_cli.data.sql.expressions import Expression
from mlops_cli.data.sql.functions import FUNCTIONS, RESERVED_WORDS
from mlops_cli.data.sql.grammar import MAX_NESTING, MAX_NODES
from mlops_cli.data.sql.row_independence import is_row_by_row
from mlops_cli.errors import BadParams

PLACE = "featurize.features.x"
SCHEMA = pl.Schema(
    {
        "price": pl.Float64(),
        "n": pl.Int64(),
        "channel": pl.String(),
        "note": pl.String(),
        "at": pl.Datetime("us", "UTC"),
        "day": pl.Date(),
        "paid": pl.Boolean(),
        "select": pl.Int64(),
    }
)
EXAMPLES = {
    "numbers": "price",
    "texts": "channel",
    "times": "at",
    "conditions": "price",
}
ARGUMENTS = {
    **dict.fromkeys(("bit_and", "bit_or", "bit_xor", "div", "mod"), "n, 3"),
    **dict.fromkeys(("bit_count", "bit_not"), "n"),
    **dict.fromkeys(("left", "right", "lpad", "rpad"), "channel, 3"),
    **dict.fromkeys(("date", "datetime", "timestamp", "strptime"), "note, '%Y-%m-%d %H:%M'"),
    "time": "note, '%H:%M'",
    "strftime": "at, '%H'",
    "date_part": "'hour', at",
    "split_part": "channel, ' ', 1",
    "substr": "channel, 1, 2",
    "replace": "channel, 'a', 'b'",
    "regexp_replace": "channel, 'a+', 'b'",
    "concat_ws": "'-', channel, note",
    "if": "paid, price, 0",
}


def refusal(sql: str, schema: pl.Schema = SCHEMA) -> BadParams:
    with pytest.raises(BadParams) as caught:
        Expression(sql, PLACE).result_type(schema)
    return caught.value


@pytest.mark.parametrize(
    "sql",
    [
        "price * 0 + COUNT(*)",
        "price * 0 + ROW_NUMBER()",
        "CASE WHEN paid THEN COUNT(*) ELSE 0 END",
        "CAST(COUNT(*) AS DOUBLE)",
        "price - (0 + SUM(price))",
        "ABS(price) OVER ()",
        "ABS(price) OVER w",
        "RANK() OVER (ORDER BY price)",
        "LAST_VALUE(price)",
        "ARRAY_AGG(price)",
        "UNNEST(price)",
        "price < ALL(price)",
        "price = ANY(price)",
        "price = SOME(price)",
        "CORR(price, n)",
        "COUNT(DISTINCT price)",
        "COLUMNS('^p.*$')",
    ],
)
def test_what_reads_other_rows_is_refused(sql: str) -> None:
    assert "looks at more than one row" in refusal(sql).message


@pytest.mark.parametrize(
    "sql",
    [
        "EXTRACT(epoch FROM now())",
        "CURRENT_TIMESTAMP",
        "current_date",
        "price + EXTRACT(hour FROM LOCALTIME)",
        "CAST(CURRENT_TIMESTAMP AS VARCHAR)",
        "Now()",
    ],
)
def test_what_reads_the_clock_is_refused(sql: str) -> None:
    assert "reads the clock" in refusal(sql).message


@pytest.mark.parametrize(
    "sql",
    [
        "channel IN (SELECT nothing FROM read_csv('{file}'))",
        "channel IN (select nothing from read_csv('http://127.0.0.1:9/allowed'))",
        "channel IN (/* */ SELECT /* */ nothing FROM read_csv('{file}'))",
        "channel IN (-- )\nSELECT nothing FROM read_csv('{file}'))",
        "channel IN ((SELECT nothing FROM read_csv('{file}')))",
        "CASE WHEN EXISTS (SELECT 1 FROM read_csv('{file}')) THEN 1 END",
        "(WITH t AS (SELECT 1) SELECT * FROM t)",
        "(VALUES (1))",
        "(FROM read_csv('{file}'))",
    ],
)
def test_what_reads_a_table_is_refused_before_it_is_opened(sql: str, tmp_path: Path) -> None:
    private = tmp_path / "private.csv"
    private.write_text("root:x:0:0\n")
    error = refusal(sql.format(file=private))
    assert "reads a table" in error.message
    assert "root:x" not in error.message


@pytest.mark.parametrize(
    "sql",
    [
        "RANDOM()",
        "UUID()",
        "PI()",
        "BIT_AND()",
        "read_csv('x')",
        '"abs"(price)',
        "price.field",
        "n[1]",
        "ARRAY[1]",
        "{'a': 1}",
        "E'x'",
        "$$x$$",
        "price p",
        "price AS p",
        "price; price",
        "*",
        '"*"',
        '"^p.*$"',
        "`^p.*$`",
        "channel -> 'x'",
        "(TABLE x)",
        "DATE(note)",
        "TIMESTAMP(note)",
        "LPAD(channel, 1000000000)",
        "LPAD(channel, n)",
        "LPAD(channel, 10 * 100000000)",
        "SPLIT_PART(note, ' ', n)",
        "SPLIT_PART(note, ' ', 1 + n)",
        "SPLIT_PART(note, ' ', ABS(1))",
        "SPLIT_PART(note, ' ', -9223372036854775808)",
        "NORMALIZE(note, NFC)",
        "NORMALIZE(note, 'NFC')",
        "CAST(n AS INT[])",
        "'unended",
        "/* unended",
        "price\x00",
        "",
    ],
)
def test_what_is_no_expression_is_refused_with_a_sentence(sql: str) -> None:
    error = refusal(sql)
    assert error.message.startswith(f"{PLACE} is not an expression: ")
    assert error.hint


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ('"select" + 1', 4),
        ("`select` + 1", 4),
        ("n -- as it is\n + 1", 4),
        ("n /* twice /* nested */ */ + 1", 4),
        ("'it''s ' || 'SELECT'", "it's SELECT"),
        ("CASE n WHEN 3 THEN 'x' ELSE 'y' END", "x"),
        ("n NOT BETWEEN 1 AND 2 AND n IS NOT NULL", True),
        ("n IN (3, 4) AND NOT n NOT IN (3)", True),
        ("n::DOUBLE // 2", 1.0),
        ("-n + - 1", -4),
        ("n IS NOT DISTINCT FROM 3", True),
        ("TRIM(BOTH '-' FROM '-a-')", "a"),
        ("SUBSTRING('abc' FROM 2 FOR 1)", "b"),
        ("POSITION('b' IN 'abc')", 2),
        ("SPLIT_PART('a b c', ' ', 2)", "b"),
        ("SPLIT_PART('a b c', ' ', -1)", "c"),
        ("TRY_CAST('x' AS DOUBLE PRECISION)", None),
        ("EXTRACT(isodow FROM DATE '2024-02-03')", 6),
    ],
)
def test_literals_quotes_comments_and_special_forms(sql: str, value: object) -> None:
    expression = Expression(sql, PLACE)
    frame = pl.DataFrame({"n": [3], "select": [3]})
    assert frame.with_columns(x=expression.checked_expr(frame.columns))["x"].to_list() == [value]


@pytest.mark.parametrize(
    "sql",
    [
        "(" * 10_000 + "price" + ")" * 10_000,
        "(" * 5_000 + "price" + ")" * 5_000,
        "- " * 9_000 + "price",
        "NOT " * 4_000 + "paid",
        "ABS(" * 3_000 + "price" + ")" * 3_000,
        "CASE WHEN paid THEN " * 500 + "1" + " END" * 500,
        " OR ".join(["n = 1"] * 2_000),
        "+".join(["n"] * 9_000),
        "n" + "::INT" * 3_000,
        "n" + " IS NULL" * 2_000,
        "CASE" + " WHEN n = 1 THEN 2" * 900 + " END",
        "n IN (" * 2_000 + "1" + ")" * 2_000,
        "9" * 19_000,
        "x" * 100_000,
        "TRIM(" * 2_000,
        "POSITION(" * 2_000,
        "/*" * 9_000,
    ],
)
def test_length_and_depth_are_bounded(sql: str) -> None:
    assert len(refusal(sql).message) < 500


TEN = "REPLACE({}, 'a', 'aaaaaaaaaa')"
LONGER = [
    TEN.format(TEN.format(TEN.format("note"))),
    "REGEXP_REPLACE(note, '.', '" + "$0" * 60 + "')",
    "REGEXP_REPLACE(" + TEN.format(TEN.format("note")) + ", 'x*', 'y')",
    "REPLACE(note, '', '" + "b" * 100 + "')",
    "REPLACE(note, 'a', '" + "''" * 101 + "')",
    "UPPER(CASE WHEN paid THEN " + TEN.format(TEN.format("note")) + " || note ELSE 'x' END)",
    TEN.format("CONCAT(" + ", ".join(["note"] * 11) + ")"),
    TEN.format("(" + " || ".join(["note"] * 11) + ")"),
    TEN.format("TRIM(BOTH 'x' FROM CAST(" + " || ".join(["note"] * 11) + " AS VARCHAR))"),
    "REPLACE(note, 'a', COALESCE(channel, ''))",
    "REGEXP_REPLACE(note, 'a', 'b' || 'c')",
]


@pytest.mark.parametrize("sql", LONGER)
def test_how_much_longer_a_text_becomes_is_bounded(sql: str) -> None:
    assert re.search("100 times longer|in quotes", refusal(sql).message)


def test_many_replacements_by_short_texts_are_taken() -> None:
    chain = "note"
    for sign in "abcdefghijkl":
        chain = f"REGEXP_REPLACE(REPLACE({chain}, '{sign}', ''), '[{sign}]+', '#')"
    assert Expression(chain, PLACE).result_type(SCHEMA) == pl.String()
    assert Expression(TEN.format(TEN.format("note")), PLACE).result_type(SCHEMA) == pl.String()


def test_within_the_bounds_everything_is_computed() -> None:
    nested = "(" * (MAX_NESTING - 1) + "n" + ")" * (MAX_NESTING - 1)
    for sql in (nested, "+".join(["n"] * MAX_NODES), "n IN (" + ", ".join("1" * 6_000) + ")"):
        assert Expression(sql, PLACE).result_type(SCHEMA)


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group, names in FUNCTIONS.items() for name in names]
)
def test_each_function_of_the_list_is_there_and_row_by_row(group: str, name: str) -> None:
    least, most = FUNCTIONS[group][name]
    arguments = ARGUMENTS.get(name, ", ".join([EXAMPLES[group]] * least))
    expression = Expression(f"{name}({arguments})", PLACE)
    expression.result_type(SCHEMA)
    refused = Expression(f"{name}({', '.join(['price'] * (most + 1))})", PLACE)
    with pytest.raises(BadParams, match="arguments, and takes"):
        refused.result_type(SCHEMA)


def test_the_document_lists_the_functions() -> None:
    page = (Path(__file__).parents[3] / "docs/params.md").read_text(encoding="utf-8")
    for group, names in FUNCTIONS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {group} |"))
        assert set(re.findall(r"`(\w+)`", row)) >= {name.upper() for name in names}
        special = {"EXTRACT", "TRIM", "POSITION", "SUBSTRING", "CAST", "TRY_CAST"}
        assert set(re.findall(r"`(\w+)`", row)) - {name.upper() for name in names} <= special


@pytest.mark.parametrize("word", sorted(RESERVED_WORDS))
def test_a_column_with_a_word_of_the_grammar_is_quoted_by_init(word: str) -> None:
    schema = pl.Schema({word: pl.Int64()})
    assert Expression(f"{quote(word)} + 1", PLACE).result_type(schema) == pl.Int64()


@pytest.mark.parametrize(
    "made",
    [
        pl.col("n").sum(),
        pl.col("n") * 0 + pl.len(),
        pl.col("n").shift(),
        pl.col("n").reverse(),
        pl.col("n").cum_sum(),
        pl.col("n").rank(),
        pl.col("n").sort(),
        pl.col("n").first(),
        pl.int_range(pl.len()),
        pl.col("n").map_batches(lambda n: n + len(n), return_dtype=pl.Int64),
    ],
)
def test_made_up_rows_show_what_is_not_row_by_row(made: pl.Expr) -> None:
    assert not is_row_by_row(made, pl.Schema({"n": pl.Int64()}))


SIGNS = (
    "( ) ( ) , + - * / // % || :: = <> < >= ~ -- /* */ ' \" ` . ; [ ] { } $ 1 2.5 1e9 0 "
    "9999999999999999999 CASE WHEN THEN ELSE END AND OR NOT IN IS NULL TRUE BETWEEN LIKE ILIKE "
    "CAST( AS TRY_CAST( DOUBLE VARCHAR BIGINT DATE TIMESTAMP FROM FOR EXTRACT( hour epoch INTERVAL "
    "DISTINCT SELECT VALUES OVER COUNT( TRIM( SUBSTRING( POSITION( (n) (price) (channel)"
)
TEXTS = ("'a'", "'2024-02-03'", "'1 day'", "'%Y'", '"select"')
CALLS = tuple(f"{name.upper()}(" for names in FUNCTIONS.values() for name in names)
WORDS = (*SCHEMA, *SIGNS.split(), *TEXTS, *CALLS)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.one_of(
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join),
        st.text(max_size=40),
    )
)
def test_no_text_ends_unexpectedly(sql: str) -> None:
    message = PLACE
    try:
        Expression(sql, PLACE).result_type(SCHEMA)
    except BadParams as error:
        message = error.message
    assert message.startswith(PLACE)


LEAVES = (*SCHEMA, "1", "2.5", "NULL", "TRUE", "INTERVAL '1 day'", *TEXTS)
INFIX = ("+", "-", "*", "/", "//", "%", "=", "<", "||")
PREFIX = ("ABS", "CEIL", "EXP", "LN", "SQRT", "UPPER", "LENGTH", "REVERSE", "YEAR", "HOUR", "ROUND")
FORMED = st.recursive(
    st.sampled_from(LEAVES).map(lambda leaf: '"select"' if leaf == "select" else leaf),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(INFIX), inner),
        st.builds("{}({})".format, st.sampled_from(PREFIX), inner),
        st.builds("CASE WHEN {} THEN {} ELSE {} END".format, inner, inner, inner),
        st.builds("GREATEST({}, {})".format, inner, inner),
        st.builds("NULLIF({}, {})".format, inner, inner),
        st.builds("CAST({} AS {})".format, inner, st.sampled_from(["DOUBLE", "VARCHAR", "BIGINT"])),
        st.builds("TRY_CAST({} AS {})".format, inner, st.sampled_from(["DOUBLE", "DATE", "INT"])),
        st.builds("({} IN ({}, {}))".format, inner, inner, inner),
    ),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("price IN (channel, NULL)", "cannot compare string with numeric type"),
        ("CASE WHEN price = n THEN 1 ELSE at END", "its values are of several types"),
    ],
)
def test_types_that_do_not_fit_together_are_the_reason(sql: str, reason: str) -> None:
    message = refusal(sql).message
    assert "cannot be computed" in message
    assert reason in message


@settings(max_examples=200, deadline=None, derandomize=True)
@given(FORMED)
def test_what_the_grammar_accepts_passes_the_proof(sql: str) -> None:
    message = ""
    try:
        Expression(sql, PLACE).result_type(SCHEMA)
    except BadParams as error:
        message = error.message
    assert "more than one row" not in message


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("1.0 / x", [float("inf"), 0.5]),
        ("x * .5", [0.0, 1.0]),
        ("x + 1.", [1.0, 3.0]),
        ("x > 0.5", [False, True]),
        ("x IN (0.5, 2.0)", [False, True]),
        ("x BETWEEN 0.5 AND 2.5", [False, True]),
        ("ROUND(x * 0.15, 1)", [0.0, 0.3]),
        ("-1.5 * x", [-0.0, -3.0]),
    ],
)
def test_numbers_with_a_point_are_floats_not_decimals(sql, values):

    rows = pl.DataFrame({"x": [0, 2]})
    assert rows.select(Expression(sql, "here").expr.alias("y"))["y"].to_list() == values


@pytest.mark.parametrize("first", ["c", "a"])
def test_what_takes_a_missing_value_among_others_but_not_alone_is_not_row_by_row(
    first: str,
) -> None:
    # Alone, REPLACE by a missing value is an error; wherever that value stands in the made-up rows.
    schema = pl.Schema({name: pl.String() for name in ("c", "b", "a")})
    made = pl.concat_str(pl.col(first), pl.col("b"), pl.col("c").str.replace_all("x", pl.col("a")))
    assert not is_row_by_row(made, schema)
