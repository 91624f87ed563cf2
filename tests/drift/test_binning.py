"""Binning of values to one-byte codes, and counting of values that don't fit."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.drift.binning import ABOVE, BELOW, MAX_NAMES, MISSING, OTHER, Binning, bin_group

RNG = np.random.default_rng(0)
SHAPES = {
    "normal": RNG.normal(size=3000),
    "heavy": RNG.pareto(0.5, 3000),
    "weekday": RNG.integers(0, 7, 3000).astype(float),
    "zeros": np.where(RNG.random(3000) < 0.6, 0, RNG.normal(size=3000)),
    "constant": np.full(3000, 3.5),
    "large": 1e9 + RNG.random(3000),
    "huge": RNG.normal(size=3000) * 1e307,
    "tiny": RNG.normal(size=3000) * 5e-324,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_counts_are_those_of_a_search_for_each_value(shape):
    values = pl.Series(SHAPES[shape])
    binning = Binning.fit(values[:1000], "number")
    others = pl.concat([values * 1.5, values, pl.Series([None, math.nan, math.inf])])
    codes = binning.codes(others)
    assert (np.bincount(codes, minlength=256) == binning.count_values(others).counts).all()
    assert (codes[-3:] == MISSING).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.data())
def test_no_value_of_the_reference_is_out_of_range_and_bins_keep_the_order(values, data):
    binning = Binning.fit(pl.Series(values, dtype=pl.Float64), "number")
    more = data.draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
    codes = binning.codes(pl.Series(values, dtype=pl.Float64))
    assert codes.min() > BELOW
    assert codes.max() < ABOVE
    seen = binning.codes(pl.Series(sorted(more), dtype=pl.Float64)).astype(int)
    assert (np.diff(seen) >= 0).all()
    assert (seen == BELOW).sum() == sum(v < min(values) for v in more)
    assert (seen == ABOVE).sum() == sum(v > max(values) for v in more)
    read = binning.count_values(pl.Series(more, dtype=pl.Float64))
    assert (read.counts == np.bincount(seen, minlength=256)).all()


def test_bins_hold_about_the_same_share_of_the_reference():
    counts = (
        Binning.fit(pl.Series(SHAPES["heavy"]), "number")
        .count_values(pl.Series(SHAPES["heavy"]))
        .counts
    )
    assert counts[1:65].min() >= 45
    assert counts[1:65].max() <= 49


def test_few_values_have_a_bin_each_and_say_so():
    binning = Binning.fit(pl.Series([3, 1, 1, 2]), "number")
    assert binning.discrete
    assert binning.bins == 3
    assert [binning.label(c) for c in (BELOW, 1, 3, ABOVE, MISSING)] == [
        "below 1", "1", "3", "above 3", "missing",
    ]  # fmt: skip


def test_categories_rank_by_frequency_then_spelling_and_strangers_share_a_code():
    binning = Binning.fit(pl.Series(["c", "b", "a", "c", None] * 20), "category")
    assert binning.names == ("c", "a", "b")
    assert (binning.unseen_rate, binning.has_groups) == (0, False)
    read = binning.count_values(pl.Series(["a", "z", "z", None, "c"]))
    assert binning.codes(pl.Series(["a", "z", None])).tolist() == [1, OTHER, MISSING]
    assert read.counts[[0, 1, 2, OTHER, MISSING]].tolist() == [1, 1, 0, 2, 1]
    assert read.others == {"z": 2}


def test_the_rarest_of_many_categories_have_no_code():
    names = [f"n{i:03}" for i in range(MAX_NAMES + 5)]
    binning = Binning.fit(pl.Series(names), "category")
    assert not binning.complete
    assert binning.count_values(pl.Series(names)).counts[OTHER] == 5


@pytest.mark.parametrize("many", [100, 10 * MAX_NAMES])
def test_names_that_are_still_coming_in_are_counted_by_groups_and_have_no_code_that_tells(many):
    names = pl.Series([f"n{i}" for i in np.random.default_rng(many).integers(0, many, 300)])
    binning = Binning.fit(names, "category")
    assert binning.has_groups
    later = pl.concat([names, pl.Series(["new", "newer", None])])
    read, codes = binning.count_values(later), binning.codes(later)
    assert read.groups.sum() == 302
    assert read.groups[bin_group("new")] >= 1
    assert OTHER not in codes
    assert (codes == MISSING).sum() == 1
    assert Binning.from_json(binning.to_json()) == binning


def test_the_share_of_strangers_is_what_later_rows_have_though_names_come_in_bursts():
    rng = np.random.default_rng(3)

    def names(bursts):
        return pl.Series([f"n{i}" for i in np.repeat(rng.integers(0, 400, bursts), 8)])

    known = names(300)
    binning = Binning.fit(known, "category")
    later = names(3000)
    outside = float((~later.is_in(list(binning.names))).mean())
    assert outside < binning.unseen_rate < outside + 0.15


def test_names_that_come_in_all_the_time_are_to_be_expected():
    binning = Binning.fit(pl.Series([f"n{i // 9}" for i in range(1800)]), "category")
    assert binning.unseen_rate > 0.8


@pytest.mark.parametrize(
    ("kind", "values", "misfits", "missing"),
    [
        ("number", ["1", "x", None], 1, 2),
        ("number", [[1], [2]], 2, 2),
        ("number", [True, False], 0, 0),
        ("number", [None, None], 0, 2),
        ("boolean", [0, 1, 2], 1, 1),
        ("boolean", ["True", "FALSE", "no"], 1, 1),
        ("boolean", [True, None], 0, 1),
        ("category", [1, 2], 0, 0),
    ],
)
def test_values_of_another_kind_are_misfits_and_count_as_missing(kind, values, misfits, missing):
    known = {"number": [0.0, 1.0], "boolean": [True, False], "category": ["1", "2"]}[kind]
    read = Binning.fit(pl.Series(known), kind).count_values(pl.Series(values))
    assert read.misfits == misfits
    assert read.counts[MISSING] == missing
    assert read.counts.sum() == len(values)


def test_a_column_without_values_can_be_coded():
    binning = Binning.fit(pl.Series([None], dtype=pl.Float64), "number")
    assert binning.bins == 0
    assert binning.count_values(pl.Series([1.0, None])).counts[[ABOVE, MISSING]].tolist() == [1, 1]
    assert binning.codes(pl.Series([1.0, None])).tolist() == [ABOVE, MISSING]


@pytest.mark.parametrize("shape", ["normal", "weekday"])
def test_it_comes_back_from_json(shape):
    binning = Binning.fit(pl.Series(SHAPES[shape]), "number")
    assert Binning.from_json(binning.to_json()) == binning
