"""Each database of events, by the name of the parameter ``kind``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from event_databases import PostgresServer

from mlops_cli.layout import Layout


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[PostgresServer]:
    made = PostgresServer(tmp_path_factory.mktemp("postgresql"))
    yield made
    made.close()


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request) -> str | None:
    """Of an empty database."""
    if request.param == "sqlite":
        return None
    server = request.getfixturevalue("server")
    server.clear()
    return server.url


@pytest.fixture
def quick(monkeypatch) -> None:
    """A database that was away is looked for ten times as often."""
    monkeypatch.setattr("mlops_cli.events.writer._RETRY_SECONDS", 0.1)
