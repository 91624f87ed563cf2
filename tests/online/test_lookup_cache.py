"""The lookup cache: one fetch for all threads, and no partial entries after a failure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import pytest
from feature_programs import InMemoryStore, compile_program, make_tables, make_trips

from mlops_cli.online.lookup_cache import LookupCache
from mlops_cli.online.online_entries import online_tables
from mlops_cli.online.request_program import RequestProgram

PROGRAM = compile_program()
REQUESTS = RequestProgram(PROGRAM)
BASE = make_trips(21, 400)
ROWS = REQUESTS.prepare(BASE.select(REQUESTS.inputs.required))


def kept() -> InMemoryStore:
    return InMemoryStore(PROGRAM, make_tables(BASE))


def test_a_key_is_fetched_once_for_each_table() -> None:
    source, fetched = kept(), Counter[tuple[str, Any]]()

    def fetch(table: str, keys: Sequence[Any]) -> list[Any]:
        fetched.update((table, key) for key in keys)
        return source.fetch(table, keys)

    remembered = LookupCache(online_tables(PROGRAM), fetch)
    for some in (ROWS[:50], ROWS[20:90], ROWS):
        REQUESTS.features(some, remembered)
        REQUESTS.feature_series(some, remembered)
    assert set(fetched.values()) == {1}
    assert {table for table, _ in fetched} == {table.name for table in online_tables(PROGRAM)}


def test_several_threads_get_what_one_gets() -> None:
    wanted = [repr(REQUESTS.features(ROWS[i : i + 9], kept().cache)) for i in range(0, 200, 9)]
    shared = kept().cache
    with ThreadPoolExecutor(4) as pool:
        starts = [i for _ in range(3) for i in range(0, 200, 9)]
        found = pool.map(lambda i: repr(REQUESTS.features(ROWS[i : i + 9], shared)), starts)
        assert list(found) == wanted * 3


@pytest.mark.parametrize("call", range(1, 9))
def test_a_failure_on_the_way_leaves_no_key_half_known(call: int, monkeypatch) -> None:
    remembered = kept().cache
    REQUESTS.features(ROWS[:3], remembered)
    left = call

    def failing(self: Any, key_number: int, entry: Any) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise MemoryError
        taking[type(self)](self, key_number, entry)

    taking = {type(m): type(m).add_entry for m in remembered._lookup_tables.values()}
    with monkeypatch.context() as patched:
        for kind in taking:
            patched.setattr(kind, "add_entry", failing)
        with pytest.raises(MemoryError):
            REQUESTS.features(ROWS, remembered)
    assert REQUESTS.features(ROWS, remembered) == REQUESTS.features(ROWS, kept().cache)
    table, _ = REQUESTS.feature_series(ROWS, remembered)
    wanted, _ = REQUESTS.feature_series(ROWS, kept().cache)
    assert pl.DataFrame(table).equals(pl.DataFrame(wanted), null_equal=True)
