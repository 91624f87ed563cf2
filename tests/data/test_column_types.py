"""Column types: parsing of values, and errors for those that don't fit."""

import datetime as dt

import polars as pl
import pytest

from mlops_cli.data.column_types import DTYPES, TypeMismatch, convert, type_name

MOMENT = dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2013-01-01T05:00:00Z",
        "2013-01-01 05:00:00",
        "2013-01-01T05:00",
        "2013-01-01 05:00Z",
        "2013-01-01T07:00:00+02:00",
        "2013-01-01T07:00:00.000+0200",
        "2013-01-01 05:00:00 UTC",
        "2013-01-01T07:00:00+02",
    ],
)
def test_iso_moments_are_read_alone_and_in_company(text):
    alone = convert(pl.Series("t", [None, text]), DTYPES["datetime"])
    among = convert(pl.Series("t", ["2012-01-01T00:00:00Z", text]), DTYPES["datetime"])
    assert alone[1] == among[1] == MOMENT


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["1", " 2 ", "3.0"], "integer", [1, 2, 3]),
        ([1.0, None], "integer", [1, None]),
        (["1e3", "nan"], "number", [1000.0, None]),
        (["yes", "FALSE", "1"], "boolean", [True, False, True]),
        ([1, 0], "boolean", [True, False]),
        ([1, 2], "string", ["1", "2"]),
        (["2013-01-01"], "date", [dt.date(2013, 1, 1)]),
        ([dt.date(2013, 1, 1)], "datetime", [MOMENT.replace(hour=0)]),
        ([MOMENT.replace(tzinfo=None)], "datetime", [MOMENT]),
        ([None, None], "datetime", [None, None]),
    ],
)
def test_values_become_the_stated_type(values, kind, expected):
    made = convert(pl.Series("x", values), DTYPES[kind])
    assert made.dtype == DTYPES[kind]
    assert made.to_list() == expected


@pytest.mark.parametrize(
    ("values", "kind", "culprit"),
    [
        (["1", "x"], "integer", "x"),
        ([1.0, 2.5], "integer", 2.5),
        (["2013-13-01"], "datetime", "2013-13-01"),
        ([5], "datetime", 5),
        ([1, 2], "boolean", 2),
        (["true", "perhaps"], "boolean", "perhaps"),
    ],
)
def test_the_first_value_that_does_not_fit_is_named(values, kind, culprit):
    with pytest.raises(TypeMismatch) as error:
        convert(pl.Series("x", values), DTYPES[kind])
    assert (error.value.column, error.value.value, error.value.expected_type) == (
        "x",
        culprit,
        kind,
    )


def test_types_have_the_names_of_the_settings():
    names = [
        type_name(t) for t in (pl.Int8(), pl.Float32(), pl.Datetime("ns"), pl.List(pl.Int64()))
    ]
    assert names == ["integer", "number", "datetime", "list(int64)"]
