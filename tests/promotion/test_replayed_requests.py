"""A replay scores logged requests with another version, and compares by their labels."""

from __future__ import annotations

import json
import time
from typing import Any

import orjson
import polars as pl
import pytest
from model_services import INGEST, RULES, TARGETS, ServedModel, fit_model, make_orders
from replay_projects import create_repository, register_version

from mlops_cli.cli.app import main
from mlops_cli.errors import NotFound
from mlops_cli.events import Label, open_events
from mlops_cli.models.bundle import extend, load, save
from mlops_cli.online.store import open_store
from mlops_cli.online.store.cache import Lookups
from mlops_cli.params import Params
from mlops_cli.params.register import ReplayGate
from mlops_cli.params.serve import Serve
from mlops_cli.promotion.replay import replay, replay_gate
from mlops_cli.reporting import Silent
from mlops_cli.serving.service.loaded_model import LoadedModel
from mlops_cli.serving.service.settings import Model

EARLIER = {"window": ["2024-02-01T00:00:00+00:00", "2024-04-30T00:00:00+00:00"]}
"""Nothing that was asked is among what the models say that they have learnt from."""
METRICS = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}


def tree(task: str) -> dict[str, Any]:
    """The settings that go with ``model_services.fit_model``."""
    return {
        "project": {"name": "shop", "seed": 1},
        "task": {"type": task},
        "ingest": INGEST,
        "featurize": {**RULES, "target": TARGETS[task]},
        "evaluate": {"slices": ["shop"], "slice_rows": 30, "resamples": 100},
        "register": {"name": "shop"},
    }


def params(task: str) -> Params:
    """The same, parsed."""
    return Params.model_validate(tree(task))


def log(served_model: ServedModel, number: str, labelled: int = 200) -> None:
    """Keep what a version answers to every order, and labels of the first ones."""
    store = open_store(None, served_model.layout.online)
    served = LoadedModel.open(
        Model("shop", number, served_model.folder),
        served_model.layout.root,
        Lookups(store),
        Serve(),
    )
    rows = [{k: v for k, v in row.items() if k != "order"} for row in served_model.rows]
    read = served.scorer.read(rows)
    scored = served.scorer.score(read.frame)
    answers = [orjson.dumps(a).decode() for a in served.answers(scored, read)]
    ids = [f"id-{i}" for i in range(len(rows))]
    events = open_events(None, served_model.layout)
    kept = served.events(
        ids, rows, read, scored, answers, received_at=time.time(), milliseconds=1.0, role="answered"
    )
    target = make_orders().select(pl.sql_expr(TARGETS[served_model.task]).alias("y"))["y"].to_list()
    labels = [
        Label(id_, id_, None, None, orjson.dumps(y).decode(), time.time())
        for id_, y in zip(ids[:labelled], target, strict=False)
    ]
    events.write(kept, labels)
    events.close()
    store.close()


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def poor(request, tmp_path_factory) -> ServedModel:
    """What a poor model answered, with a better one in its place now."""
    root = tmp_path_factory.mktemp("replayed")
    create_repository(root)
    made = fit_model(root, request.param, rounds=2, computed={"tall": "height > 5"}, facts=EARLIER)
    register_version(root, "v0.1.0")
    log(made, "v0.1.0")
    return fit_model(root, request.param, rounds=40, facts=EARLIER)


def test_what_a_better_model_would_have_answered_is_told(poor) -> None:
    done = replay(params(poor.task), poor.layout, "workspace", progress=Silent())
    report = done.report
    assert (report["rows"], report["labelled"], report["left_out"]) == (400, 200, {})
    assert report["answered_by"] == {"v0.1.0": 400}
    assert report["features_recomputed"] == 400  # v0.1.0 has other features
    assert report["shift"]["mean_absolute"] > 0.01
    gain = report["metrics"][next(iter(report["metrics"]))]["gain"]
    assert gain["low"] > 0
    assert sum(part["rows"] for part in report["slices"]["shop"]) > 300
    if poor.task != "regression":
        assert report["flips"]["rows"] > 0
        assert report["flips_judged"]["to_right"] > report["flips_judged"]["to_wrong"]
    again = replay(params(poor.task), poor.layout, "workspace", progress=Silent())
    assert again.report == report


def test_the_gate_lets_the_better_one_through_and_refuses_the_worse(poor, tmp_path) -> None:
    gate = ReplayGate(metric=METRICS[poor.task], rows=150)
    assert replay_gate(params(poor.task), poor.layout, "workspace", gate).passed
    more = ReplayGate(metric=METRICS[poor.task], rows=201)
    refused = replay_gate(params(poor.task), poor.layout, "workspace", more)
    assert (refused.passed, refused.reason[:3]) == (False, "200")
    create_repository(tmp_path)
    good = fit_model(tmp_path, poor.task, rounds=40, facts=EARLIER)
    register_version(tmp_path, "v0.2.0")
    log(good, "v0.2.0")
    worse = fit_model(tmp_path, poor.task, rounds=2, facts=EARLIER)
    assert not replay_gate(params(poor.task), worse.layout, "workspace", gate).passed


def test_a_model_replays_its_own_answers_from_the_logged_features(tmp_path) -> None:
    made = fit_model(tmp_path, "binary", facts=EARLIER)
    log(made, "workspace")
    report = replay(params("binary"), made.layout, "workspace", progress=Silent()).report
    assert report["features_recomputed"] == 0
    assert report["flips"]["rows"] == 0
    assert report["shift"]["mean_absolute"] == 0
    assert report["metrics"]["roc_auc"]["gain"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_requests_that_a_version_cannot_answer_are_counted(tmp_path) -> None:
    made = fit_model(tmp_path, "multiclass", facts=EARLIER)
    create_repository(tmp_path)
    register_version(tmp_path, "v0.1.0")
    log(made, "v0.1.0")
    binary = fit_model(tmp_path / "other", "binary", facts=EARLIER)
    for part in ("binary",):
        found = load(binary.folder)
        save(found, made.layout.fitted)
        schema = (binary.folder / "schema.json").read_text()
        extend(made.layout.fitted, made.layout.model, {"schema.json": schema})
        report = replay(params(part), made.layout, "workspace", progress=Silent()).report
    assert report["rows"] == 0
    assert report["left_out"] == {"answers of other classes": 400}


def test_without_a_log_there_is_nothing_to_replay(tmp_path) -> None:
    made = fit_model(tmp_path, "regression")
    with pytest.raises(NotFound, match="no event log"):
        replay(params("regression"), made.layout, "workspace", progress=Silent())
    gate = ReplayGate(metric="rmse")
    assert not replay_gate(params("regression"), made.layout, "workspace", gate).passed


def test_labels_of_a_file_and_the_gate_on_the_command_line(tmp_path, monkeypatch, capsys) -> None:
    made = fit_model(tmp_path, "binary", rounds=40, facts=EARLIER)
    create_repository(tmp_path)
    register_version(tmp_path, "v0.1.0")
    log(made, "v0.1.0", labelled=0)
    stages = {"production": {"replay": {"metric": "roc_auc", "rows": 300}}}
    settings = {**tree("binary"), "register": {"name": "shop", "stages": stages}}
    (tmp_path / "params.yaml").write_text(json.dumps(settings))
    true = make_orders()["returned"] > 1
    lines = [f"id-{i},{str(y).lower()}" for i, y in enumerate(true.to_list()[:250])]
    (tmp_path / "labels.csv").write_text("\n".join(["id,label", *lines]))
    monkeypatch.chdir(tmp_path)
    assert main(["feedback", "import", "labels.csv", "--version", "workspace", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"new": 250}
    assert main(["replay", "workspace", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"]["labelled"] == 250
    assert main(["replay", "workspace", "--gate"]) == 5
    told = capsys.readouterr()
    assert "400 requests (400 by v0.1.0)" in told.out
    words = " ".join(told.err.split())
    assert "250 labelled requests are left to judge by, and 300 are required" in words
