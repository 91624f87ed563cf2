"""The commands `mlops explain` and `mlops study`: tables and JSON."""

import json

import pytest
from trained_projects import make_table, train_project

from mlops_cli.cli.app import main
from mlops_cli.layout import ROW
from mlops_cli.models import bundle as bundles

PARAMS = {
    "project": {"name": "p", "seed": 7},
    "task": {"type": "binary"},
    "ingest": {"sources": {"t": {"uri": "t.csv"}}},
    "featurize": {"base": "t", "target": "y"},
    "evaluate": {"resamples": 20},
    "register": {"name": "model"},
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    layout = train_project(tmp_path, "binary", rounds=3)
    bundles.extend(layout.fitted, layout.model, {})
    layout.params.write_text(json.dumps(PARAMS))
    monkeypatch.chdir(tmp_path)
    return layout


def test_a_row_is_explained_as_a_table_that_adds_up(project, capsys):
    row = int(make_table("binary")[ROW][0])
    assert main(["explain", "--row", str(row), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"row {row}: ")
    assert "by workspace, tree SHAP" in lines[0]
    assert "the threshold" in lines[0]
    figures = [float(line.split()[-1]) for line in lines[2:7]]
    assert "5 others" in lines[5]
    assert sum(figures[:-1]) == pytest.approx(figures[-1], abs=2e-3)


def test_json_has_every_feature(project, capsys):
    row = int(make_table("binary")[ROW][0])
    assert main(["explain", "--row", str(row), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (one,) = found["rows"]
    assert found["scale"] == "log-odds"
    assert len(one["contributions"]) == 7
    assert one["base"] + sum(c[2] for c in one["contributions"]) == pytest.approx(one["raw"])


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["explain"], 2),
        (["explain", "rows.csv", "--row", "1"], 2),
        (["explain", "--row", "99999"], 7),
        (["explain", "no.csv"], 7),
        (["study", "nothing"], 2),
        (["study", "ablation", "--by", "colour"], 2),
    ],
)
def test_what_cannot_be_done_has_its_exit_code(project, capsys, words, code):
    assert main(words) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_an_ablation_of_one_source_leads_to_that_of_features(project, capsys):
    assert main(["study", "ablation"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "all 7 features come from one source" in said
    assert "mlops study ablation --by feature" in said
    assert main(["study", "ablation", "--by", "feature", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["groups"]) == 7
    assert project.study("ablation-feature").is_file()
    assert not project.study("ablation").exists()


def test_a_study_is_shown_written_and_given_as_json(project, capsys):
    assert main(["study", "learning", "--steps", "1"]) == 0
    assert "Learning curve" in capsys.readouterr().out
    written = json.loads(project.study("learning").read_text())
    assert main(["study", "learning", "--steps", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == written
