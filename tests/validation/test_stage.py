"""The validate stage: policies, quarantine, tolerances and the report."""

import json

import polars as pl
import pytest

from mlops_cli.data import parquet
from mlops_cli.errors import DataRefused
from mlops_cli.layout import Layout
from mlops_cli.params import Params
from mlops_cli.reporting import Silent
from mlops_cli.validation import stage

TABLE = pl.DataFrame(
    {"id": [1, 2, 2, 3], "size": [1, None, 3, 400], "code": ["AA", "bb", "CC", "d"]}
)


def run(root, rules, table=TABLE, source=None, **settings):
    parquet.write(table, root / "data/ingested/t.parquet")
    params = Params.model_validate(
        {
            "project": {"name": "p"},
            "task": {"type": "regression"},
            "ingest": {"sources": {"t": {"uri": "t.csv", **(source or {})}}},
            "validate": {"sources": {"t": rules} if rules else {}, **settings},
            "featurize": {"base": "t", "target": "size"},
            "register": {"name": "model"},
        }
    )
    return stage.run(params, Layout(root), Silent())


def report(root, at="reports/validation.json"):
    return json.loads((root / at).read_text())["sources"]["t"]


def columns(policy, tolerate=None, **rules):
    return {
        "columns": {
            "code": {
                "type": "string",
                "pattern": {"value": "^[A-Z]{2}$", "policy": policy, "tolerate": tolerate},
            },
            **rules,
        }
    }


def test_a_source_without_rules_passes_as_it_is(tmp_path):
    run(tmp_path, None)
    given = (tmp_path / "data/ingested/t.parquet").read_bytes()
    assert (tmp_path / "data/validated/t.parquet").read_bytes() == given
    assert list((tmp_path / "data/quarantine").iterdir()) == []


def test_a_broken_rule_fails_with_count_share_and_examples_and_a_report(tmp_path):
    with pytest.raises(DataRefused) as error:
        run(tmp_path, columns("fail"), show_values=True)
    assert error.value.message == (
        "t.code breaks `pattern ^[A-Z]{2}$` in 2 of 4 rows (50.000%): 'bb', 'd'"
    )
    assert "reports/validation.json" in error.value.hint
    assert error.value.exit_code == 4
    assert not (tmp_path / "data/validated").exists()
    for at in ("reports/validation.json", ".mlops/validation.json"):
        rule = report(tmp_path, at)["rules"][0]
        assert rule == {
            "rule": "pattern ^[A-Z]{2}$",
            "column": "code",
            "policy": "fail",
            "count": 2,
            "share": 0.5,
            "tolerated": 0.0,
            "passed": False,
            "examples": [{"row": 2, "value": "bb"}, {"row": 4, "value": "d"}],
        }


def test_a_tolerated_share_passes_with_a_warning(tmp_path):
    summary = run(tmp_path, columns("fail", 0.5))
    assert "t.code breaks" in summary.warnings[0]
    assert pl.read_parquet(tmp_path / "data/validated/t.parquet").height == 4


def test_quarantined_rows_leave_with_their_reasons_and_nothing_is_lost(tmp_path):
    size = {"type": "number", "max": {"value": 100, "policy": "quarantine"}}
    key = {"type": "integer", "unique": {"value": True, "policy": "quarantine"}}
    summary = run(tmp_path, columns("quarantine", size=size, id=key))
    kept = pl.read_parquet(tmp_path / "data/validated/t.parquet")
    aside = pl.read_parquet(tmp_path / "data/quarantine/t.parquet")
    assert kept["id"].to_list() == [1]
    assert aside.select("id", "code", "_reason").rows() == [
        (2, "bb", "code pattern ^[A-Z]{2}$"),
        (2, "CC", "id unique"),
        (3, "d", "code pattern ^[A-Z]{2}$; size max 100"),
    ]
    assert kept.columns == TABLE.columns
    assert kept.schema["size"] == aside.schema["size"] == pl.Float64
    assert "3 rows went to quarantine" in summary.headline
    entry = report(tmp_path)
    assert (entry["rows_in"], entry["rows_out"], entry["quarantined"]) == (4, 1, 3)


def test_too_much_for_quarantine_fails(tmp_path):
    with pytest.raises(DataRefused, match="in 2 of 4 rows"):
        run(tmp_path, columns("quarantine", 0.25))


def test_a_warning_keeps_every_row(tmp_path):
    summary = run(tmp_path, columns("warn"), show_values=True)
    assert summary.tables[0].rows == (
        ("t.code pattern ^[A-Z]{2}$", 2, "50.000%", "warn", "'bb', 'd'"),
    )
    assert pl.read_parquet(tmp_path / "data/validated/t.parquet").equals(TABLE)


def test_a_changed_type_fails_before_anything_else(tmp_path):
    with pytest.raises(DataRefused) as error:
        run(tmp_path, columns("fail", size={"type": "string"}))
    assert error.value.message == "t.size is integer, params.yaml says string"


def test_two_runs_give_the_same_bytes(tmp_path):
    def files():
        run(tmp_path, columns("quarantine"))
        return {p: p.read_bytes() for p in sorted(tmp_path.rglob("*")) if p.is_file()}

    assert files() == files()


def test_a_run_without_quarantine_clears_the_former_one(tmp_path):
    run(tmp_path, columns("quarantine"))
    run(tmp_path, columns("warn"))
    assert list((tmp_path / "data/quarantine").iterdir()) == []


def test_no_value_of_a_text_is_in_the_report_or_the_output_unless_asked_for(tmp_path):
    people = [f"person{i}.surname@example.org" for i in range(3)]
    table = pl.DataFrame({"id": [7001, 7001, 7002], "size": [1.0, 2.0, -9.5], "email": people})
    rules = {
        "columns": {
            "id": {"type": "integer", "unique": {"value": True, "policy": "warn"}},
            "size": {"type": "number", "min": {"value": 0, "policy": "warn"}},
            "email": {"type": "string", "pattern": {"value": "^x", "policy": "warn"}},
        }
    }
    summary = run(tmp_path, rules, table)
    said = repr(summary) + (tmp_path / "reports/validation.json").read_text()
    assert not any(secret in said for secret in ("person0", "surname", "7001"))
    assert "aaaaaa9.aaaaaaa@aaaaaaa." in said
    assert "-9.5" in said
    run(tmp_path, rules, table, show_values=True)
    assert people[0] in (tmp_path / "reports/validation.json").read_text()


def test_what_the_data_clock_emptied_breaks_no_rule_on_nullability(tmp_path):
    table = pl.DataFrame(
        {
            "closed": ["2024-01-02", None, None],
            "returned": [True, None, None],
            "amount": [1.0, None, 3.0],
            "_pending": [False, True, False],
        },
        schema_overrides={"closed": pl.String},
    ).with_columns(pl.col("closed").str.to_date())
    never = {"nullable": False}
    rules = {
        "columns": {
            "closed": {"type": "date", **never},
            "returned": {"type": "boolean", **never},
            "amount": {"type": "number", **never},
        }
    }
    late = {"known_at": {"returned": "closed"}}
    with pytest.raises(DataRefused) as error:
        run(tmp_path, rules, table, source=late)
    assert "breaks `not null` in 1 of 3 rows" in error.value.message
    assert "Also broken: " in error.value.hint
    held = {r["column"]: r["count"] for r in report(tmp_path)["rules"] if r["rule"] == "not null"}
    assert held == {"closed": 1, "returned": 1, "amount": 1}, "row 3 wasn't emptied, row 2 was"
    run(
        tmp_path,
        {"columns": {**rules["columns"], "amount": {"type": "number"}}},
        table[:2],
        source=late,
    )
