"""Policies for values outside of the training data: refuse, impute, flag, accept."""

from __future__ import annotations

import datetime as dt
import tracemalloc
from typing import Any

import polars as pl
import pytest

from mlops_cli.errors import BadParams
from mlops_cli.online.request_rows import ParsedRows, RequestRows, RowError
from mlops_cli.online.value_policies import ValuePolicies, known_columns
from mlops_cli.params.serve import ColumnPolicy

COLUMNS = {
    "km": pl.Float64(),
    "seats": pl.Int64(),
    "town": pl.String(),
    "code": pl.String(),
    "day": pl.Date(),
    "late": pl.Float64(),
}
INPUTS = RequestRows(COLUMNS, ("km", "seats", "town", "code", "day"), ("late",))
RULES = {
    "km": {"min": {"value": 1}, "max": {"value": 900, "policy": "warn"}},
    "code": {"pattern": {"value": "^[A-Z]{2}$"}, "nullable": {"value": False}},
    "day": {"min": {"value": "2024-01-01T00:00:00Z"}},
    "late": {"nullable": {"value": False}},
}
SEEN = {
    "seats": {"min": 2.0, "max": 9.0},
    "town": {"categories": ["Ulm", "Bern"]},
    "code": {"categories": ["AB", "CD", "xx"]},
}
GOOD = {"km": 5.0, "seats": 4, "town": "Ulm", "code": "AB", "day": "2024-05-01"}


def judged(row: dict[str, Any], **wanted: dict[str, str]) -> ParsedRows:
    """A row between two good ones."""
    policies = {c.replace("every", "*"): ColumnPolicy.model_validate(p) for c, p in wanted.items()}
    read = INPUTS.parse([GOOD, {**GOOD, **row}, GOOD])
    assert not read.errors
    return ValuePolicies(INPUTS, RULES, SEEN, policies).apply(read)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"km": 0.5}, "0.5 in column 'km' is below the least, 1"),
        ({"km": float("inf")}, "inf in column 'km' is not finite"),
        ({"code": "abc"}, "'abc' in column 'code' doesn't match ^[A-Z]{2}$"),
        ({"code": "xx"}, "'xx' in column 'code' doesn't match ^[A-Z]{2}$"),
        ({"code": None}, "column 'code' has no value"),
        ({"day": "2023-12-31"}, "2023-12-31 in column 'day' is below the least, 2024-01-01"),
    ],
)
def test_what_breaks_a_rule_is_refused(row: dict[str, Any], said: str) -> None:
    read = judged(row)
    assert read.index == [0, 2]
    assert read.frame.height == 2
    (error,) = read.errors
    assert (error.row, error.message) == (1, said)


@pytest.mark.parametrize(
    ("row", "kind", "said"),
    [
        ({"km": 901.0}, "range", "901.0 in column 'km' is above the most, 900"),
        ({"seats": 1}, "range", "1 in column 'seats' is below the least in training, 2"),
        ({"seats": 10}, "range", "10 in column 'seats' is above the most in training, 9"),
        ({"town": "Zürich"}, "unseen", "'Zürich' in column 'town' was not seen in training"),
        ({"code": "ZZ"}, "unseen", "'ZZ' in column 'code' was not seen in training"),
    ],
)
def test_what_only_training_has_not_seen_is_told(row: dict[str, Any], kind: str, said: str) -> None:
    read = judged(row)
    assert not read.errors
    (warning,) = read.warnings
    assert (warning.row, warning.kind, warning.policy) == (1, kind, "flag")
    assert warning.message == said
    (column,) = row
    assert read.frame[column][1] == row[column]


@pytest.mark.parametrize("row", [{"town": None}, {"seats": None}, {"day": None}, {"late": None}])
def test_a_missing_value_is_a_value_unless_a_rule_forbids_it(row: dict[str, Any]) -> None:
    read = judged(row)
    assert (read.errors, read.warnings, read.frame.height) == ((), (), 3)


def test_a_columns_own_policy_goes_before_the_general_one_and_both_before_the_rules() -> None:
    row = {"km": 0.0, "seats": 99, "town": "?", "code": "?", "day": None}
    read = judged(row, every={"unseen": "impute", "missing": "flag"}, km={"range": "impute"})
    assert not read.errors
    assert read.frame.row(1) == (None, 99, None, None, None, None)
    assert {w.column: (w.kind, w.policy) for w in read.warnings} == {
        "km": ("range", "impute"),
        "seats": ("range", "flag"),
        "town": ("unseen", "impute"),
        "code": ("unseen", "impute"),
        "day": ("missing", "flag"),
    }
    assert read.warnings[0].message.endswith("is below the least, 1, and is taken as missing")


def test_what_is_accepted_is_not_told() -> None:
    row = {"km": float("-inf"), "seats": 99, "town": "?", "code": None}
    every = {"range": "accept", "unseen": "accept", "missing": "accept"}
    read = judged(row, every=every)
    assert (read.errors, read.warnings, read.frame.height) == ((), (), 3)
    assert judged({"code": None}, every=every, code={"missing": "refuse"}).errors


def test_the_warnings_of_some_rows_count_from_their_first() -> None:
    read = judged({"seats": 99})
    assert [w.row for w in read.slice(1, 2).warnings] == [0]
    assert read.slice(2, 1).warnings == ()


def test_a_moment_is_held_against_a_moment() -> None:
    inputs = RequestRows({"at": pl.Datetime("us", "UTC")}, ("at",))
    rules = {"at": {"min": {"value": "2024-01-01T00:00:00+01:00"}}}
    policies = ValuePolicies(inputs, rules, {}, {})
    late = dt.datetime(2023, 12, 31, 23, 0, tzinfo=dt.UTC)
    rows = [{"at": late}, {"at": late - dt.timedelta(seconds=1)}]
    assert [e.row for e in policies.apply(inputs.parse(rows)).errors] == [1]


def test_a_column_that_nobody_gives_is_refused() -> None:
    known_columns({"*": ColumnPolicy(), "km": ColumnPolicy()}, INPUTS)
    with pytest.raises(BadParams, match=r"serve.columns names 'twon'") as caught:
        known_columns({"twon": ColumnPolicy()}, INPUTS)
    assert "town" in str(caught.value.hint)


WIDE = [f"c{n}" for n in range(100)]


def wide(policy: str, *, thorough: bool = False, rows: int = 10_000) -> ParsedRows:
    """Rows of a hundred columns, of which no value was seen in training."""
    inputs = RequestRows({c: pl.String() for c in WIDE}, tuple(WIDE))
    seen = {c: {"categories": ["a"]} for c in WIDE}
    policies = ValuePolicies(
        inputs, {}, seen, {"*": ColumnPolicy.model_validate({"unseen": policy})}
    )
    frame = pl.DataFrame({c: ["?"] for c in WIDE}).select(pl.all().repeat_by(rows).explode())
    return policies.apply(inputs.parse_frame(frame), list_all=thorough)


@pytest.mark.parametrize("policy", ["flag", "impute", "refuse"])
def test_a_million_values_that_break_a_policy_are_listed_within_bounds(policy: str) -> None:
    wide(policy, rows=10)
    tracemalloc.start()
    read = wide(policy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000
    if policy == "refuse":
        assert {e.row for e in read.errors} == set(range(10_000))
        assert len(read.errors) < 10_200
        return
    assert len(read.warnings) == 10_000
    assert {w.row for w in read.warnings} == set(range(10_000)), "each row has its first"
    assert sum(int(f.is_flagged.sum()) for f in read.flagged) == 1_000_000
    assert read.count_unlisted_warnings() == dict.fromkeys(range(10_000), 99)
    piece = read.slice(5_000, 10)
    assert piece.count_unlisted_warnings() == dict.fromkeys(range(10), 99)
    assert sum(int(f.is_flagged.sum()) for f in piece.flagged) == 1_000


def test_a_row_lists_its_first_ten_warnings() -> None:
    read = wide("flag", rows=3)
    assert [w.row for w in read.warnings].count(1) == 10
    assert read.count_unlisted_warnings() == {0: 90, 1: 90, 2: 90}
    kept = read.keep_valid(pl.Series([True, False, True]), [RowError(1, "c0", "?", "no")])
    assert kept.count_unlisted_warnings() == {0: 90, 2: 90}
    assert judged({"seats": 99}).count_unlisted_warnings() == {}


def test_a_file_lists_warnings_of_every_row() -> None:
    read = wide("flag", rows=1_500, thorough=True)
    assert len(read.warnings) == 15_000


def test_a_few_wide_rows_are_judged_as_many_are() -> None:
    columns = {f"x{i}": pl.Float64() for i in range(40)} | {"town": pl.String(), "day": pl.Date()}
    inputs = RequestRows(columns, tuple(columns))
    rules: dict[str, Any] = {
        c: {"max": {"value": 9, "policy": "warn"}} for c in columns if c[0] == "x"
    }
    rules["day"] = {"min": {"value": "2024-01-01T00:00:00Z"}, "nullable": {"value": False}}
    policies = ValuePolicies(inputs, rules, {"town": {"categories": ["Ulm"]}}, {})
    good = dict.fromkeys(columns, 1.0) | {"town": "Ulm", "day": "2024-05-01"}
    odd = [{"x7": 10.0}, {"x39": None}, {"town": "Bern"}, {"day": None}, {"day": "2020-01-01"}, {}]
    rows = [good | change for change in odd]
    few = policies.apply(inputs.parse(rows))
    many = policies.apply(inputs.parse(rows + [good] * 20))
    assert few.errors == many.errors
    assert few.warnings == many.warnings
    assert {w.column for w in few.warnings} == {"x7", "town"}
    assert {e.row for e in few.errors} == {3, 4}
