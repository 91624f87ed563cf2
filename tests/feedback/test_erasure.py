"""`mlops events`: the content of a log, and erasing by age and by entity."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlops_cli.cli.app import main
from mlops_cli.events import Label, Prediction, open_events
from mlops_cli.events.spill import Spill
from mlops_cli.layout import Layout
from mlops_cli.online.store import open_store

PARAMS = """\
project: {name: shop, seed: 1}
task: {type: regression}
ingest:
  until: "2024-01-01"
  sources: {orders: {uri: orders.csv, time: at}}
validate:
  sources: {orders: {unique: [customer, at]}}
featurize: {base: orders, target: price}
register: {name: shop}
"""


def prediction(number: int, entity: str) -> Prediction:
    inputs = json.dumps({"customer": entity})
    return Prediction(
        f"id-{number}", 1e9 + number, 2e9, "v1", "answered", entity, inputs, "[]", "{}", 1.0
    )


@pytest.fixture
def project(tmp_path, monkeypatch) -> Layout:
    """A project that has served 20 orders of four customers."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLOPS_EVENTS_URL", raising=False)
    layout = Layout(tmp_path)
    events = open_events(None, layout)
    rows = [prediction(i, json.dumps([f"c{i % 4}"])) for i in range(20)]
    labels = [Label(r.id, r.id, None, None, "1.5", r.at) for r in rows]
    events.write(rows, labels)
    events.close()
    spill = Spill(layout.work / "spill", 10**6)
    spill.write([prediction(100, '["c1"]')])
    spill.set_aside(prediction(101, '["c1"]'))
    spill.close()
    store = open_store(None, layout.online, create=True)
    store.replace("p", {}, iter([("join.customers", '["c1"]', '["hunter2"]')]))
    store.close()
    return layout


def told(capsys, *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("entity", ['["c1"]', '{"customer": "c1"}', '"c1"'])
def test_all_of_an_entity_is_counted_and_erased(project, capsys, entity) -> None:
    words = ["events", "purge", "--entity", entity]
    counts = {"predictions": 5, "labels": 5, "spilled": 1, "damaged": 1, "entries": 1, "left": []}
    assert told(capsys, *words, "--dry-run") == {**counts, "dry_run": True}
    assert main(words) == 2  # no one is there to say yes
    assert "--yes" in capsys.readouterr().err
    assert told(capsys, *words, "--yes") == {**counts, "dry_run": False}
    assert told(capsys, "events")["predictions"] == 15
    left = bytes_of(project.work)
    assert b'["c1"]' not in left
    assert b"hunter2" not in left


def test_what_is_older_is_erased(project, capsys) -> None:
    before = told(capsys, "events")
    assert (before["predictions"], before["labels"], before["oldest"]) == (20, 20, 1e9)
    assert (before["damaged"], before["keep"]) == (1, None)
    words = ["events", "purge", "--before", "2001-09-09T01:46:50Z", "--yes"]
    assert main(words) == 0
    assert "erased: 10 predictions, 10 labels" in capsys.readouterr().out
    assert told(capsys, "events")["oldest"] == 1e9 + 10


def test_numbers_are_found_in_each_form(project, capsys) -> None:
    events = open_events(None, project)
    events.write([prediction(200 + i, e) for i, e in enumerate(("[17]", "[17.0]", '["17"]'))], [])
    events.close()
    for given in ("17", '["17"]'):
        done = told(capsys, "events", "purge", "--entity", given, "--dry-run")
        assert done["predictions"] == 3


@pytest.mark.parametrize(
    "wrong",
    [
        *("hunter2", '{"hunter2": 1}', "[]", "[[1]]", "[1", "[" * 100_000, '["\\ud800"]'),
        *("[1, 2]", '["hunter2", 2]', "[NaN]", "[Infinity]", "-Infinity", "[1e400]"),
    ],
)
def test_what_is_no_entity_is_refused(project, capsys, wrong) -> None:
    assert main(["events", "purge", "--entity", wrong, "--yes"]) == 2
    shown = capsys.readouterr().err
    assert "--entity" in shown
    assert "hunter2" not in shown


def test_one_of_age_and_entity_is_needed(project, capsys) -> None:
    assert main(["events", "purge", "--yes"]) == 2
    assert main(["events", "purge", "--yes", "--before", "today", "--entity", "[1]"]) == 2
    assert main(["events", "purge", "--yes", "--before", "soon"]) == 2


def test_a_project_that_has_served_nothing_has_no_log(project, capsys) -> None:
    for path in project.work.glob("events.sqlite*"):
        path.unlink()
    assert main(["events"]) == 7
    assert told(capsys, "events", "purge", "--before", "today", "--yes")["predictions"] == 0


def test_a_spill_that_a_service_holds_is_said_to_be_left(project, capsys) -> None:
    spill = Spill(project.work / "spill", 10**6)
    spill.write([prediction(300, '["c1"]')])
    assert main(["events", "purge", "--entity", '["c1"]', "--yes"]) == 8
    assert "held by a service" in capsys.readouterr().out.replace("\n", " ")
    spill.close()
