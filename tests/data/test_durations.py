"""Durations: calendar arithmetic, and conversion to numbers."""

from __future__ import annotations

import datetime as dt

import pytest

from mlops_cli.data.durations import add, microseconds, subtract

MARCH = dt.datetime(2013, 3, 31, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("span", "earlier"),
    [("1mo", (2013, 2, 28, 5)), ("1y", (2012, 3, 31, 5)), ("6h", (2013, 3, 30, 23))],
)
def test_a_span_is_taken_away_by_the_calendar(span: str, earlier: tuple[int, ...]) -> None:
    assert subtract(MARCH, span) == dt.datetime(*earlier, tzinfo=dt.UTC)


def test_no_span_takes_nothing_away() -> None:
    assert subtract(MARCH, None) is MARCH


def test_a_moment_without_a_zone_stays_without_one() -> None:
    local = MARCH.replace(tzinfo=None)
    assert add(local, "1d") == local + dt.timedelta(days=1)


def test_months_have_no_length() -> None:
    assert microseconds("1d12h") == 36 * 3_600_000_000
    assert microseconds("1mo") is None
