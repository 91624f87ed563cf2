"""Canary and shadow versions: routing, responses and the log."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from model_services import ServedModel, fit_model

from mlops_cli.models.bundle import load
from mlops_cli.serving.http_server.http import Problem
from mlops_cli.serving.service.app import Service, _open_store
from mlops_cli.serving.service.pending import RequestOutcome
from mlops_cli.serving.service.settings import Model, Settings


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> ServedModel:
    """Another version of the binary model."""
    return fit_model(tmp_path_factory.mktemp("other"), "binary", rounds=3)


@pytest.fixture
def settings(binary: ServedModel, other: ServedModel) -> Settings:
    """A service of both: one answers, the other a quarter of the entities and as a shadow."""
    return Settings(
        Model("shop", "v0.1.0", binary.folder),
        binary.layout.root,
        shadow=Model("shop", "v0.2.0", other.folder),
        canary=(Model("shop", "v0.3.0", other.folder), 0.25),
    )


def asked(settings: Settings, *requests: Any, spoil: Any = lambda _: None) -> list[Any]:
    """What becomes of requests that are made at once: outcomes or problems."""

    async def ask() -> list[Any]:
        service = Service(settings)
        spoil(service)
        service.start()
        try:
            asks = [service.batcher.score(rows, explain=False) for rows in requests]
            return await asyncio.gather(*asks, return_exceptions=True)
        finally:
            await service.shutdown()

    return asyncio.run(ask())


def told(outcome: RequestOutcome) -> list[dict[str, Any]]:
    assert isinstance(outcome, RequestOutcome), outcome
    return [json.loads(answer) for answer in outcome.answers]


def test_each_row_is_answered_by_the_version_of_its_entity(
    binary: ServedModel, other: ServedModel, settings: Settings
) -> None:
    rows = binary.rows[:300]
    few = [rows[i : i + 5] for i in range(0, 100, 5)]
    changed = [dict(row, width=1) for row in rows]
    one, again, table, *some = map(
        told, asked(settings, rows, changed, pl.DataFrame(rows).reverse(), *few)
    )
    versions = [p["version"] for p in one]
    assert 0.15 < versions.count("v0.3.0") / 300 < 0.35
    assert [p["version"] for p in again] == versions, "whatever else is in the row"
    assert [p["version"] for p in table][::-1] == versions, "whatever body it comes in"
    assert [p["version"] for part in some for p in part] == versions[:100], "alone or with others"
    newer = load(other.folder).predict(binary.features[:300])
    for i, p in enumerate(one):
        wanted = newer if p["version"] == "v0.3.0" else binary.expected
        assert list(p["probabilities"].values()) == wanted[i].tolist()
    db = sqlite3.connect(binary.layout.events)
    logged = {
        k: tuple(v) for k, *v in db.execute("SELECT id, version, role, entity FROM predictions")
    }
    db.close()
    for row, p in zip(rows, one, strict=True):
        role = "canary" if p["version"] == "v0.3.0" else "answered"
        assert logged[p["id"]] == (p["version"], role, json.dumps([row["order"]]))
        assert logged[f"{p['id']}-shadow"][:2] == ("v0.2.0", "shadow")


def test_an_answer_is_headed_by_the_version_of_its_rows(
    binary: ServedModel, settings: Settings
) -> None:
    rows = binary.rows[:40]
    outcomes = asked(settings, rows, *([row] for row in rows))
    versions = [p["version"] for p in told(outcomes[0])]
    assert outcomes[0].served.model.number == "v0.1.0"
    assert [o.served.model.number for o in outcomes[1:]] == versions


def test_bad_rows_are_told_where_the_client_sees_them(
    binary: ServedModel, settings: Settings
) -> None:
    rows = [dict(row) for row in binary.rows[:80]]
    for i in (11, 50):
        rows[i]["width"] = "wide"
    (problem, few) = asked(settings, rows, rows[10:13])
    assert isinstance(problem, Problem)
    assert [e["row"] for e in problem.extensions["errors"]] == [11, 50]
    assert [e["row"] for e in few.extensions["errors"]] == [1]


def test_a_row_without_its_entity_goes_by_itself(binary: ServedModel, settings: Settings) -> None:
    rows = [{c: v for c, v in row.items() if c != "order"} for row in binary.rows[:60]]
    rows[0]["order"] = None
    first, second = map(told, asked(settings, rows, rows[::-1]))
    assert {p["version"] for p in first} == {"v0.1.0", "v0.3.0"}
    assert [p["version"] for p in first] == [p["version"] for p in second][::-1]


def test_a_canary_that_fails_takes_only_its_own_requests_along(
    binary: ServedModel, settings: Settings
) -> None:
    def spoil(service: Service) -> None:
        assert service.versions.canary is not None
        service.versions.canary.scorer.bundle = None  # type: ignore[assignment]

    rows = binary.rows[:40]
    versions = [p["version"] for p in told(asked(settings, rows)[0])]
    outcomes = asked(settings, *([row] for row in rows), spoil=spoil)
    assert [not isinstance(o, RequestOutcome) for o in outcomes] == [
        v == "v0.3.0" for v in versions
    ]


def test_without_a_canary_a_prediction_names_no_version(
    binary: ServedModel, tmp_path: Path
) -> None:
    plain = Settings(Model("shop", "v0.1.0", binary.folder), binary.layout.root)
    (outcome,) = asked(plain, binary.rows[:3])
    assert all("version" not in p for p in told(outcome))


def test_a_program_may_leave_out_joins_and_windows(tmp_path) -> None:
    (tmp_path / "program.json").write_text('{"rules": {"base": "rows"}}')
    assert _open_store(Settings(Model("shop", "v0.1.0", tmp_path), tmp_path)) is None
