"""The example request is made up and reveals no rare value of the data."""

from __future__ import annotations

import datetime as dt
import math
import sys

import polars as pl
import pytest

from mlops_cli.features.example_row import example_row

START = dt.datetime(2024, 1, 1, 8, 17, 31, tzinfo=dt.UTC)


def people(rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "email": [f"p{i}@example.org" for i in range(rows)],
            "loyal": (["x"] * 9 + ["ann@example.org"] * rows)[:rows],
            "phone": ["0170 1234567"] * rows,
            "country": (["FR", "IT", None] + ["DE"] * rows)[:rows],
            "salary": [50_000.01 + 137.77 * i for i in range(rows)],
            "age": [20 + i % 3 for i in range(rows)],
            "member": [900_017 + 31 * i for i in range(rows)],
            "at": [START + dt.timedelta(minutes=7 * i) for i in range(rows)],
            "born": [dt.date(1950, 3, 4) + dt.timedelta(days=211 * i) for i in range(rows)],
            "paid": [i % 3 == 0 for i in range(rows)],
            "none": pl.Series([None] * rows, dtype=pl.Float64),
        }
    )


def test_values_that_many_share_stand_as_they_are_and_others_are_made_up() -> None:
    table = people(100)
    example = example_row(table.lazy(), table.columns)
    assert example is not None
    assert example == {
        "email": "text",
        "loyal": "text",
        "phone": "text",
        "country": "DE",
        "salary": 57000.0,
        "age": 21,
        "member": example["member"],
        "at": "2024-01-01T00:00:00Z",
        "born": "2007-01-01",
        "paid": False,
        "none": None,
    }
    assert example["member"] not in table["member"]
    assert example == example_row(table.sample(100, shuffle=True, seed=1).lazy(), table.columns)


@pytest.mark.parametrize("name", ["n", "count", "value", "len"])
def test_a_column_may_have_any_name(name: str) -> None:
    table = pl.DataFrame({name: ["a"] * 30}, schema={name: pl.String})
    assert example_row(table.lazy(), [name]) == {name: "a"}
    dates = pl.DataFrame({name: [dt.date(2024, 1, 1)] * 30})
    assert example_row(dates.lazy(), [name]) == {name: "2024-01-01"}


def test_no_private_value_of_a_row_is_in_it_however_few_rows_there_are() -> None:
    for rows in (1, 2, 5, 9, 30):
        table = people(rows)
        example = example_row(table.lazy(), table.columns)
        assert example is not None
        for name in ("email", "salary", "born", "at", "member"):
            assert example[name] not in table[name].cast(pl.String).to_list()
            assert example[name] not in table[name].to_list()
    assert example_row(people(0).lazy(), ["email"]) is None


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_number_near_the_largest_float_stays_finite(sign: float) -> None:
    table = pl.DataFrame({"x": [sign * sys.float_info.max, 0.0]})
    example = example_row(table.lazy(), table.columns)
    assert example is not None
    assert math.isfinite(example["x"])
