"""Invalid input gets a problem that names the place, or a documented prediction."""

from __future__ import annotations

import io
import json
from typing import Any

import polars as pl
import pytest
from model_services import RunningService, ServedModel


@pytest.fixture(autouse=True)
def the_same_afterwards(served_model: ServedModel, service: RunningService) -> Any:
    """The service is alive, and a known row has its known answer."""
    yield
    (found,) = service.predict(served_model.rows[:1])
    given = found.get("probabilities", {"": found["prediction"]})
    wanted = served_model.expected[0]
    assert list(given.values()) == (
        wanted.tolist() if served_model.task != "regression" else [wanted]
    )


def refused(service: RunningService, row: Any, status: int = 422) -> list[dict[str, Any]]:
    """What a problem document says of each row."""
    found, content, headers = service.request("POST", "/predict", [row])
    assert (found, content["status"]) == (status, status), content
    assert headers["content-type"] == "application/problem+json"
    assert content["title"]
    assert content["detail"]
    errors: list[dict[str, Any]] = content.get("errors", [])
    return errors


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("width", "wide", "'wide'"),
        ("width", 1.5, "1.5"),
        ("width", 2**63, "9223372036854775808"),
        ("width", -(2**70), "-1.1805916207174113e+21"),
        ("width", 1e300, "1e+300"),
        ("width", [1], "[1]"),
        ("width", {"a": 1}, "{'a': 1}"),
        ("height", "tall", "'tall'"),
        ("height", {}, "{}"),
        ("at", 5, "5"),
        ("at", "yesterday", "'yesterday'"),
        ("at", "2024-02-30", "'2024-02-30'"),
        ("at", True, "True"),
        ("shop", ["s1"], "['s1']"),
        ("shop", {}, "{}"),
        ("width", 0, "0"),
        ("order", "x1", "'x1'"),
    ],
)
def test_a_value_that_cannot_be_is_named(
    served_model: ServedModel, service: RunningService, column: str, value: Any, shown: str
) -> None:
    (error,) = refused(service, {**served_model.rows[1], column: value})
    assert (error["row"], error["column"], error["value"]) == (0, column, shown)
    assert shown in error["message"]
    assert column in error["message"]


def test_missing_extra_and_null_columns(served_model: ServedModel, service: RunningService) -> None:
    row = dict(served_model.rows[1])
    (error,) = refused(service, {c: v for c, v in row.items() if c != "kind"})
    assert error["message"] == "column 'kind' is missing."
    plain = service.predict([row])[0]
    nested = json.loads("[" * 60 + "]" * 60)
    assert service.predict([{**row, "extra": nested}])[0]["prediction"] == plain["prediction"]
    (error,) = refused(service, {**row, "shop": nested})
    assert error["column"] == "shop"
    assert refused(service, {**row, "extra": json.loads("[" * 900 + "]" * 900)}) == []
    more = service.predict([{**row, "extra": {"deep": [None]}, "": 1, "é": "x"}])[0]
    assert {**more, "id": ""} == {**plain, "id": ""}
    nulls = service.predict([{**row, "shop": None, "kind": None, "height": None, "width": None}])
    assert "warnings" not in nulls[0], "missing values are what the model was trained with"


def test_unseen_and_large_values_are_told(
    served_model: ServedModel, service: RunningService
) -> None:
    row = served_model.rows[1]
    strange = {**row, "shop": "\u202e💥\x00", "kind": "é", "width": 100}
    (found,) = service.predict([strange])
    assert {(w["column"], w["kind"], w["policy"]) for w in found["warnings"]} == {
        ("width", "range", "flag"),
        ("shop", "unseen", "flag"),
    }
    text = service.request("GET", "/metrics")[1].decode()
    assert 'mlops_warnings_total{column="width",kind="range",policy="flag"}' in text


def test_numbers_that_are_none(served_model: ServedModel, service: RunningService) -> None:
    body = json.dumps([served_model.rows[1]]).encode()
    height = json.dumps(served_model.rows[1]["height"]).encode()
    for number in (b"NaN", b"Infinity", b"1e", b"01", b"0x1"):
        status, content, _ = service.request("POST", "/predict", body.replace(height, number))
        assert (status, "not JSON" in content["detail"]) == (400, True), number
    status, content, _ = service.request("POST", "/predict", body.replace(height, b"1e999"))
    assert status in {400, 422}, content
    frame = pl.DataFrame([served_model.rows[1]] * 2).with_columns(
        height=pl.Series([float("nan"), 1.0])
    )
    csv = frame.with_columns(pl.col("height").cast(pl.String)).write_csv().encode()
    assert service.request("POST", "/predict", csv, "text/csv")[0] == 200
    status, content, _ = service.request(
        "POST", "/predict", csv.replace(b"NaN", b"-inf"), "text/csv"
    )
    assert status == 422
    assert content["errors"][0]["message"] == "-inf in column 'height' is not finite"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xfe", 400),
        (b'{"rows": [{"a": 1}', 400),
        (b'{"rows": [{"shop": "\\ud800"}]}', 400),
        (b"[" * 100_000 + b"]" * 100_000, 422),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 422),
        (b"[" * 900 + b"]" * 900, 422),
        (b"null", 422),
        (b'"rows"', 422),
        (b'{"rows": null}', 422),
        (b'{"columns": {"at": [1, 2], "shop": ["a"]}}', 422),
        (b'{"columns": {}}', 422),
        (b"[" + b"{}," * 1_000_000 + b"{}]", 413),
        (b"[" + b" " * 17_000_000 + b"]", 413),
    ],
)
def test_a_body_that_cannot_be_read_is_a_problem(
    service: RunningService, body: bytes, status: int
) -> None:
    found, content, headers = service.request("POST", "/predict", body)
    assert (found, content["status"]) == (status, status)
    assert headers["content-type"] == "application/problem+json"


def test_ten_megabytes_of_text_are_refused_and_a_hundred_thousand_characters_are_a_text(
    served_model: ServedModel, service: RunningService
) -> None:
    row = {**served_model.rows[1], "shop": "x" * 100_000}
    status, content, _ = service.request("POST", "/predict", [row])
    assert status == 200
    assert len(content["predictions"][0]["warnings"][0]["value"]) <= 80
    for column in ("shop", "width"):
        (error,) = refused(service, {**served_model.rows[1], column: "x" * 10_000_000})
        assert error["column"] == column
        assert len(error["value"]) <= 80


def test_columns_of_other_types_in_a_table(
    served_model: ServedModel, service: RunningService
) -> None:
    frame = pl.DataFrame(served_model.rows[:3])
    for changed, status in (
        (frame.with_columns(width=pl.col("width").cast(pl.Decimal(20, 3))), 200),
        (frame.with_columns(shop=pl.col("shop").cast(pl.Categorical)), 200),
        (frame.with_columns(at=pl.col("at").str.to_datetime(time_unit="ns", time_zone="UTC")), 200),
        (frame.with_columns(extra=pl.lit(b"\xff\x00")), 200),
        (frame.with_columns(extra=pl.lit(2**100, dtype=pl.Int128)), 400),
        (frame.with_columns(extra=pl.struct("shop", "width")), 422),
        (frame.with_columns(extra=pl.concat_list("shop")), 422),
        (frame.with_columns(extra=pl.duration(days=1), more=pl.time(1, 2, 3)), 200),
        (frame.with_columns(width=pl.concat_list("width")), 422),
        (frame.with_columns(width=pl.lit(2**100, dtype=pl.Int128)), 400),
        (frame.with_columns(shop=pl.lit(b"\xff\x00")), 422),
        (frame.with_columns(at=pl.time(1, 2, 3)), 422),
        (frame.head(0), 422),
        (frame.drop("kind"), 422),
    ):
        body = io.BytesIO()
        changed.write_parquet(body)
        kind = "application/vnd.apache.parquet"
        found, content, _ = service.request("POST", "/predict", body.getvalue(), kind)
        assert found == status, (changed.schema, content)


def test_wrong_feedback(served_model: ServedModel, service: RunningService) -> None:
    label = {"binary": True, "multiclass": "some", "regression": 1.5}[served_model.task]
    wrong = "nothing like it"
    entity = {"entity": {"order": "o1"}, "time": served_model.rows[1]["at"]}
    for body, status in (
        (b"{", 400),
        ([], 422),
        ({"labels": "x"}, 422),
        ([{"id": "a"}], 422),
        ([{"id": None, "label": label}], 422),
        ([{"id": "x" * 101, "label": label}], 422),
        ([{"id": "a", "label": wrong}], 422),
        ([{"id": "a", "label": None}], 422),
        ([{"id": "a", "label": [label]}], 422),
        ([{**entity, "time": "9999-99-99", "label": label}], 422),
        ([{**entity, "time": 5, "label": label}], 422),
        ([{**entity, "time": "9999-12-31T23:59:59-14:00", "label": label}], 422),
        ([{**entity, "entity": {"order": ["o1"]}, "label": label}], 422),
        ([{**entity, "entity": "o1", "label": label}], 422),
        ([{"id": "a", "label": label}] * 10_001, 413),
    ):
        found, content, _ = service.request("POST", "/feedback", body)
        assert (found, content["status"]) == (status, status), (body, content)
    told = [
        service.request("POST", "/feedback", [{"id": "\x00é", "label": label}]) for _ in range(2)
    ]
    assert [content["results"] for _, content, _ in told] == [["unknown"], ["same"]]
