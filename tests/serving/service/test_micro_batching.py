"""Micro-batching: refused rows, and errors of single requests."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from model_services import fit_model

from mlops_cli.serving.http_server.http import Problem
from mlops_cli.serving.scorer import UnscorableValue
from mlops_cli.serving.service.app import Service
from mlops_cli.serving.service.pending import RequestOutcome
from mlops_cli.serving.service.settings import Model, Settings


class Rows(list[dict[str, Any]]):
    """Rows of which one can see whether they are still there."""


@pytest.mark.parametrize("many", [1, 200], ids=["with others", "alone"])
def test_refused_rows_are_let_go_at_once(binary, many):
    """They may be large, and the collector looks at old objects too seldom to be waited for."""
    service = Service(Settings(Model("shop", "v0.1.0", binary.folder), binary.layout.root))

    async def ask() -> bool:
        service.start()
        rows = Rows([{"width": "wide"}] * many)
        seen = weakref.ref(rows)
        with pytest.raises(Problem, match="is missing"):
            await service.batcher.score(rows, explain=False)
        del rows
        service.batcher.refuse_overdue()
        await asyncio.sleep(0.01)  # the loop still has in hand what woke this task
        gone = seen() is None
        await service.shutdown()
        return gone

    gc.disable()
    try:
        assert asyncio.run(ask())
    finally:
        gc.enable()


def test_a_value_that_a_feature_cannot_take_is_the_fault_of_its_own_request(tmp_path):
    """All of these are scored together; the service answers 422 to one of them."""
    cast = {"weighed": 'CAST("weight" AS DOUBLE)', "half": 'CAST("weight" AS DOUBLE) / 2'}
    made = fit_model(tmp_path, "binary", texts={"weight": "1.5"}, computed=cast)
    service = Service(Settings(Model("shop", "v0.1.0", made.folder), made.layout.root))
    good = {k: v for k, v in made.rows[0].items() if k != "order"}
    bad = {**good, "weight": "heavy"}

    async def ask(rows: list[dict[str, Any]]) -> Any:
        try:
            return await service.batcher.score(rows, explain=False)
        except UnscorableValue as error:
            return error

    async def several() -> list[Any]:
        service.start()
        requests = [[good]] * 5 + [[good, bad]] + [[good]] * 5 + [[bad]] + [[bad] * 200]
        found = await asyncio.gather(*map(ask, requests))
        await service.shutdown()
        return found

    found = asyncio.run(several())
    assert [isinstance(f, RequestOutcome) for f in found] == [True] * 5 + [False] + [True] * 5 + [
        False
    ] * 2
    assert "can't take a value" in found[-1].message
    assert "heavy" not in found[-1].message
    assert len({f.answers[0].split(",", 1)[1] for f in found[:5]}) == 1
