"""The register stage: decision with reasons, record, the same bytes each time."""

import json

import pytest
from trained_projects import make_params, train_project

from mlops_cli.errors import BadParams, DataRefused, NotFound
from mlops_cli.evaluation import stage as evaluate
from mlops_cli.registry import stage as register
from mlops_cli.reporting import Silent

EASY = {
    "limits": {"roc_auc": 0.7},
    "beats_baselines": "log_loss",
    "megabytes": 5.0,
    "worst_slice": {"metric": "roc_auc", "limit": 0.6},
    "milliseconds": 10_000.0,
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = train_project(tmp_path_factory.mktemp("p"), "binary", family="linear")
    evaluate.run(make_params("binary"), layout, Silent())
    return layout


def registered(layout, gates):
    summary = register.run(
        make_params("binary", register={"name": "tumours", "gates": gates}), layout, Silent()
    )
    return summary, json.loads(layout.registration.read_text())


def test_a_model_that_keeps_to_every_gate_is_approved(layout):
    summary, record = registered(layout, EASY)
    assert record["decision"] == "approved"
    assert summary.headline.startswith("approved: tumours, roc_auc 0.")
    assert [gate["name"] for gate in record["gates"]] == [
        "limits.roc_auc",
        "beats_baselines",
        "worst_slice",
        "megabytes",
        "milliseconds",
    ]
    assert all(gate["passed"] for gate in record["gates"])


def test_one_gate_is_enough_to_reject_and_a_rejection_is_recorded_without_an_error(layout):
    summary, record = registered(layout, EASY | {"limits": {"roc_auc": 0.7, "accuracy": 1.0}})
    assert record["decision"] == "rejected"
    assert summary.headline.startswith("rejected: tumours")
    assert [gate["name"] for gate in record["gates"] if not gate["passed"]] == ["limits.accuracy"]
    assert summary.facts["decision"] == "rejected"


def test_the_record_names_the_very_bundle_and_what_it_reached(layout):
    _, record = registered(layout, EASY)
    manifest = json.loads((layout.model / "manifest.json").read_text())
    metrics = json.loads(layout.metrics.read_text())
    assert record["bundle_sha256"] == manifest["bundle_sha256"]
    assert record["metrics"] == metrics["model"]
    assert record["families"] == ["linear"]
    assert record["training"]["rows"] == {"train": 284, "validation": 114}
    assert record["training"]["window"][1] == "2024-01-17T13:00:00+00:00"
    assert record["test"]["rows"] == metrics["rows"]


def test_the_measured_latency_stays_out_of_the_record(layout):
    summary, record = registered(layout, EASY)
    gate = record["gates"][-1]
    assert gate == {"name": "milliseconds", "limit": 10_000.0, "passed": True}
    measured = json.loads((layout.work / "latency.json").read_text())["median_milliseconds"]
    assert 0 < measured < 10_000
    assert "ms for one row" in summary.tables[0].rows[-1][2]


def test_a_model_that_is_too_slow_or_too_large_is_rejected(layout):
    _, record = registered(layout, {"milliseconds": 1e-6, "megabytes": 1e-6})
    assert [gate["passed"] for gate in record["gates"]] == [False, False]


def test_the_same_inputs_give_the_same_bytes(layout):
    registered(layout, EASY)
    before = layout.registration.read_bytes()
    registered(layout, EASY)
    assert layout.registration.read_bytes() == before


def test_without_gates_any_model_is_approved_with_a_warning(layout):
    summary, record = registered(layout, {})
    assert (record["decision"], record["gates"]) == ("approved", [])
    assert "no gates" in summary.warnings[0]


def test_a_gate_on_a_misspelt_metric_is_answered_with_the_nearest(layout):
    with pytest.raises(BadParams, match="'roc_uac'") as caught:
        registered(layout, {"limits": {"roc_uac": 0.7}})
    assert "roc_auc" in caught.value.hint


def test_a_bundle_that_was_changed_is_refused(tmp_path):
    layout = train_project(tmp_path, "binary", family="linear")
    evaluate.run(make_params("binary"), layout, Silent())
    path = layout.fitted / "bundle.json"
    path.write_text(path.read_text().replace("0.4", "0.5"))
    with pytest.raises(DataRefused, match=r"bundle\.json"):
        registered(layout, EASY)
    assert not layout.registration.exists()
    assert not layout.model.exists()


def test_before_evaluation_it_says_what_is_missing(tmp_path):
    with pytest.raises(NotFound, match=r"metrics\.json"):
        registered(train_project(tmp_path, "binary", family="linear"), EASY)
