"""Codes of one byte: counts agree with a search, and what doesn't fit is counted as such."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops_cli.drift.binning import ABOVE, BELOW, MISSING, MOST_NAMES, OTHER, Binning, bin_group

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
    coding = Binning.fit(values[:1000], "number")
    others = pl.concat([values * 1.5, values, pl.Series([None, math.nan, math.inf])])
    codes = coding.codes(others)
    assert (np.bincount(codes, minlength=256) == coding.read(others).counts).all()
    assert (codes[-3:] == MISSING).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.data())
def test_no_value_of_the_reference_is_out_of_range_and_bins_keep_the_order(values, data):
    coding = Binning.fit(pl.Series(values, dtype=pl.Float64), "number")
    more = data.draw(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
    codes = coding.codes(pl.Series(values, dtype=pl.Float64))
    assert codes.min() > BELOW
    assert codes.max() < ABOVE
    seen = coding.codes(pl.Series(sorted(more), dtype=pl.Float64)).astype(int)
    assert (np.diff(seen) >= 0).all()
    assert (seen == BELOW).sum() == sum(v < min(values) for v in more)
    assert (seen == ABOVE).sum() == sum(v > max(values) for v in more)
    read = coding.read(pl.Series(more, dtype=pl.Float64))
    assert (read.counts == np.bincount(seen, minlength=256)).all()


def test_bins_hold_about_the_same_share_of_the_reference():
    counts = (
        Binning.fit(pl.Series(SHAPES["heavy"]), "number").read(pl.Series(SHAPES["heavy"])).counts
    )
    assert counts[1:65].min() >= 45
    assert counts[1:65].max() <= 49


def test_few_values_have_a_bin_each_and_say_so():
    coding = Binning.fit(pl.Series([3, 1, 1, 2]), "number")
    assert coding.discrete
    assert coding.bins == 3
    assert [coding.label(c) for c in (BELOW, 1, 3, ABOVE, MISSING)] == [
        "below 1", "1", "3", "above 3", "missing",
    ]  # fmt: skip


def test_categories_rank_by_frequency_then_spelling_and_strangers_share_a_code():
    coding = Binning.fit(pl.Series(["c", "b", "a", "c", None] * 20), "category")
    assert coding.names == ("c", "a", "b")
    assert (coding.strangers, coding.grouped) == (0, False)
    read = coding.read(pl.Series(["a", "z", "z", None, "c"]))
    assert coding.codes(pl.Series(["a", "z", None])).tolist() == [1, OTHER, MISSING]
    assert read.counts[[0, 1, 2, OTHER, MISSING]].tolist() == [1, 1, 0, 2, 1]
    assert read.others == {"z": 2}


def test_the_rarest_of_many_categories_have_no_code():
    names = [f"n{i:03}" for i in range(MOST_NAMES + 5)]
    coding = Binning.fit(pl.Series(names), "category")
    assert not coding.complete
    assert coding.read(pl.Series(names)).counts[OTHER] == 5


@pytest.mark.parametrize("many", [100, 10 * MOST_NAMES])
def test_names_that_are_still_coming_in_are_counted_by_groups_and_have_no_code_that_tells(many):
    names = pl.Series([f"n{i}" for i in np.random.default_rng(many).integers(0, many, 300)])
    coding = Binning.fit(names, "category")
    assert coding.grouped
    later = pl.concat([names, pl.Series(["new", "newer", None])])
    read, codes = coding.read(later), coding.codes(later)
    assert read.groups.sum() == 302
    assert read.groups[bin_group("new")] >= 1
    assert OTHER not in codes
    assert (codes == MISSING).sum() == 1
    assert Binning.from_json(coding.to_json()) == coding


def test_the_share_of_strangers_is_what_later_rows_have_though_names_come_in_bursts():
    rng = np.random.default_rng(3)

    def names(bursts):
        return pl.Series([f"n{i}" for i in np.repeat(rng.integers(0, 400, bursts), 8)])

    known = names(300)
    coding = Binning.fit(known, "category")
    later = names(3000)
    outside = float((~later.is_in(list(coding.names))).mean())
    assert outside < coding.strangers < outside + 0.15


def test_names_that_come_in_all_the_time_are_to_be_expected():
    coding = Binning.fit(pl.Series([f"n{i // 9}" for i in range(1800)]), "category")
    assert coding.strangers > 0.8


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
    read = Binning.fit(pl.Series(known), kind).read(pl.Series(values))
    assert read.misfits == misfits
    assert read.counts[MISSING] == missing
    assert read.counts.sum() == len(values)


def test_a_column_without_values_can_be_coded():
    coding = Binning.fit(pl.Series([None], dtype=pl.Float64), "number")
    assert coding.bins == 0
    assert coding.read(pl.Series([1.0, None])).counts[[ABOVE, MISSING]].tolist() == [1, 1]
    assert coding.codes(pl.Series([1.0, None])).tolist() == [ABOVE, MISSING]


@pytest.mark.parametrize("shape", ["normal", "weekday"])
def test_it_comes_back_from_json(shape):
    coding = Binning.fit(pl.Series(SHAPES[shape]), "number")
    assert Binning.from_json(coding.to_json()) == coding
