"""Invalid request rows are read as fast as valid ones, and reported within limits."""

from __future__ import annotations

import datetime as dt
import random
import time
from typing import Any

import orjson
import polars as pl
import pytest

from mlops_cli.data.column_types import TypeMismatch, convert
from mlops_cli.data.plain_values import mixed_column, single_value
from mlops_cli.online.request_rows import RequestRows

DTYPES = [pl.Int64(), pl.Float64(), pl.String(), pl.Boolean(), pl.Date(), pl.Datetime("us", "UTC")]


def test_a_bad_body_of_ten_thousand_rows_takes_a_moment() -> None:
    columns = {f"needed_{i}": DTYPES[i % len(DTYPES)] for i in range(30)}
    inputs = RequestRows(columns, tuple(columns))
    lacking = [{f"other_{i}": i for i in range(100)}] * 10_000
    wrong = [{c: [row] if row % 2 else f"x{row}" for c in columns} for row in range(10_000)]
    huge = [dict.fromkeys(columns, 2**63 + row) for row in range(10_000)]
    for rows in (lacking, wrong, huge):
        begun = time.process_time()
        read = inputs.parse(rows)
        assert time.process_time() - begun < 5, "one by one it would be minutes"
        assert read.frame.height == 0
        assert {e.row for e in read.errors} == set(range(10_000))
        assert len(read.errors) <= 10_100
    assert "Did you mean" in inputs.parse([{"neded_0": 1}]).errors[0].message


def test_a_hint_among_many_long_names_takes_a_moment() -> None:
    columns = {f"{'c' * 90}{i}": pl.Int64() for i in range(300)}
    row = {f"{'c' * 100_000}{i}": 1 for i in range(300)}
    begun = time.process_time()
    read = RequestRows(columns, tuple(columns)).parse([row] * 3)
    assert time.process_time() - begun < 2
    assert all(len(e.message) < 1_000 for e in read.errors)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_values_of_several_types_fit_together_as_they_do_alone(dtype: pl.DataType) -> None:
    rng = random.Random(3)  # noqa: S311 - values, not secrets
    some: list[Any] = [
        None, 1, 0, -5, 2**53 + 1, 2**63 - 1, -(2**63), 1.5, 2.0, -1e300, True, False, "1", "1.0",
        "x", "", "true", " 7 ", "2024-01-02", "2024-01-02T03:04:05Z", "2024-01-02 03:04",
        "2024-13-01", "9" * 2_000, [1], {"a": 1}, [], "NaN",
        dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, tzinfo=dt.UTC),
    ]  # fmt: skip
    for _ in range(60):
        values = rng.choices(some, k=rng.randint(1, 12))
        made, lost = mixed_column("c", values, dtype)
        singles = [None if v is None else single_value("c", v, dtype) for v in values]
        assert lost == [i for i, v in enumerate(values) if v is not None and singles[i] is None]
        assert made.dtype == dtype
        assert made.to_list() == [None if one is None else one[0] for one in singles]


def test_a_text_is_as_long_as_the_limit_at_most_and_concerns_its_row_alone() -> None:
    inputs = RequestRows({"note": pl.String()}, ("note",))
    rows: list[dict[str, Any]] = [{"note": "é" * 100_000}, {"note": "x" * 100_001}, {"note": None}]
    for given in (rows, [*rows, {"note": 7}]):
        read = inputs.parse(given)
        assert [e.row for e in read.errors] == [1]
        assert "'note' has 100,001 characters, and may have 100,000" in read.errors[0].message
        assert len(read.errors[0].message) < 200
    read = inputs.parse_frame(pl.DataFrame(rows))
    assert [(e.row, list(read.index)) for e in read.errors] == [(1, [0, 2])]
    assert "may have 100,000" in read.errors[0].message
    assert inputs.convert_values({"note": "x" * 100_001}) is None


@pytest.mark.parametrize("number", ["-9223372036854775809", "9223372036854775808", "-1e19"])
def test_an_integer_beyond_the_ends_is_a_misfit(number: str) -> None:
    inputs = RequestRows({"n": pl.Int64()}, ("n",))
    rows = [{"n": orjson.loads(number)}, {"n": -(2**63)}, {"n": None}, {"n": 2.0}]
    for read in (inputs.parse(rows), inputs.parse(rows[:1]), inputs.parse([rows[0], rows[3]])):
        assert [e.row for e in read.errors] == [0]
    assert inputs.parse(rows).frame["n"].to_list() == [-(2**63), None, 2]
    floats = pl.DataFrame({"n": [float(number), 2.0]})
    assert [e.row for e in inputs.parse_frame(floats).errors] == [0]


@pytest.mark.parametrize(
    ("moments", "unit"),
    [
        (2**63 - 1, "us"),
        (2**62, "us"),
        (2**62, "ms"),
        (-(2**62), "ms"),
        (253_402_300_800_000, "ms"),
    ],
)
def test_a_moment_beyond_all_years_is_a_misfit(moments: int, unit: Any) -> None:
    values = pl.Series("at", [moments, 0]).cast(pl.Datetime(unit))
    read = RequestRows({"at": DTYPES[5]}, ("at",)).parse_frame(values.to_frame())
    assert [e.row for e in read.errors] == [0]
    assert str(moments) in read.errors[0].message
    with pytest.raises(TypeMismatch, match=str(moments)):
        convert(values, pl.Datetime("us", "UTC"))


def test_a_day_beyond_all_years_is_a_misfit() -> None:
    values = pl.Series("day", [2**31 - 1, -(2**31), 0], dtype=pl.Int32).cast(pl.Date)
    for dtype in (pl.Date(), pl.Datetime("us", "UTC")):
        read = RequestRows({"day": dtype}, ("day",)).parse_frame(values.to_frame())
        assert [e.row for e in read.errors] == [0, 1]


def test_a_few_wide_rows_are_read_as_each_column_is() -> None:
    columns = {f"x{i}": pl.Float64() for i in range(60)} | {"n": pl.Int64(), "s": pl.String()}
    inputs = RequestRows(columns, tuple(columns))
    plain: list[Any] = [1.5, -0.0, 3, 2**53 + 1, None, 1e308, 5e-324, float("nan"), 10**300]
    odd = [*plain, "7", True, "x", 10**400]
    rng = random.Random(5)  # noqa: S311 - values, not secrets
    for values in (plain[:7], plain, odd):
        rows = [
            {c: rng.choice(values) for c in columns if c.startswith("x")} | {"n": 1, "s": "a"}
            for _ in range(8)
        ]
        together = inputs.parse(rows * 2)
        few = inputs.parse(rows)
        alone = [inputs.parse([row]) for row in rows]
        assert few.frame.equals(together.frame[: few.frame.height])
        assert pl.concat(read.frame for read in alone).equals(few.frame)
        assert [bool(read.errors) for read in alone] == [
            row in {e.row for e in few.errors} for row in range(8)
        ]


def test_a_column_without_a_name_is_read_as_any_other() -> None:
    inputs = RequestRows({"": pl.Int64(), "a": pl.Float64()}, ("", "a"))
    for read in (
        inputs.parse([{"": 3, "a": 1.5}, {"": "x", "a": 2.5}]),
        inputs.parse_frame(pl.DataFrame({"": ["3", "x"], "a": [1.5, 2.5]})),
    ):
        assert read.frame.columns == ["", "a"]
        assert list(read.index) == [0]
