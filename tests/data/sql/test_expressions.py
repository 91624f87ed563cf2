"""SQL expressions: what is accepted, and error messages."""

from __future__ import annotations

import polars as pl
import pytest

from mlops_cli.data.sql.expressions import Expression
from mlops_cli.errors import BadParams

PLACE = "featurize.features.x"


def test_reads_the_columns_it_names_once_each() -> None:
    assert Expression("a + b * a", PLACE).columns == ("a", "b")


def test_a_quoted_name_may_hold_spaces_and_dots() -> None:
    assert Expression('"mean radius" + "a.b"', PLACE).columns == ("mean radius", "a.b")


def test_syntax_error_names_place_and_text() -> None:
    with pytest.raises(BadParams, match=r"featurize\.features\.x is not an expression: 'a \+'"):
        _ = Expression("a +", PLACE).expr


@pytest.mark.parametrize(
    "sql",
    [
        "SUM(a)",
        "a - AVG(a)",
        "SUM(a) OVER (PARTITION BY b)",
        "LAG(a) OVER (ORDER BY b)",
        "COUNT(a)",
        "a * INTERVAL '1 hour' + SUM(a)",
    ],
)
def test_looking_at_other_rows_is_refused(sql: str) -> None:
    with pytest.raises(BadParams, match="looks at more than one row"):
        Expression(sql, PLACE).result_type(pl.Schema({"a": pl.Int64(), "b": pl.Int64()}))


def test_unknown_column_suggests_the_nearest() -> None:
    with pytest.raises(BadParams, match="reads the column 'carier'") as caught:
        Expression("carier", PLACE).checked_expr(["carrier", "origin"])
    assert caught.value.hint == "Did you mean 'carrier'?"


def test_types_that_do_not_fit_are_told() -> None:
    with pytest.raises(BadParams, match="cannot be computed"):
        Expression("EXTRACT(hour FROM a)", PLACE).result_type(pl.Schema({"a": pl.Int64()}))


def test_time_arithmetic_with_columns_works() -> None:
    schema = pl.Schema({"t": pl.Datetime("us", "UTC"), "m": pl.Float64()})
    expression = Expression("t + (m + 90) * INTERVAL '1 minute'", PLACE)
    assert expression.result_type(schema) == pl.Datetime("us", "UTC")
