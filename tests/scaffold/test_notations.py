"""Numbers and dates in notations other than Python's and ISO 8601."""

import polars as pl
import pytest

from mlops_cli.scaffold.notations import find_notations


def notation_of(*values):
    frame = pl.LazyFrame({"Preis": list(values)}, schema={"Preis": pl.String})
    return find_notations(frame, ["Preis"]).get("Preis")


def read(*values):
    found = notation_of(*values)
    frame = pl.DataFrame({"Preis": list(values)}, schema={"Preis": pl.String})
    frame = frame.with_columns(pl.when(~pl.col("Preis").is_in(found.missing)).then("Preis"))
    return frame.select(pl.sql_expr(found.sql)).to_series().to_list()


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["12,5", "7", None], [12.5, 7.0, None]),
        (["1.234,50", "-3,25"], [1234.5, -3.25]),
        (["1,234.50", "12"], [1234.5, 12.0]),
        (["1,234,567", "8"], [1234567.0, 8.0]),
        (["12,5 %", "7%"], [12.5, 7.0]),
        (["$1,234.50", "-$3.25"], [1234.5, -3.25]),
        (["1.234,50 €", "3,25 €"], [1234.5, 3.25]),
        (["EUR 12.50", "3.25 EUR"], [12.5, 3.25]),
        (["1 234,5", "12\u00a0345,0"], [1234.5, 12345.0]),
        (["1'234.5", "1\u2019000"], [1234.5, 1000.0]),
        (["12,5", "-", "n/a"], [12.5, None, None]),
    ],
)
def test_numbers_are_read_in_the_only_notation_that_fits_all(values, numbers):
    assert read(*values) == numbers


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (["31.01.2024", "1.2.2024"], "2024-01-31"),
        (["31/01/2024", "01/02/2024"], "2024-01-31"),
        (["01/31/2024", "01/02/2024"], "2024-01-31"),
        (["31-01-2024 10:30", "01-02-2024 00:00"], "2024-01-31T10:30:00"),
        (["2024/01/31", "2024/2/1"], "2024-01-31"),
    ],
)
def test_dates_are_read_in_the_only_format_that_fits_all(values, first):
    assert read(*values)[0].isoformat() == first


def test_what_can_be_read_in_two_ways_is_not_decided():
    dates = notation_of("01/02/2024", "03/04/2024")
    assert dates.sql is None
    assert dates.readings == (
        "CAST(STRPTIME(\"Preis\", '%d/%m/%Y') AS DATE)",
        "CAST(STRPTIME(\"Preis\", '%m/%d/%Y') AS DATE)",
    )
    numbers = notation_of("1,234", "5,678")
    assert numbers.sql is None
    assert len(numbers.readings) == 2


@pytest.mark.parametrize(
    "values",
    [
        ["5 mm", "6 mm"],
        ["12,5", "red"],
        ["007", "012"],
        ["1.2.3", "4.5.6"],
        ["31.02.2024"],
        ["0x1f"],
        [None, ""],
        ["12345678901234567890"],
    ],
)
def test_other_texts_stay_texts(values):
    assert notation_of(*values) is None


def test_a_late_value_of_another_kind_decides(monkeypatch):
    monkeypatch.setattr("mlops_cli.scaffold.notations.HEAD", 1)
    assert notation_of("12,5", "red") is None
