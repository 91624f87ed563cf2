"""The search for worst segments: injected ones are found, and nothing else."""

import time
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from mlops_cli.evaluation.slice_finder import MAX_PAIRED_COLUMNS, SegmentSearch

SEARCH = SegmentSearch(min_rows=50, max_segments=5, confidence=0.95, seed=0)


def table(rows, rng):
    """A category, a boolean, a number of many values and one with gaps."""
    number = rng.normal(size=rows)
    return {
        "city": pl.Series(rng.choice(["a", "b", "c", "d"], rows)),
        "new": pl.Series(rng.random(rows) < 0.5),
        "size": pl.Series(number),
        "age": pl.Series(np.where(rng.random(rows) < 0.2, np.nan, number**2)).fill_nan(None),
    }


@pytest.mark.parametrize("seed", range(5))
def test_without_bad_segments_none_is_found(seed):
    rng = np.random.default_rng(seed)
    found, tried = SEARCH.run(table(4000, rng), rng.exponential(size=4000))
    assert found == []
    assert tried > 60


def test_a_bad_value_is_found_with_its_rows_and_means():
    rng = np.random.default_rng(1)
    columns, loss = table(4000, rng), rng.exponential(size=4000)
    bad = (columns["city"] == "b").to_numpy()
    loss[bad] += 1
    (worst, *_), _ = SEARCH.run(columns, loss)
    assert worst.where == {"city": "b"}
    assert worst.rows.tolist() == np.flatnonzero(bad).tolist()
    assert worst.loss == pytest.approx(loss[bad].mean())
    assert worst.loss_elsewhere == pytest.approx(loss[~bad].mean())
    assert worst.p < 1e-9


def test_a_bad_pair_is_found_where_neither_value_alone_is_it():
    rng = np.random.default_rng(2)
    columns, loss = table(8000, rng), rng.exponential(size=8000)
    bad = ((columns["city"] == "c") & columns["new"]).to_numpy()
    loss[bad] += 2
    (worst, *_), _ = SEARCH.run(columns, loss)
    assert worst.where == {"city": "c", "new": True}
    assert len(worst.rows) == bad.sum()


def test_missing_values_are_a_segment():
    rng = np.random.default_rng(3)
    columns, loss = table(4000, rng), rng.exponential(size=4000)
    loss[columns["age"].is_null().to_numpy()] += 1
    (worst, *_), _ = SEARCH.run(columns, loss)
    assert worst.where == {"age": None}


def test_segments_that_say_the_same_are_given_once():
    rng = np.random.default_rng(4)
    columns, loss = table(4000, rng), rng.exponential(size=4000)
    columns["town"] = columns["city"]
    loss[(columns["city"] == "a").to_numpy()] += 1
    found, _ = SEARCH.run(columns, loss)
    assert [s.where for s in found if "a" in s.where.values()] == [{"city": "a"}]


def test_rows_of_no_weight_do_not_count():
    rng = np.random.default_rng(5)
    columns, loss = table(4000, rng), rng.exponential(size=4000)
    bad = (columns["city"] == "b").to_numpy()
    loss[bad & (loss > 0.3)] += 3
    weights = np.where(bad & (loss > 0.3), 0.0, 1.0)
    found, _ = SEARCH.run(columns, loss, weights=weights)
    assert {"city": "b"} not in [s.where for s in found]
    plain, tried = SEARCH.run(columns, loss)
    same, tried_same = SEARCH.run(columns, loss, weights=np.ones(4000))
    assert [(s.where, s.loss) for s in plain] == [(s.where, s.loss) for s in same]
    assert tried == tried_same


@pytest.mark.parametrize("loss", [0.0, 1.0])
def test_equal_losses_and_few_rows_give_nothing(loss):
    rng = np.random.default_rng(6)
    assert SEARCH.run(table(500, rng), np.full(500, loss))[0] == []
    assert SEARCH.run(table(10, rng), np.full(10, loss)) == ([], 0)
    assert SEARCH.run({}, np.full(10, loss)) == ([], 0)


def test_thirty_thousand_rows_of_fifty_features_take_under_two_seconds():
    rng = np.random.default_rng(7)
    columns = {f"x{i}": pl.Series(rng.normal(size=30_000)) for i in range(45)}
    columns |= {f"c{i}": pl.Series(rng.integers(0, 20, 30_000).astype(str)) for i in range(5)}
    loss = rng.exponential(size=30_000)
    start = time.process_time()
    replace(SEARCH, min_rows=200).run(columns, loss)
    assert time.process_time() - start < 2


def test_a_column_of_names_is_searched_by_its_frequent_values_quickly():
    rng = np.random.default_rng(8)
    names = np.where(rng.random(30_000) < 0.1, "common", rng.integers(0, 10**9, 30_000).astype(str))
    loss = rng.exponential(size=30_000) + (names == "common")
    start = time.process_time()
    (worst, *_), _ = SEARCH.run({"name": pl.Series(names)}, loss)
    assert worst.where == {"name": "common"}
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([None] * 400),
        pl.Series([None] * 400, dtype=pl.String),
        pl.Series(["a", None] * 200, dtype=pl.Categorical),
        pl.Series(range(400)).cast(pl.Date),
        pl.Series([float("inf"), 1.0] * 200),
        pl.Series([True, None] * 200),
    ],
)
def test_columns_of_all_types_are_cut(column):
    loss = np.random.default_rng(9).exponential(size=400)
    found, tried = SEARCH.run({"x": column, "y": column}, loss)
    assert found == []
    assert tried >= 0


def test_segments_that_are_not_accepted_are_left_out():
    rng = np.random.default_rng(10)
    columns, loss = table(4000, rng), rng.exponential(size=4000)
    loss[(columns["city"] == "b").to_numpy()] += 1
    loss[columns["age"].is_null().to_numpy()] += 1
    (worst, *_), _ = SEARCH.run(
        columns, loss, accept=lambda rows: columns["city"][rows].n_unique() > 1
    )
    assert worst.where == {"age": None}


def test_of_many_columns_only_the_first_are_tried_in_pairs():
    rng = np.random.default_rng(3)
    columns = {
        f"c{i}": pl.Series(rng.choice(["a", "b"], 200)) for i in range(MAX_PAIRED_COLUMNS + 40)
    }
    loss = rng.random(200)
    _, tried = replace(SEARCH, min_rows=30).run(columns, loss)
    singles, pairs = 2 * len(columns), 4 * MAX_PAIRED_COLUMNS * (MAX_PAIRED_COLUMNS - 1) // 2
    assert singles < tried <= singles + pairs
