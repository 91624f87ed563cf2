"""Split strategies: shares, groups, order in time, and refused leakage."""

from __future__ import annotations

import datetime as dt

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.splitting import strategies

NAMES = ("train", "validation", "test")
START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def days(n: int, per_day: int = 10) -> pl.Series:
    moments = [START + dt.timedelta(days=i // per_day) for i in range(n)]
    return pl.Series("_time", moments, dtype=pl.Datetime("us", "UTC"))


def shares(codes: np.ndarray) -> list[float]:
    return [round(float((codes == c).mean()), 3) for c in range(3)]


def test_dense_ids_number_values_by_first_appearance() -> None:
    assert strategies.dense_ids(pl.Series(["b", "a", "b", "c"])).tolist() == [0, 1, 0, 2]


def test_random_split_has_the_shares_and_follows_the_seed() -> None:
    units = np.arange(1000)
    one = strategies.at_random(units, None, 0.2, 0.1, seed=1)
    assert shares(one) == [0.7, 0.2, 0.1]
    assert (one == strategies.at_random(units, None, 0.2, 0.1, seed=1)).all()
    assert (one != strategies.at_random(units, None, 0.2, 0.1, seed=2)).any()


def test_equal_rows_stay_together() -> None:
    units = np.repeat(np.arange(300), 2)
    codes = strategies.at_random(units, None, 0.2, 0.2, seed=0)
    assert (codes[::2] == codes[1::2]).all()


def test_stratified_split_keeps_the_shares_of_each_class() -> None:
    classes = np.array([0] * 900 + [1] * 100)
    codes = strategies.at_random(np.arange(1000), classes, 0.2, 0.2, seed=0)
    assert shares(codes[classes == 1]) == [0.6, 0.2, 0.2]


def test_rows_are_repetitive_when_most_have_an_equal_one() -> None:
    assert strategies.repeats_rows(np.zeros(10, np.int64))
    assert not strategies.repeats_rows(np.arange(10))


def test_groups_stay_whole_and_mostly_stay_where_they_were_as_data_grows() -> None:
    rng = np.random.default_rng(0)
    groups = pl.Series("g", [f"g{i}" for i in rng.integers(0, 200, 4000)])
    codes = strategies.by_group(groups, 0.2, 0.2, seed=3)
    assert max(abs(a - b) for a, b in zip(shares(codes), (0.6, 0.2, 0.2), strict=True)) < 0.02
    sides = pl.DataFrame({"g": groups, "c": codes}).group_by("g").n_unique()
    assert sides["c"].max() == 1
    more = pl.concat([groups, pl.Series("g", ["new"] * 20)])
    later = strategies.by_group(more, 0.2, 0.2, seed=3)[: len(groups)]
    assert (later == codes).mean() > 0.95


def test_time_split_by_spans_counts_back_from_the_clock() -> None:
    times = days(900)
    until = START + dt.timedelta(days=90)
    codes, starts = strategies.by_time(times, "20d", "10d", None, until)
    assert starts["test"] == START + dt.timedelta(days=80)
    assert starts["validation"] == START + dt.timedelta(days=60)
    assert [int((codes == c).sum()) for c in range(3)] == [600, 200, 100]


def test_time_split_by_shares_cuts_between_moments() -> None:
    codes, _ = strategies.by_time(days(1000), 0.2, 0.1, None, None)
    assert shares(codes) == [0.7, 0.2, 0.1]


def test_gap_leaves_out_rows_before_validation_and_test() -> None:
    times = days(900)
    until = START + dt.timedelta(days=90)
    codes, _ = strategies.by_time(times, "20d", "10d", "2d", until)
    assert [int((codes == c).sum()) for c in (-1, 0, 1, 2)] == [40, 580, 180, 100]


def test_a_span_that_takes_everything_is_refused() -> None:
    with pytest.raises(DataRefused, match="takes all rows"):
        strategies.by_time(days(100), 0.2, "1y", None, START + dt.timedelta(days=10))


def test_checks_hold_for_a_clean_split() -> None:
    times = days(900)
    codes, _ = strategies.by_time(times, 0.2, 0.2, None, None)
    rows = pl.Series(range(900))
    found = strategies.check(codes, NAMES, rows=rows, times=times)
    assert found == {"each row once": "holds", "time order": "holds"}


CODES = np.array([0, 0, 1, 1, 2, 2], np.int8)
ROWS = pl.Series(range(6))


def test_an_empty_split_is_refused() -> None:
    with pytest.raises(DataRefused, match="the test split is empty"):
        strategies.check(np.array([0, 1], np.int8), NAMES, rows=pl.Series([0, 1]))


def test_a_row_that_is_there_twice_is_refused() -> None:
    with pytest.raises(DataRefused, match="twice"):
        strategies.check(CODES, NAMES, rows=pl.Series([0, 1, 2, 3, 4, 4]))


def test_equal_rows_on_two_sides_are_refused() -> None:
    units = np.array([0, 1, 2, 3, 1, 5])
    with pytest.raises(DataRefused, match="equal rows stand on both sides of the split in 1 cases"):
        strategies.check(CODES, NAMES, rows=ROWS, units=units)


def test_equal_rows_in_the_gap_do_not_count() -> None:
    units = np.array([0, 1, 2, 3, 4, 5, 0])
    codes = np.append(CODES, np.int8(-1))
    found = strategies.check(codes, NAMES, rows=pl.Series(range(7)), units=units)
    assert found["equal rows on one side"] == "holds"


def test_a_group_on_two_sides_is_refused() -> None:
    groups = pl.Series("shop", ["a", "b", "b", "c", "d", "e"])
    with pytest.raises(DataRefused, match="rows of one shop"):
        strategies.check(CODES, NAMES, rows=ROWS, groups=groups)


def test_overlap_in_time_is_refused() -> None:
    times = days(6, 1).gather([0, 3, 2, 1, 4, 5])
    with pytest.raises(DataRefused, match="validation are not later than all rows of train"):
        strategies.check(CODES, NAMES, rows=ROWS, times=times)


def test_a_missing_column_suggests_the_nearest() -> None:
    with pytest.raises(BadParams, match=r"split\.group is 'shp'") as caught:
        strategies.require_column("shp", ["shop", "x"], "split.group")
    assert caught.value.hint.startswith("Did you mean 'shop'?")


def test_the_only_row_of_a_class_is_a_training_row_though_another_row_equals_it():
    units = np.array([i % 60 for i in range(200)])
    classes = np.array([1 + i // 25 if i % 25 == 0 else 0 for i in range(200)])
    for seed in range(20):
        codes = strategies.at_random(units, classes, 0.2, 0.2, seed)
        assert set(codes[classes > 0]) == {0}


def test_an_empty_split_says_how_many_groups_there_are():
    groups = pl.Series(["a", "a", "b", "b"])
    with pytest.raises(DataRefused, match=r"test split is empty \(4 rows in all, of 2 groups\)"):
        strategies.check(
            np.array([0, 0, 1, 1], np.int8),
            ("train", "validation", "test"),
            rows=pl.Series(range(4)),
            groups=groups,
        )
