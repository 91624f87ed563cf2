"""Cleaning: replaced values keep the column's type, and NaN becomes missing."""

from __future__ import annotations

import polars as pl
import pytest

from mlops_cli.errors import BadParams
from mlops_cli.features.cleaning import cleaning_expressions
from mlops_cli.params.featurize import CleanRule

SCHEMA = {"price": pl.Float64(), "size": pl.Int64(), "name": pl.String(), "sold": pl.Boolean()}


def repaired(frame: pl.DataFrame, *rules: dict[str, str], source: str = "homes") -> pl.DataFrame:
    given = [CleanRule.model_validate({"source": source, "set": rule}) for rule in rules]
    for replaced in cleaning_expressions("homes", given, SCHEMA):
        frame = frame.with_columns(replaced.values())
    return frame


HOMES = pl.DataFrame(
    {"price": [0.0, -4.0, 9.0], "size": [0, 2, 3], "name": [" a", "b", None], "sold": None},
    schema=SCHEMA,
)


def test_values_are_replaced_rule_by_rule() -> None:
    found = repaired(HOMES, {"name": "TRIM(name)"}, {"name": "UPPER(name)", "size": "size + 1"})
    assert found["name"].to_list() == ["A", "B", None]
    assert found["size"].to_list() == [1, 3, 4]


def test_of_nothing_by_nothing_and_of_a_root_below_zero_nothing_is_left() -> None:
    assert repaired(HOMES, {"price": "price / size"})["price"].to_list() == [None, -2.0, 3.0]
    assert repaired(HOMES, {"price": "SQRT(price)"})["price"].to_list() == [0.0, None, 3.0]


def test_whole_numbers_become_the_columns_numbers_and_null_is_of_any_type() -> None:
    found = repaired(HOMES, {"price": "size", "name": "NULL", "size": "LENGTH(name)"})
    assert found.schema == HOMES.schema
    assert found["price"].to_list() == [0.0, 2.0, 3.0]
    assert found["name"].null_count() == HOMES.height


def test_rules_of_other_sources_are_not_for_this_one() -> None:
    assert repaired(HOMES, {"name": "TRIM(name)"}, source="streets").equals(HOMES)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"size": "price / 2"}, "set.size gives the type number, and size is of type integer"),
        ({"sold": "name"}, "gives the type string, and sold is of type boolean"),
        ({"pricee": "price"}, "featurize.clean.0.set.pricee replaces a column that is not there"),
        ({"price": "width * 2"}, "reads the column 'width'"),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused(rule: dict[str, str], said: str) -> None:
    with pytest.raises(BadParams) as error:
        repaired(HOMES, rule)
    assert said in error.value.message
