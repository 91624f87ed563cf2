"""Slices of a column: single values, or ranges of numbers."""

import datetime as dt
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.metrics.slices import MAX_DISTINCT_VALUES, slices


def shown(column):
    return {part.value: part.rows.tolist() for part in slices(column)}


def test_texts_are_their_own_slices_in_order_with_the_missing_last():
    found = slices(pl.Series(["b", None, "a", "b"]))
    assert [(p.value, p.rows.tolist()) for p in found] == [("a", [2]), ("b", [0, 3]), (None, [1])]


def test_booleans_and_few_numbers_keep_their_values():
    assert shown(pl.Series([True, False, True])) == {False: [1], True: [0, 2]}
    assert shown(pl.Series([3, 1, 3])) == {1: [1], 3: [0, 2]}


def test_nan_counts_as_missing():
    assert shown(pl.Series([1.0, float("nan"), None])) == {1.0: [0], None: [1, 2]}


def test_many_numbers_are_cut_at_their_quartiles():
    found = slices(pl.Series(range(100)))
    assert [p.value for p in found] == ["< 25", "[25, 50)", "[50, 75)", ">= 75"]
    assert [len(p.rows) for p in found] == [25, 25, 25, 25]


def test_many_texts_are_not_cut():
    assert (
        len(slices(pl.Series([f"t{i}" for i in range(MAX_DISTINCT_VALUES + 10)])))
        == MAX_DISTINCT_VALUES + 10
    )


def test_many_dates_are_cut_and_few_are_written_as_text():
    days = [dt.date(2024, 1, 1) + dt.timedelta(i) for i in range(40)]
    assert slices(pl.Series(days))[0].value == "< 2024-01-11"
    assert shown(pl.Series(days[:1])) == {"2024-01-01": [0]}


def test_a_column_that_is_nearly_constant_is_cut_all_the_same():
    found = slices(pl.Series([0] * 1000 + list(range(1, MAX_DISTINCT_VALUES + 5))))
    assert [len(p.rows) for p in found] == [1000, MAX_DISTINCT_VALUES + 4]


@settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.lists(st.one_of(st.none(), st.integers(-50, 50)), min_size=1, max_size=120),
        st.lists(st.one_of(st.none(), st.floats(allow_infinity=True)), min_size=1, max_size=120),
        st.lists(st.one_of(st.none(), st.text(max_size=2)), min_size=1, max_size=60),
    )
)
def test_every_row_is_in_exactly_one_slice(values):
    parts = slices(pl.Series(values, strict=False))
    rows = np.concatenate([part.rows for part in parts])
    assert sorted(rows.tolist()) == list(range(len(values)))
    assert len({repr(part.value) for part in parts}) == len(parts)


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["x", "y"])])
def test_categories_are_texts(dtype):
    assert shown(pl.Series(["y", "x", "y"], dtype=dtype)) == {"x": [1], "y": [0, 2]}


def test_infinity_is_written_out():
    values = [part.value for part in slices(pl.Series([math.inf, 1.0, -math.inf]))]
    assert values == ["-inf", 1.0, "inf"]
