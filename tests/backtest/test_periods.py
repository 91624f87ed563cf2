"""Periods of a backtest: equal lengths, and the remainder at the end."""

import datetime as dt
from itertools import pairwise

import pytest

from mlops_cli.backtest.periods import periods
from mlops_cli.errors import Usage


def moment(text):
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def starts(since, until, every):
    steps, said = periods(moment(since), moment(until), every)
    assert steps[-1].end == moment(until)
    assert all(a.end == b.start for a, b in pairwise(steps))
    return [f"{step.start:%m-%d}" for step in steps], said


def test_a_short_remainder_is_added_to_the_last_period():
    months, said = starts("2013-04-01", "2014-01-01 04:59", "1mo")
    assert months[-1] == "12-01"
    assert len(months) == 9
    assert "goes on to 2014-01-01" in said


def test_a_long_remainder_is_a_shorter_period_with_a_note():
    months, said = starts("2013-04-01", "2013-12-20", "1mo")
    assert months[-1] == "12-01"
    assert "shorter than 1mo" in said


def test_whole_periods_have_no_note():
    assert starts("2013-01-31", "2013-05-31", "1mo") == (["01-31", "02-28", "03-31", "04-30"], "")
    assert starts("2013-01-01", "2013-01-29", "14d") == (["01-01", "01-15"], "")


@pytest.mark.parametrize("until", ["2013-01-15", "2013-02-05"])
def test_one_period_leaves_nothing_to_decide(until):
    with pytest.raises(Usage, match="there is one period of 1mo"):
        periods(moment("2013-01-01"), moment(until), "1mo")
