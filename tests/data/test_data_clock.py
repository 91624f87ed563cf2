"""The data clock: rows and values that are known only later."""

import datetime as dt

import polars as pl
import pytest

from mlops_cli.data.data_clock import Clock, Tally, in_utc
from mlops_cli.errors import BadParams
from mlops_cli.params.ingest import Source

UNTIL = in_utc(dt.date(2020, 1, 3))
UTC = pl.Datetime("us", "UTC")


def table(**columns):
    times = {
        c: pl.Series(v, dtype=UTC, strict=False) for c, v in columns.items() if c not in {"x", "y"}
    }
    values = {c: pl.Series(v, dtype=pl.Int64) for c, v in columns.items() if c in {"x", "y"}}
    return pl.DataFrame({**times, **values})


def day(n):
    return dt.datetime(2020, 1, n, tzinfo=dt.UTC)


def cut(frame, until=UNTIL, **settings):
    return Clock.for_source(Source(uri="t.csv", **settings), until, frame.schema, "here").cut(frame)


def test_rows_at_or_after_the_clock_and_undated_ones_are_left_out():
    kept, tally = cut(table(t=[day(1), day(2), day(3), None], x=[1, 2, 3, 4]), time="t")
    assert kept["x"].to_list() == [1, 2]
    assert (tally.dropped, tally.undated, tally.rows) == (1, 1, 2)
    assert tally.span == (day(1), day(2))
    assert tally.input_span == (day(1), day(3))


def test_a_row_waits_until_it_is_known():
    frame = table(t=[day(1), day(1)], k=[day(2), day(4)], x=[1, 2])
    kept, _ = cut(frame, time="t", known_at={"*": "k"})
    assert kept["x"].to_list() == [1]


def test_values_not_known_yet_are_masked_with_the_time_that_would_tell_them():
    frame = table(t=[day(1)] * 4, k=[day(2), day(3), None, None], x=[1, 2, 3, None])
    kept, tally = cut(frame, time="t", known_at={"x": "k"})
    assert kept["x"].to_list() == [1, None, None, None]
    assert kept["k"].to_list() == [day(2), None, None, None]
    assert kept["_pending"].to_list() == [False, True, False, False]
    assert tally.pending == {"k": 1, "x": 1}
    assert tally.unknown["x"] == 1


def test_a_value_waits_for_what_its_time_waits_for():
    frame = table(t=[day(1)], k=[day(2)], m=[day(5)], x=[1])
    kept, _ = cut(frame, time="t", known_at={"x": "k", "k": "m"})
    assert kept.select("x", "k", "m").row(0) == (None, None, None)


def test_without_a_clock_everything_is_known():
    kept, _ = cut(table(t=[day(9)], k=[day(9)], x=[1]), None, time="t", known_at={"x": "k"})
    assert kept.row(0, named=True) == {"t": day(9), "k": day(9), "x": 1, "_pending": False}


def test_the_schema_is_told_before_any_row_is_seen():
    frame = table(t=[day(1)], k=[day(1)], x=[1])
    clock = Clock.for_source(
        Source(uri="t", time="t", known_at={"x": "k"}), UNTIL, frame.schema, "here"
    )
    assert clock.cut(frame)[0].schema == clock.output_schema(frame.schema)
    assert clock.cut(frame.clear())[0].schema == clock.output_schema(frame.schema)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"time": "tt"}, "here.time names the column 'tt'"),
        ({"time": "x"}, "not times"),
        ({"time": "t", "known_at": {"z": "t"}}, "here.known_at names the column 'z'"),
        ({"time": "t", "known_at": {"x": "q"}}, "here.known_at.x names the column 'q'"),
        ({"known_at": {"t": "k", "k": "t"}}, "ring"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, says):
    with pytest.raises(BadParams, match=says):
        cut(table(t=[day(1)], k=[day(1)], x=[1]), **settings)


def test_tallies_of_batches_add_up_in_any_order():
    frame = table(t=[day(1), day(2), None, day(4)], x=[1, 2, 3, 4])
    parts = [cut(frame[i : i + 1], time="t")[1] for i in range(4)]
    assert sum(parts, Tally()) == sum(reversed(parts), Tally()) == cut(frame, time="t")[1]
