"""Validation rules: which rows each rule finds, and invalid rules."""

import datetime as dt
import re

import polars as pl
import pytest

from mlops_cli.errors import BadParams
from mlops_cli.params.validate import SourceRules
from mlops_cli.validation import table_rules
from mlops_cli.validation.column_rules import ColumnRule, RuleFinding, compile_rows
from mlops_cli.validation.validator import check_source

UNTIL = dt.datetime(2020, 1, 10, tzinfo=dt.UTC)


def check(table, rules, until=None, time=None, **others):
    raw = {"t": table.lazy(), **{name: frame.lazy() for name, frame in others.items()}}
    given = SourceRules.model_validate(rules)
    return check_source("t", given, raw, time=time, until=until, examples=3)


def broken(checked):
    """Each broken rule with its count and the rows of its examples."""
    return {
        f.rule.label: (f.count, [row for row, _ in f.examples]) for f in checked.findings if f.count
    }


VALUES = {
    "n": ({"type": "integer", "min": 0, "max": 10}, [5, -1, None, 11, 0]),
    "x": ({"type": "number", "max": 1.5}, [1.5, 2.0, None, float("inf"), -3.0]),
    "s": (
        {"type": "string", "pattern": "^[A-Z]{2}$", "nullable": False},
        ["AA", "a", None, "AAA", "BB"],
    ),
    "k": ({"type": "string", "allowed": ["u", "v"]}, ["u", "w", None, "v", "v"]),
    "b": ({"type": "boolean", "allowed": [True]}, [True, False, None, True, True]),
    "t": (
        {"type": "datetime", "min": "2020-01-02"},
        [dt.datetime(2020, 1, d, tzinfo=dt.UTC) for d in (1, 2, 3, 4, 5)],
    ),
    "d": ({"type": "date", "max": "2020-01-04"}, [dt.date(2020, 1, d) for d in (1, 2, 3, 4, 5)]),
}


def test_each_rule_finds_its_rows_and_null_breaks_only_nullability():
    table = pl.DataFrame({c: values for c, (_, values) in VALUES.items()}, strict=False)
    table = table.with_columns(pl.col("t").dt.cast_time_unit("us").dt.replace_time_zone("UTC"))
    found = broken(check(table, {"columns": {c: rules for c, (rules, _) in VALUES.items()}}))
    assert found == {
        "n min 0": (1, [2]),
        "n max 10": (1, [4]),
        "x max 1.5": (2, [2, 4]),
        "s pattern ^[A-Z]{2}$": (2, [2, 4]),
        "s not null": (1, [3]),
        "k allowed u, v": (1, [2]),
        "b allowed True": (1, [2]),
        "t min 2020-01-02 00:00:00+00:00": (1, [1]),
        "d max 2020-01-04 00:00:00+00:00": (1, [5]),
    }


def test_batches_give_what_the_whole_gives(monkeypatch):
    table = pl.DataFrame({"n": [i % 7 for i in range(1000)]})
    rules = {"columns": {"n": {"type": "integer", "max": {"value": 5, "policy": "quarantine"}}}}
    whole = check(table, rules)
    monkeypatch.setattr("mlops_cli.validation.validator.BATCH_ROWS", 64)
    batches = check(table, rules)
    assert batches.quarantined.equals(whole.quarantined)
    assert batches.findings == whole.findings
    assert whole.quarantined["_at"].to_list() == [i for i in range(1000) if i % 7 == 6]


@pytest.mark.parametrize(
    ("dtype", "values", "says", "fits"),
    [
        (pl.Int64, [1, None], "number", True),
        (pl.Float64, [1.0, None], "integer", True),
        (pl.Float64, [1.5], "integer", False),
        (pl.String, ["1"], "number", False),
        (pl.String, [None], "datetime", True),
        (pl.Date, [dt.date(2020, 1, 1)], "datetime", False),
        (pl.List(pl.Int64), [[1]], "string", False),
    ],
)
def test_types_are_families(dtype, values, says, fits):
    table = pl.DataFrame({"c": pl.Series(values, dtype=dtype)})
    checked = check(table, {"columns": {"c": {"type": says}}})
    assert all(f.passed for f in checked.findings) == fits
    if not fits:
        assert re.search(rf"t\.c is .*, params.yaml says {says}", checked.findings[0].describe())


def test_a_missing_column_suggests_the_nearest():
    checked = check(pl.DataFrame({"carier": ["x"]}), {"columns": {"carrier": {"type": "string"}}})
    assert checked.findings[0].describe() == (
        "t has no column 'carrier', params.yaml says string. Did you mean 'carier'?"
    )


def test_columns_without_rules_follow_their_policy_and_bookkeeping_is_passed_over():
    table = pl.DataFrame({"a": [1], "z": [2], "_pending": [True]})
    columns = {"a": {"type": "integer"}}
    assert not broken(check(table, {"columns": columns}))
    for policy, passed in (("warn", True), ("fail", False)):
        found = check(table, {"columns": columns, "other_columns": policy}).findings[0]
        assert found.passed == passed
        assert found.describe().endswith("doesn't name: z")


def test_later_duplicates_offend_and_keys_with_null_do_not():
    table = pl.DataFrame({"a": [1, 1, None, None, 1], "b": [1, 2, 3, 3, 2]})
    assert table_rules.duplicates(table.lazy(), ["a"])["_at"].to_list() == [1, 4]
    assert table_rules.duplicates(table.lazy(), ["a", "b"])["_at"].to_list() == [4]


def test_references_find_keys_that_are_not_there():
    table = pl.DataFrame({"k": ["a", "z", None, "b", "z"]})
    rules = {"references": [{"columns": ["k"], "source": "u", "to": ["id"]}]}
    checked = check(table, rules, u=pl.DataFrame({"id": ["a", "b"]}))
    assert broken(checked) == {"k in u(id)": (2, [2, 5])}


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ({"columns": ["q"], "to": ["id"]}, "names the column 'q'"),
        ({"columns": ["k"], "to": ["id", "n"]}, "pairs 1 columns with 2"),
        ({"columns": ["k"], "to": ["n"]}, r"compares 'k' \(string\) with u.n \(integer\)"),
    ],
)
def test_references_that_cannot_be_followed_are_bad_settings(reference, says):
    other = pl.DataFrame({"id": ["a"], "n": [1]})
    with pytest.raises(BadParams, match=says):
        check(pl.DataFrame({"k": ["a"]}), {"references": [{"source": "u", **reference}]}, u=other)


def test_freshness_is_judged_by_the_clock_and_skipped_without_one():
    table = pl.DataFrame({"at": [dt.datetime(2020, 1, 3, tzinfo=dt.UTC)]})
    stale = check(table, {"fresh_within": "6d"}, UNTIL, "at")
    assert "more than 6d before the data clock" in stale.findings[-1].describe()
    assert not broken(check(table, {"fresh_within": "7d"}, UNTIL, "at"))
    assert "not checked" in check(table, {"fresh_within": "6d"}, None, "at").notes[0]
    with pytest.raises(BadParams, match="fresh_within needs to know"):
        check(table, {"fresh_within": "6d"}, UNTIL)


def test_size_is_that_of_the_rows_that_stay():
    table = pl.DataFrame({"n": [1, 2]})
    rules = {"columns": {"n": {"type": "integer", "max": {"value": 0, "policy": "quarantine"}}}}
    assert check(table, rules).findings[-1].describe() == (
        "t has 0 rows, and params.yaml asks for `rows >= 1`"
    )


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        ({"type": "string", "min": 1}, "has no order"),
        ({"type": "integer", "min": "2020-01-01"}, "not of the column's type integer"),
        ({"type": "string", "allowed": [1]}, "has 1, which is not"),
        ({"type": "datetime", "allowed": ["soon"]}, "has 'soon'"),
        ({"type": "integer", "pattern": "x"}, "the column's type is integer"),
        ({"type": "string", "pattern": "(x"}, "is not a regular expression"),
    ],
)
def test_rules_that_do_not_go_with_the_type_are_bad_settings(rules, says):
    with pytest.raises(BadParams, match=says) as error:
        compile_rows("t", SourceRules.model_validate({"columns": {"c": rules}}))
    assert "validate.sources.t.columns.c." in error.value.message


def test_policies_tolerate_what_they_say():
    def passes(policy, tolerate):
        return RuleFinding(ColumnRule("t", ("c",), "r", policy, tolerate), 1, 10).passed

    assert [passes(p, None) for p in ("fail", "quarantine", "warn")] == [False, True, True]
    assert [passes(p, 0.05) for p in ("fail", "quarantine", "warn")] == [False] * 3
    assert [passes(p, 0.1) for p in ("fail", "quarantine", "warn")] == [True] * 3


def test_a_finding_is_one_sentence():
    finding = RuleFinding(
        ColumnRule("flights", ("carrier",), "pattern ^[A-Z0-9]{2}$"),
        12,
        336776,
        ((3, "aa"), (9, "x1z")),
    )
    assert finding.describe() == (
        "flights.carrier breaks `pattern ^[A-Z0-9]{2}$` in 12 of 336776 rows (0.004%): 'aa', 'x1z'"
    )


def test_rules_of_a_wide_table_find_their_rows_in_every_column():
    rules = {f"c{i}": {"type": "number", "min": 0, "nullable": False} for i in range(130)}
    table = pl.DataFrame({f"c{i}": [1.0, -1.0 if i % 2 else 1.0, None] for i in range(130)})
    found = broken(check(table, {"columns": rules}))
    assert found == {f"c{i} not null": (1, [3]) for i in range(130)} | {
        f"c{i} min 0": (1, [2]) for i in range(1, 130, 2)
    }


@pytest.mark.parametrize("name", ["", " ", "index", "check", "column_0", "column_1"])
def test_a_column_may_have_any_name(name):
    table = pl.DataFrame({"other": [1, 2, 3], name: ["a", None, "c"]}, strict=False)
    rules = {"type": "string", "nullable": False, "allowed": ["a"]}
    checked = check(table, {"columns": {"other": {"type": "integer", "max": 2}, name: rules}})
    found = {(f.rule.columns[0], f.rule.name): f.count for f in checked.findings if f.count}
    assert found == {("other", "max 2"): 1, (name, "not null"): 1, (name, "allowed a"): 1}
