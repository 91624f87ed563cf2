"""Types of text columns fit every value, and agree with ingest."""

from __future__ import annotations

import datetime as dt

import polars as pl
import pytest

from mlops_cli.data.column_types import DTYPES, convert
from mlops_cli.scaffold import infer_types
from mlops_cli.scaffold.infer_types import cast_columns, read_text_types


def found_in(*values: str | None, only_dates: bool = False):
    frame = pl.LazyFrame({"x": list(values)}, schema={"x": pl.String})
    return read_text_types(frame, only_dates=only_dates)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", "300"], "integer"),
        (["1", "2.5", "1e3"], "number"),
        (["1.0", "2."], "number"),
        ([".5", "+1"], "number"),
        ([" 39", " 40"], "integer"),
        (["00123", "4567"], "string"),
        (["12345678901234567890", "1"], "string"),
        (["true", "False"], "boolean"),
        (["yes", "no"], "string"),
        (["2024-01-31", "1999-12-01"], "date"),
        (["2024-02-31", "2024-01-01"], "string"),
        (["2024-01-31T10:00:00Z"], "datetime"),
        (["2024-01-31 10:00", "2024-01-31T10:00:05.25+02:00"], "datetime"),
        (["01/02/2024"], "string"),
        (["1", "two"], "string"),
        (["", None], "string"),
        (["0x10", "1_0"], "string"),
    ],
)
def test_a_columns_type_is_that_of_all_its_values(values, expected):
    assert found_in(*values).types == {"x": expected}


def test_one_late_value_of_another_type_decides(monkeypatch):
    monkeypatch.setattr(infer_types, "HEAD", 3)
    assert found_in("1", "2", "3", "4", "4.5").types == {"x": "number"}
    assert found_in("1", "2", "3", "4", "none of it").types == {"x": "string"}


def test_a_column_that_begins_without_values_is_still_recognised(monkeypatch):
    monkeypatch.setattr(infer_types, "HEAD", 2)
    assert found_in("", None, "7").types == {"x": "integer"}


def test_texts_for_missing_values_are_named_only_where_a_type_needs_them():
    frame = pl.LazyFrame({"a": ["1", "?", "NA"], "b": ["x", "-", "y"]})
    found = read_text_types(frame)
    assert found.types == {"a": "integer", "b": "string"}
    assert found.null_values == {"a": ("?", "NA")}
    assert cast_columns(frame, found).collect()["a"].to_list() == [1, None, None]


def test_text_of_a_typed_file_is_read_as_dates_but_never_as_numbers():
    assert found_in("1", "2", only_dates=True).types == {"x": "string"}
    assert found_in("2024-01-31", only_dates=True).types == {"x": "date"}


def test_a_typed_table_is_what_ingest_makes_of_the_same_text():
    texts = {
        "whole": ["1", None, "-3"],
        "real": ["1.5", "", "2e3"],
        "flag": ["TRUE", "false", None],
        "day": ["2024-01-31", "1969-07-20", None],
        "zoned": ["2024-01-31T10:00:00Z", "2024-01-31T10:00:00+02:00", None],
        "minute": ["2024-01-31 10:00", None, "2024-02-01 23:59"],
    }
    frame = pl.DataFrame(texts)
    found = read_text_types(frame.lazy())
    ours = cast_columns(frame.lazy(), found).collect()
    for name, kind in found.types.items():
        ingested = convert(frame[name].replace("", None), DTYPES[kind])
        assert ours[name].to_list() == ingested.to_list(), name


def test_an_offset_moves_a_moment_to_utc():
    frame = pl.LazyFrame({"x": ["2024-01-31T10:00:00+02:00"]})
    moment = cast_columns(frame, read_text_types(frame)).collect()["x"][0]
    assert moment == dt.datetime(2024, 1, 31, 8, tzinfo=dt.UTC)


def test_whole_numbers_of_nineteen_digits_keep_every_digit():
    assert found_in("1700000000000000000", "1700000000001000003").types == {"x": "integer"}
    assert found_in("9223372036854775807", "-9223372036854775808").types == {"x": "integer"}
    assert found_in("9223372036854775808").types == {"x": "string"}
    assert found_in("17", "170000000000000000000000").types == {"x": "string"}
    assert found_in("1.7e30", "2").types == {"x": "number"}
