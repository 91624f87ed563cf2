"""Dates in several columns are recognised by all of their values."""

from __future__ import annotations

import datetime as dt
from operator import attrgetter
from typing import Any

import polars as pl
import pytest

from mlops_cli.data.sql.expressions import Expression
from mlops_cli.scaffold.date_parts import find_date_parts

MOMENTS = [dt.datetime(2013, 1, 1) + dt.timedelta(hours=7 * i) for i in range(1_200)]  # noqa: DTZ001
GERMAN = ["Januar", "Februar", "März", "April", "Mai", "Juni", "Juli", "August", "September"]
GERMAN += ["Oktober", "November", "Dezember"]
YEAR, MONTH, DAY, HOUR = map(attrgetter, ("year", "month", "day", "hour"))


def table(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({name: [of(m) for m in MOMENTS] for name, of in columns.items()})


def whole(m: dt.datetime) -> dt.datetime:
    return m.replace(minute=0)


def day(m: dt.datetime) -> dt.datetime:
    return m.replace(hour=0)


def first(m: dt.datetime) -> dt.datetime:
    return m.replace(day=1, hour=0)


FOUND: list[tuple[dict[str, Any], list[str], Any]] = [
    (
        {"hour": HOUR, "day": DAY, "month": MONTH, "year": YEAR},
        ["year", "month", "day", "hour"],
        whole,
    ),
    (
        {"month": MONTH, "day": DAY},
        ["month", "day"],
        lambda m: day(m).replace(year=2000),
    ),
    (
        {"yr": lambda m: m.year - 2000, "mnth": MONTH, "hr": HOUR},
        ["yr", "mnth"],
        first,
    ),
    (
        {"Tag": DAY, "Monat": lambda m: GERMAN[m.month - 1], "Jahr": lambda m: float(m.year)},
        ["Jahr", "Monat", "Tag"],
        day,
    ),
    (
        {"Month": lambda m: m.strftime("%b"), "DayofMonth": DAY, "Year": YEAR},
        ["Year", "Month", "DayofMonth"],
        day,
    ),
    (
        {"sold_month": MONTH, "sold_year": YEAR, "weekday": lambda m: m.weekday()},
        ["sold_year", "sold_month"],
        first,
    ),
    (
        {"y": YEAR, "m": MONTH, "d": DAY, "size": DAY},
        ["y", "m", "d"],
        day,
    ),
    (
        {"year": YEAR, "month": MONTH, "day": lambda m: m.isoweekday()},
        ["year", "month"],
        first,
    ),
    (
        {"year": YEAR, "month": MONTH, "day": lambda m: m.strftime("%a")},
        ["year", "month"],
        first,
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "parts", "meant"), FOUND, ids=lambda v: "-".join(v) if isinstance(v, list) else ""
)
def test_columns_that_make_a_date_are_found_in_any_order_and_with_other_names(
    columns: dict[str, Any], parts: list[str], meant: Any
) -> None:
    frame = table(**columns)
    found = find_date_parts(frame.lazy(), frame.columns)
    assert found is not None
    assert list(found.columns) == parts
    made = frame.select(Expression(found.sql, "derive").expr.alias("made"))["made"].to_list()
    assert made == [meant(m) for m in MOMENTS]
    schema = pl.Schema(frame.schema)
    assert Expression(found.sql, "derive").result_type(schema).is_temporal()


NONE: list[dict[str, Any]] = [
    {"m": MONTH, "d": DAY},
    {"month": lambda _: 2, "day": DAY},
    {"rank": DAY, "size": MONTH, "year": YEAR},
    {"day_of_week": lambda m: m.isoweekday(), "month": MONTH},
    {"year": YEAR, "month": lambda m: m.month + 1},
    {"year": lambda m: m.year + 0.5, "month": MONTH},
    {"year": YEAR, "month": lambda m: None if m.day == 3 else m.month},
    {"month": lambda m: "jan" if m.day else "", "year": lambda _: 2013},
    {"built_year": YEAR, "sold_month": MONTH},
    {"mo": MONTH, "min": DAY, "y": lambda m: m.year - 2000},
]


@pytest.mark.parametrize("columns", NONE, ids="-".join)
def test_numbers_that_make_no_date_are_none(columns: dict[str, Any]) -> None:
    frame = table(**columns)
    assert find_date_parts(frame.lazy(), frame.columns) is None
