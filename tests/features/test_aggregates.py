"""Aggregates by integer prefix sums equal direct aggregates."""

from __future__ import annotations

import math
import statistics

import polars as pl
import pytest

from mlops_cli.errors import BadParams
from mlops_cli.features.aggregates import Aggregate

SQUARES = 2.0**33
VALUES = [0.25, None, 3.0, math.nan, -7.5, math.inf, 2.0**62, SQUARES, 1e-3, -0.0]


def aggregate(text: str) -> Aggregate:
    return Aggregate.parse("a", text, "featurize.windows.w.aggregates.a")


def whole(text: str, values: list[float | None]) -> object:
    """The aggregate over all values, by the sums of its components."""
    a = aggregate(text)
    events = pl.DataFrame({"x": values}, schema={"x": pl.Float64()}).with_columns(a.event_values())
    sums = events.select(e.sum() for e in a.summands())
    return sums.select(a.from_sums({c: pl.col(c) for c in sums.columns}).alias("a")).item()


def test_what_is_not_finite_or_too_large_does_not_count() -> None:
    counted = [0.25, 3.0, -7.5, SQUARES, 1e-3, -0.0]
    # A sum is kept in steps of 2 to the minus 32.
    assert whole("sum(x)", VALUES) == pytest.approx(math.fsum(counted), abs=2.0**-32)
    assert whole("mean(x)", VALUES) == pytest.approx(statistics.fmean(counted), abs=2.0**-32)
    assert whole("sum(x)", [2.0**61, 1.0]) == 2.0**61 + 1.0
    # The squares of greater values wouldn't fit.
    few = [v for v in counted if v != SQUARES]
    assert whole("std(x)", VALUES) == pytest.approx(statistics.stdev(few), abs=2.0**-20)


def test_counts_are_of_rows_or_of_what_is_there() -> None:
    assert whole("count(*)", VALUES) == len(VALUES)
    assert whole("count(x)", VALUES) == len(VALUES) - 1
    assert whole("mean(x > 1)", [0.0, 2.0, None, 3.0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("text", "values", "wanted"), [
    ("sum(x)", [], 0.0), ("count(x)", [None], 0), ("mean(x)", [None, math.nan], None),
    ("std(x)", [1.0], None), ("std(x)", [4.0, 4.0], 0.0),
])  # fmt: skip
def test_where_nothing_counts_there_is_no_mean(
    text: str, values: list[float | None], wanted: float | None
) -> None:
    assert whole(text, values) == wanted


@pytest.mark.parametrize("function", ["count(x)", "sum(x)", "mean(x)", "std(x)"])
def test_a_request_adds_up_the_same_integers_as_a_table(function: str) -> None:
    a = aggregate(function)
    events = pl.DataFrame({"x": VALUES}).select(a.event_values())
    usable = events.select(a.valid_values())["a"].to_list()
    table = [[0, *column.cum_sum().to_list()] for column in events.select(a.summands())]
    assert a.prefix_sums(usable) == table
    assert len(table) == a.column_count


def test_extremes_know_one_zero_and_no_infinity() -> None:
    a = aggregate("min(x)")
    events = (
        pl.DataFrame({"x": VALUES}).select(a.event_values()).select(a.valid_values())["a"].to_list()
    )
    assert repr(events) == repr([0.25, None, 3.0, None, -7.5, None, 2.0**62, SQUARES, 1e-3, 0.0])
    assert a.prefix_sums(events) == [events]


@pytest.mark.parametrize(("text", "said"), [
    ("median(x)", "uses the aggregate 'median'"), ("x", "an aggregate is a function"),
    ("sum(*)", "only count takes a star"),
])  # fmt: skip
def test_what_is_no_aggregate_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadParams) as error:
        aggregate(text)
    assert said in error.value.message
