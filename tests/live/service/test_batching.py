"""What a request leaves behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from mlops_cli.live.service.app import Service
from mlops_cli.live.service.http import Problem
from mlops_cli.live.service.settings import Model, Settings


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
            await service.batcher.ask(rows, explain=False)
        del rows
        service.batcher.give_up()
        await asyncio.sleep(0.01)  # the loop still has in hand what woke this task
        gone = seen() is None
        await service.end()
        return gone

    gc.disable()
    try:
        assert asyncio.run(ask())
    finally:
        gc.enable()
