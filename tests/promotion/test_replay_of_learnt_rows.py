"""A replay leaves out requests that either version has learnt from."""

from __future__ import annotations

import json

import polars as pl
import pytest
from replay_projects import GATE, Project, make_orders

from mlops_cli.cli.app import main
from mlops_cli.params.register import ReplayGate
from mlops_cli.promotion.replay import replay, replay_gate
from mlops_cli.reporting import Silent

EARLY, LATE = make_orders(600), make_orders(300, first=600)


@pytest.fixture(scope="module", params=["time", "random", "random without time"])
def retrained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """v0.1.0 answered 300 late orders; v0.2.0 has them in its data, and learns by heart."""
    strategy, _, without = request.param.partition(" ")
    root = tmp_path_factory.mktemp("retrained") / "shop"
    project = Project(root, timed=not without, strategy=strategy).create()
    project.fit(EARLY)
    project.register("v0.1.0")
    project.log_predictions("v0.1.0", LATE)
    project.fit(pl.concat([EARLY, LATE]), overfitted=True)
    project.register("v0.2.0")
    return project


@pytest.mark.parametrize("version", ["v0.2.0", "workspace"])
def test_a_memorising_model_gains_nothing_by_replay(retrained: Project, version: str) -> None:
    report = replay(retrained.params, retrained.layout, version, progress=Silent()).report
    # Of 900 orders a fifth is the test split: by time the last 180 of the 300 that were asked.
    asked_and_tested = 180 if retrained.strategy == "time" else 71
    assert (report["learnt"], report["rows"]) == (300 - asked_and_tested, asked_and_tested)
    assert report["metrics"]["roc_auc"]["gain"]["high"] < 0.05
    assert report["metrics"]["roc_auc"]["new"]["value"] < 0.8  # on what it has learnt: 1.0


def test_the_gate_refuses_it_and_says_how_many_were_left_out(retrained: Project) -> None:
    found = replay_gate(retrained.params, retrained.layout, "v0.2.0", ReplayGate(**GATE))
    assert not found.passed
    assert "left out: " in found.reason
    assert "v0.2.0" in found.reason
    many = ReplayGate(**{**GATE, "rows": 200})
    refused = replay_gate(retrained.params, retrained.layout, "v0.2.0", many)
    assert refused.figure is None
    assert "labelled requests are left to judge by, and 200 are required" in refused.reason


def test_the_command_says_how_many_were_left_out(retrained: Project, monkeypatch, capsys) -> None:
    monkeypatch.chdir(retrained.root)
    assert main(["replay", "v0.2.0", "--gate"]) == 5
    told = capsys.readouterr()
    assert " of 300 requests (300 by v0.1.0)" in told.out
    assert " left out: " in told.out
    assert "may not enter production" in told.err


def test_without_time_rows_are_told_by_their_features(tmp_path) -> None:
    project = Project(tmp_path / "shop", timed=False, strategy="random").create()
    project.fit(EARLY)
    project.register("v0.1.0")
    project.log_predictions("v0.1.0", pl.concat([EARLY, LATE]))
    report = replay(project.params, project.layout, "workspace", progress=Silent()).report
    assert (report["learnt"], report["rows"]) == (480, 420)  # its 120 test rows, and 300 new ones


def test_where_splits_cannot_be_read_no_row_is_certain(tmp_path, monkeypatch, capsys) -> None:
    project = Project(tmp_path / "shop", timed=False, strategy="random").create()
    project.fit(EARLY)
    project.register("v0.1.0")
    project.log_predictions("v0.1.0", LATE)
    for name in ("train", "validation"):
        project.layout.split(name).unlink()
    monkeypatch.chdir(project.root)
    assert main(["replay", "workspace"]) == 7
    told = " ".join(capsys.readouterr().err.split())
    assert "none of 300 requests is left to replay shop@workspace on" in told
    assert "the rows that workspace has learnt from can't be read here" in told


def test_rows_that_the_version_that_answered_has_learnt_count_for_neither(tmp_path) -> None:
    """The clock goes back: the candidate's data end before those of the one in production."""
    project = Project(tmp_path / "shop").create()
    project.fit(pl.concat([EARLY, LATE]))
    project.register("v0.1.0")
    project.log_predictions("v0.1.0", LATE)
    project.fit(EARLY)
    report = replay(project.params, project.layout, "workspace", progress=Silent()).report
    assert (report["learnt"], report["rows"]) == (120, 180)
    (why,) = report["left_out"]
    assert why.endswith("where the rows end that v0.1.0 has learnt from")


def test_answers_of_a_version_that_nobody_knows_count_for_neither(tmp_path) -> None:
    project = Project(tmp_path / "shop").create()
    project.fit(EARLY)
    project.log_predictions("v0.7.0", LATE)
    report = replay(project.params, project.layout, "workspace", progress=Silent()).report
    assert report["left_out"] == {"the rows that v0.7.0 has learnt from can't be read here": 300}


def test_dates_are_of_the_time_that_monitoring_goes_by(tmp_path, monkeypatch, capsys) -> None:
    project = Project(tmp_path / "shop").create()
    project.fit(EARLY)
    project.register("v0.1.0")
    project.log_predictions("v0.1.0", LATE)  # of 26 January to 6 February 2024, asked now
    monkeypatch.chdir(project.root)

    def rows(*words: str) -> int:
        assert main(["replay", "workspace", "--json", *words]) == 0
        return json.loads(capsys.readouterr().out)["report"]["rows"]

    assert rows("--since", "2024-02-01") == 300
    content = json.loads((project.root / "params.yaml").read_text())
    content["monitor"] = {"time": "moment"}
    (project.root / "params.yaml").write_text(json.dumps(content))
    assert rows("--since", "2024-02-01") == 156
    assert rows("--until", "2024-02-01") == 144
    content["register"]["stages"]["production"]["replay"] |= {"since": "2d", "rows": 2}
    content["register"]["stages"]["production"]["replay"]["margin"] = 1.0
    (project.root / "params.yaml").write_text(json.dumps(content))
    assert rows("--gate") == 49  # both ends of two days
    assert main(["replay", "workspace", "--until", "2024-01-01"]) == 7
    assert "no answered request of that time" in capsys.readouterr().err
