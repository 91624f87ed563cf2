"""Rows that count as unseen by a model."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from mlops_cli.registry.training_rows import (
    RowKeys,
    TrainingRows,
    content_of,
    unknown_training_rows,
)

KINDS = {"a": "number", "b": "category"}
DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
KNOWN = pl.DataFrame({"a": [1, 2, 3], "b": ["x", "y", None]})
ASKED = pl.DataFrame({"a": [3.0, 2.0, 9.0, 9.0], "b": [None, "z", "x", "x"]})


def days(*numbers: int | None) -> pl.Series:
    return pl.Series(
        [None if n is None else DAY + dt.timedelta(days=n) for n in numbers],
        dtype=pl.Datetime("us", "UTC"),
    )


def learnt(*, ordered: bool = False, timed: bool = True, kept: bool = True) -> TrainingRows:
    """Rows of the days 0, 2 and 4."""
    rows = RowKeys(content_of(KNOWN, KINDS), days(0, 2, 4) if timed else None, pl.Series([7, 8, 9]))
    until = days(4)[0] if timed else None
    return TrainingRows("v0.2.0", until, ordered, KINDS, lambda: rows if kept else None)


def unseen(of: TrainingRows, moments: pl.Series) -> list[bool]:
    return of.unseen_mask(moments, lambda: ASKED).to_list()


def test_later_rows_are_unseen_whatever_the_split() -> None:
    for ordered in (True, False):
        assert unseen(learnt(ordered=ordered), days(5, 6, 7, 8)) == [True] * 4


def test_of_a_split_by_time_all_rows_up_to_its_end_count_as_learnt() -> None:
    assert unseen(learnt(ordered=True), days(1, 4, 5, None)) == [False, False, True, False]


def test_of_a_random_split_rows_of_the_same_features_or_time_count_as_learnt() -> None:
    # Equal features; a learnt row's time; neither; no time.
    assert unseen(learnt(), days(1, 2, 3, None)) == [False, False, True, False]


def test_without_time_equal_features_tell() -> None:
    assert unseen(learnt(timed=False), days(None, 1, 2, None)) == [False, True, True, True]


@pytest.mark.parametrize("of", [learnt(kept=False), unknown_training_rows("v0.2.0")])
def test_nothing_is_certain_of_rows_that_cannot_be_read(of: TrainingRows) -> None:
    assert unseen(of, days(1, 3, None, 4)) == [False] * 4


def test_numbers_of_the_same_table_decide_whatever_the_split() -> None:
    numbers = pl.Series([9, 1, 7, 2], dtype=pl.UInt32)
    for ordered in (True, False):
        found = learnt(ordered=ordered).unseen_mask(
            days(1, 2, 3, 4), lambda: ASKED, lambda: numbers
        )
        assert found.to_list() == [False, True, False, True]
    elsewhere = learnt(ordered=True).unseen_mask(days(1, 2, 3, 5), lambda: ASKED, lambda: None)
    assert elsewhere.to_list() == [False, False, False, True]


def test_features_are_the_same_in_the_types_of_a_table_and_of_a_log() -> None:
    table = pl.DataFrame(
        {"a": [1, 2], "b": ["x", None], "c": [True, None], "d": [float("inf"), float("nan")]},
        schema_overrides={"a": pl.Int32, "b": pl.Categorical},
    )
    log = pl.DataFrame(
        {"a": [1.0, 2.0], "b": ["x", None], "c": [True, None], "d": [None, None]},
        schema_overrides={"d": pl.Float64},
    )
    kinds = {"a": "number", "b": "category", "c": "boolean", "d": "number"}
    assert content_of(table, kinds).to_list() == content_of(log, kinds).to_list()


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (learnt(ordered=True), "not later than 2024-01-05 00:00, where the rows end"),
        (learnt(kept=False), "not later than 2024-01-05 00:00, where the rows end"),
        (learnt(timed=False), "v0.2.0 has learnt from them"),
        (
            unknown_training_rows("v0.2.0"),
            "the rows that v0.2.0 has learnt from can't be read here",
        ),
    ],
)
def test_the_reason_says_what_holds(of: TrainingRows, words: str) -> None:
    assert words in of.exclusion_reason
