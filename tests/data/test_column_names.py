"""Column names: quoting in SQL, and names of features."""

from __future__ import annotations

import polars as pl
import pytest

from mlops_cli.data.column_names import feature_name, project_name, quote
from mlops_cli.data.sql.tokens import is_selectable
from mlops_cli.params.base import LONGEST_NAME

ODD = ["mean radius", 'say "so"', "it's", "a.b", "Größe", "年齢", "_x", "Upper", "select", "end"]
ODD += ["user", "date", "interval", "true", "null", "a\\b", "back`tick", "50%", "${x}", "a: b"]


@pytest.mark.parametrize("name", ODD)
def test_a_quoted_name_selects_exactly_its_column(name):
    frame = pl.DataFrame({name: [1], "other": [2]})
    assert frame.select(pl.sql_expr(quote(name)).alias("x"))["x"].to_list() == [1]


@pytest.mark.parametrize("name", ODD)
def test_a_feature_name_is_one_word_without_a_leading_underscore(name):
    made = feature_name(name)
    assert made.isidentifier()
    assert not made.startswith("_")


def test_names_that_need_no_quotes_have_none():
    assert quote("mean_radius") == "mean_radius"


def test_names_that_fall_together_are_numbered():
    assert feature_name("Mean-Radius", {"mean_radius"}) == "mean_radius_2"
    assert feature_name("%", {"x"}) == "x_2"


@pytest.mark.parametrize("name", ["*", "^a.*$"])
def test_patterns_are_known_as_such(name):
    assert not is_selectable(name)


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("Churn_2024 (v2)", "churn-2024-v2"),
        ("2nd", "project-2nd"),
        ("", "project"),
        ("x", "project-x"),
    ],
)
def test_a_projects_name_has_small_letters_digits_and_hyphens(folder, expected):
    assert project_name(folder) == expected


def test_a_project_s_name_is_never_longer_than_a_setting_may_be():
    assert project_name("a" * 255) == "a" * LONGEST_NAME
    assert project_name("7" + "a" * 255).startswith("project-7a")
    assert len(project_name("7" + "a" * 255)) == LONGEST_NAME
    assert not project_name("a" * (LONGEST_NAME - 1) + "-b").endswith("-")
