"""The models of two revisions are compared on the same test rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from replay_projects import Project, make_orders, register_version

from mlops_cli.cli.app import main
from mlops_cli.data import parquet
from mlops_cli.layout import SPLITS, TARGET
from mlops_cli.models import bundle

FIGURE = {"value": 0.8, "low": 0.7, "high": 0.9}


def report(project: Project, value: float = 0.8) -> None:
    """Write what a run says of the workspace's model."""
    layout = project.layout
    digest = json.loads((layout.model / "manifest.json").read_text())["bundle_sha256"]
    rows = parquet.count(layout.split("test"))
    files = {
        layout.metrics: {"model": {"roc_auc": {**FIGURE, "value": value}}},
        layout.evaluation: {"metrics": ["roc_auc"], "confidence": 0.95, "rows": rows},
        layout.registration: {"bundle_sha256": digest},
    }
    for path, content in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """v0.1.0 knows two columns, v0.2.0 one more, of the same rows of which it was split alike."""
    made = Project(tmp_path / "shop", timed=False, strategy="random").create()
    for number, columns in {"v0.1.0": ("a", "b"), "v0.2.0": ("a", "b", "c")}.items():
        made.fit(make_orders(600), columns=columns)
        report(made)
        register_version(made.root, number)
    monkeypatch.chdir(made.root)
    return made


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", [("compare", "shop@v0.1.0"), ("models", "diff", "v0.1.0")])
def test_splits_that_differ_in_a_column_are_the_same_rows(project, capsys, command) -> None:
    found = told(capsys, *command, "shop@v0.2.0" if command[0] == "compare" else "v0.2.0")
    assert found["notes"] == ["differences are of both models on the same 120 test rows: paired"]
    (metric,) = found["metrics"]
    low, high = metric["paired"]["low"], metric["paired"]["high"]
    assert low < 0 < high
    assert high - low < 0.05, "much narrower than what either figure has by itself"
    assert metric["verdict"] == "unclear"


def test_a_page_says_no_clear_difference(project, capsys) -> None:
    assert main(["compare", "shop@v0.1.0", "--markdown"]) == 0
    row = next(r for r in capsys.readouterr().out.splitlines() if r.startswith("| roc"))
    assert row.endswith("| no clear difference |")


def test_rows_that_only_one_was_tested_on_are_left_out(project, capsys) -> None:
    layout = project.layout
    parts = {name: parquet.scan(layout.split(name)).collect() for name in SPLITS}
    # The split changed: half of the test rows teach now, and others judge.
    parquet.write(parts["test"][:60].vstack(parts["train"][:60]), layout.split("test"))
    found = told(capsys, "compare", "shop@v0.1.0")
    assert found["notes"][0].startswith("differences are of both models on the same 60 test rows")
    assert "left out" in found["notes"][1]


def test_without_the_model_the_note_says_how_to_get_it(project, capsys) -> None:
    shutil.rmtree(project.root / ".dvc" / "cache")
    notes = " ".join(told(capsys, "compare", "shop@v0.1.0")["notes"])
    assert "they are unpaired" in notes
    assert "can't be compared on the same rows: " in notes
    assert "(--fetch brings what is missing)" in notes


def test_other_data_and_other_targets_are_not_paired(project, capsys) -> None:
    test = parquet.scan(project.layout.split("test")).collect()
    parquet.write(test.with_columns(~test[TARGET]), project.layout.split("test"))
    notes = " ".join(told(capsys, "compare", "shop@v0.1.0")["notes"])
    assert "no test row is one of both models" in notes
    project.fit(make_orders(600, first=5))
    report(project)
    register_version(project.root, "v0.3.0")
    assert "unpaired" in " ".join(told(capsys, "compare", "shop@v0.1.0")["notes"])


def test_a_model_that_is_not_the_one_of_the_reports_is_not_taken(project, capsys) -> None:
    made = bundle.load(project.layout.model)
    shutil.rmtree(project.layout.model)
    bundle.save(made, project.layout.model)
    notes = " ".join(told(capsys, "compare", "shop@v0.1.0")["notes"])
    assert "the model of workspace is not the one of its reports" in notes


def test_settings_that_make_no_sense_are_a_note_and_no_fault(project, capsys) -> None:
    content = json.loads((project.root / "params.yaml").read_text())
    content["evaluate"]["weight"] = "elsewhere"
    (project.root / "params.yaml").write_text(json.dumps(content))
    notes = " ".join(told(capsys, "compare", "shop@v0.1.0")["notes"])
    assert "can't be compared on the same rows" in notes
