"""Lineage and schema: hashes of values, and rules that can be parsed again."""

import json

from mlops_cli.params.split import Split
from mlops_cli.params.train import Train
from mlops_cli.params.validate import SourceRules
from mlops_cli.registry.lineage import fingerprints, schema

RULES = SourceRules.model_validate(
    {
        "columns": {
            "size": {"type": "number", "min": 0, "max": {"value": 9.5, "policy": "warn"}},
            "day": {"type": "date", "min": "2024-01-01", "nullable": False},
            "kind": {"type": "string", "allowed": ["a", "b"]},
        },
        "rows": [10, None],
        "unique": ["day"],
    }
)
PROGRAM = {
    "rules": {"base": "trips"},
    "sources": {
        "trips": {
            "schema": {"size": "Float64", "day": "Date", "kind": "String", "_pending": "Boolean"},
            "time": "day",
            "known_at": {},
        },
        "buses": {"schema": {"at": "Datetime", "n": "Int64"}, "time": None, "known_at": {}},
    },
}


def test_a_fingerprint_goes_by_values_alone():
    short = fingerprints({"train": Train(), "split": Split()})
    long = fingerprints({"split": Split(strategy="random"), "train": Train(early_stopping=50)})
    assert short == long
    other = fingerprints({"train": Train(early_stopping=51), "split": Split()})
    assert other["train"] != short["train"]
    assert other["split"] == short["split"]


def test_the_schema_names_types_as_the_parameters_do_and_leaves_bookkeeping_out():
    found = schema(PROGRAM, {"trips": RULES})
    assert found["base"] == "trips"
    assert found["sources"]["trips"]["columns"] == {
        "size": "number",
        "day": "date",
        "kind": "string",
    }
    assert found["sources"]["buses"]["columns"] == {"at": "datetime", "n": "integer"}
    assert found["sources"]["buses"]["rules"] == {}


def test_the_rules_can_be_read_again():
    written = json.dumps(schema(PROGRAM, {"trips": RULES}))
    rules = json.loads(written)["sources"]["trips"]["rules"]
    assert SourceRules.model_validate_json(json.dumps(rules)) == RULES
