"""POST /predict: the same response for each kind of body, equal to the batch's predictions."""

from __future__ import annotations

import io
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from model_services import RunningService, ServedModel


def outputs(served_model: ServedModel, predictions):
    """What was answered, as the bundle gives it."""
    if served_model.task == "regression":
        return [p["prediction"] for p in predictions]
    return [list(p["probabilities"].values()) for p in predictions]


def test_answers_are_to_the_bit_those_of_the_batch(
    served_model: ServedModel, service: RunningService
) -> None:
    answered = service.predict(served_model.rows)
    assert outputs(served_model, answered) == served_model.expected.tolist()
    few = [service.predict([row])[0] for row in served_model.rows[:30]]
    assert outputs(served_model, few) == served_model.expected[:30].tolist()


def test_requests_at_once_get_what_each_gets_alone(
    served_model: ServedModel, service: RunningService
) -> None:
    with ThreadPoolExecutor(16) as pool:
        answered = list(pool.map(lambda row: service.predict([row])[0], served_model.rows[:200]))
    assert outputs(served_model, answered) == served_model.expected[:200].tolist()
    assert len({p["id"] for p in answered}) == 200


def bodies(rows):
    frame = pl.DataFrame(rows)
    arrow, file, parquet = io.BytesIO(), io.BytesIO(), io.BytesIO()
    frame.write_ipc_stream(arrow)
    frame.write_ipc(file)
    frame.write_parquet(parquet)
    columns = {c: [row[c] for row in rows] for c in rows[0]}
    return {
        "list": ("application/json", json.dumps(rows).encode()),
        "columns": ("application/json", json.dumps({"columns": columns}).encode()),
        "charset": ("application/json; charset=utf-8", json.dumps({"rows": rows}).encode()),
        "csv": ("text/csv", frame.write_csv().encode()),
        "stream": ("application/vnd.apache.arrow.stream", arrow.getvalue()),
        "file": ("application/vnd.apache.arrow.file", file.getvalue()),
        "parquet": ("application/vnd.apache.parquet", parquet.getvalue()),
    }


def test_each_kind_of_body_gives_the_same(
    served_model: ServedModel, service: RunningService
) -> None:
    for name, (kind, body) in bodies(served_model.rows[:40]).items():
        status, content, _ = service.request("POST", "/predict", body, kind)
        assert status == 200, (name, content)
        assert (
            outputs(served_model, content["predictions"]) == served_model.expected[:40].tolist()
        ), name


def test_the_documents_example_works_when_posted(
    served_model: ServedModel, service: RunningService
) -> None:
    status, document, _ = service.request("GET", "/docs.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert (
        outputs(served_model, service.predict(body["example"]["rows"]))
        == served_model.expected[-1:].tolist()
    )


def test_the_threshold_decides(served_model: ServedModel, service: RunningService) -> None:
    answered = service.predict(served_model.rows[:50])
    if served_model.task != "binary":
        assert all("decision" not in p for p in answered)
        return
    for p in answered:
        assert p["decision"] is (p["probabilities"]["true"] >= 0.4)
        assert p["prediction"] is (p["probabilities"]["true"] > 0.5)


def test_explanations_say_what_counts(served_model: ServedModel, service: RunningService) -> None:
    answered = service.predict(served_model.rows[:70], "/predict?explain=true")
    assert outputs(served_model, answered) == served_model.expected[:70].tolist()
    sizes = [abs(e["contribution"]) for e in answered[0]["explanation"]]
    assert sizes == sorted(sizes, reverse=True)
    best = {p["explanation"][0]["feature"] for p in answered if p["explanation"]}
    assert "size" in best, "what the target is made of"


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        (b"{", "application/json", 400, "not JSON"),
        (b"[]", "application/json", 422, "no rows"),
        (b"7", "application/json", 422, "neither a list nor an object"),
        (b"[1]", "application/json", 422, "not an object of column and value"),
        (b'{"rows": 3}', "application/json", 422, "`rows` is a list"),
        (b'{"columns": {"a": 1}}', "application/json", 422, "a column is not a list"),
        (b'{"columns": {"a": [1], "b": []}}', "application/json", 422, "not of the same length"),
        (b"PAR1", "application/vnd.apache.parquet", 400, "not application/vnd.apache.parquet"),
        (b"\xff", "application/vnd.apache.arrow.stream", 400, "is not application"),
        (b"a: 1", "application/yaml", 415, "'application/yaml' is not known"),
    ],
)
def test_a_body_that_cannot_be_read_is_told(
    service: RunningService, body: bytes, kind: str, status: int, said: str
) -> None:
    found, content, headers = service.request("POST", "/predict", body, kind)
    assert (found, content["status"]) == (status, status)
    assert headers["content-type"] == "application/problem+json"
    assert said in content["detail"]


def test_a_bad_row_is_named_and_the_others_requests_are_answered(
    served_model: ServedModel, service: RunningService
) -> None:
    bad = {**served_model.rows[1], "width": "wide", "at": None}
    del bad["kind"]
    requests = [[row] for row in served_model.rows[:20]]
    requests[7] = [served_model.rows[7], bad]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda rows: service.request("POST", "/predict", rows), requests))
    status, content, _ = answers.pop(7)
    assert status == 422
    assert [(e["row"], e["column"]) for e in content["errors"]] == [(1, "kind"), (1, "width")]
    assert {status for status, _, _ in answers} == {200}


def test_a_row_without_a_moment_of_prediction_is_refused(
    served_model: ServedModel, service: RunningService
) -> None:
    status, content, _ = service.request("POST", "/predict", [{**served_model.rows[0], "at": None}])
    assert status == 422
    assert "no moment of prediction follows" in content["detail"]


def test_other_paths_and_methods(service: RunningService) -> None:
    assert service.request("GET", "/nosuch")[0] == 404
    status, _, headers = service.request("GET", "/predict")
    assert (status, headers["allow"]) == (405, "POST")
    for path in ("/livez", "/readyz", "/healthz", "/model", "/metrics", "/"):
        assert service.request("GET", path)[0] == 200, path


def test_what_was_answered_is_in_the_log(
    served_model: ServedModel, service: RunningService
) -> None:
    answered = service.predict(served_model.rows[5:8])
    db = sqlite3.connect(served_model.layout.events)
    for row, p, features in zip(
        served_model.rows[5:8], answered, served_model.features[5:8].iter_rows(), strict=True
    ):
        kept = db.execute(
            "SELECT version, role, entity, moment, inputs, features, output FROM predictions "
            "WHERE id = ?",
            (p["id"],),
        ).fetchone()
        version, role, entity, moment, inputs, logged, output = kept
        assert (version, role, json.loads(entity)) == ("v0.1.0", "answered", [row["order"]])
        assert moment == pl.Series([row["at"]]).str.to_datetime(time_zone="UTC").dt.epoch("s")[0]
        assert json.loads(inputs) == row
        assert json.loads(logged) == list(features)
        assert json.loads(output) == {k: v for k, v in p.items() if k != "id"}
    db.close()
