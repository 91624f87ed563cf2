"""Erased events are gone from tables and files, also while a service writes."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import psycopg
import pytest
from event_databases import make_label, make_prediction, prediction_ids, wait_until

from mlops_cli.errors import NotFound
from mlops_cli.events import Label, open_events, open_log, open_reader
from mlops_cli.events.erasure import ErasedCounts, Selection, open_eraser
from mlops_cli.events.reader import EventCounts
from mlops_cli.events.spill import Spill
from mlops_cli.events.spill_erasure import erase_lines
from mlops_cli.layout import Layout
from mlops_cli.params.serve import Events as EventsSection

PERSON = '["hunter2@example.org"]'
INPUTS = '{"mail":"hunter2@example.org","a":1}'


def about(entity: str, moment: float, at: float = 1e9) -> Label:
    return Label(f"{entity}|{moment!r}", None, entity, moment, "true", at)


def fill(url: str | None, layout: Layout, count: int = 1200) -> None:
    """Every tenth prediction is of the person, and every hundredth has no moment."""
    events = open_events(url, layout)
    rows = [
        make_prediction(
            i,
            entity=PERSON if i % 10 == 0 else f'["e{i}"]',
            inputs=INPUTS if i % 10 == 0 else "{}",
            moment=None if i % 100 == 0 else 2e9 + i * 7919 % count,
        )
        for i in range(count)
    ]
    labels = [make_label(i, at=1e9 + i) for i in range(0, count, 2)]
    named = [about(str(p.entity), p.moment, p.at) for p in rows if p.moment is not None]
    for start in range(0, count, 100):
        events.write(rows[start : start + 100], [])
    events.write([], labels + named)
    events.close()


def erased(url: str | None, layout: Layout, selection: Selection) -> ErasedCounts:
    """What an eraser has erased, after it has counted as many."""
    eraser = open_eraser(url, layout)
    counted = eraser.count(selection)
    batches = list(eraser.erase_batches(selection))
    done = ErasedCounts(sum(b.predictions for b in batches), sum(b.labels for b in batches))
    assert eraser.clean_files() is None
    eraser.close()
    assert done == counted
    return done


def counts(url: str | None, layout: Layout) -> EventCounts:
    reader = open_reader(url, layout)
    found = reader.count()
    reader.close()
    return found


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_all_of_an_entity_is_erased(url, layout) -> None:
    fill(url, layout)
    before = counts(url, layout)
    done = erased(url, layout, Selection(entities=(PERSON, '["nobody"]')))
    assert done == ErasedCounts(120, 120 + 108)
    left = counts(url, layout)
    assert left == EventCounts(before.predictions - 120, before.labels - 228)
    reader = open_reader(url, layout)
    assert reader.count_conflicts().unknown == 0
    reader.close()
    assert erased(url, layout, Selection(entities=(PERSON,))) == ErasedCounts(0, 0)


def test_what_is_older_than_a_date_is_erased_with_its_labels(url, layout) -> None:
    fill(url, layout)
    # Two of one entity and moment: the label is kept as long as one of them is there.
    events = open_events(url, layout)
    twice = [
        make_prediction(i, at=1e9 + at, entity='["x"]', moment=5.0)
        for i, at in ((9001, 1), (9002, 900))
    ]
    events.write(twice, [about('["x"]', 5.0, 1e9 + 800), make_label(3, at=1e9 + 900)])
    events.close()
    done = erased(url, layout, Selection(before=1e9 + 600))
    assert done.predictions == 601
    reader = open_reader(url, layout)
    assert reader.count(until=1e9 + 600) == EventCounts(0, 0)
    assert reader.count().predictions == 601
    assert reader.count_conflicts().unknown == 0
    assert reader.last_labels([about('["x"]', 5.0).key]).height == 1
    assert reader.last_labels(["id-3"]).height == 0
    reader.close()


def test_no_byte_of_the_entity_is_left_in_the_files_beside_a_service(layout) -> None:
    log = open_log(None, layout)
    fill(None, layout)
    log.append_predictions([make_prediction(10_001)]).result(10)
    assert b"hunter2" in bytes_of(layout.work)
    erased(None, layout, Selection(entities=(PERSON,)))
    assert b"hunter2" not in bytes_of(layout.work)
    log.append_predictions([make_prediction(10_002)]).result(10)
    log.close()
    assert {"id-10001", "id-10002"} <= set(prediction_ids(None, layout))


def test_a_service_writes_on_while_much_is_erased(url, layout) -> None:
    fill(url, layout, 5_000)
    log = open_log(url, layout)
    slowest, ended = 0.0, threading.Event()

    def write() -> None:
        nonlocal slowest
        number = 20_000
        while not ended.is_set():
            number += 1
            begun = time.perf_counter()
            log.append_predictions([make_prediction(number, at=9e9)]).result(20)
            slowest = max(slowest, time.perf_counter() - begun)

    writing = threading.Thread(target=write)
    writing.start()
    eraser = open_eraser(url, layout)
    done = sum(batch.predictions for batch in eraser.erase_batches(Selection(before=8e9)))
    eraser.close()
    ended.set()
    writing.join()
    log.close()
    assert done == 5_000
    assert log.counters()["outages"] == 0
    assert slowest < 2.0
    assert counts(url, layout).predictions == log.counters()["written"]


def test_an_entity_is_found_by_an_index(server, layout) -> None:
    server.clear()
    fill(server.url, layout)
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("ANALYZE predictions; SET enable_seqscan = off")
        hashed = "hashtextextended(entity, 0) = hashtextextended('x', 0) AND entity = 'x'"
        for table in ("predictions", "labels"):
            plan = "".join(
                r[0]
                for r in db.execute(f"EXPLAIN SELECT 1 FROM {table} WHERE {hashed}")  # noqa: S608
            )
            assert f"{table}_entity" in plan
    fill(None, layout)
    db = sqlite3.connect(layout.events)
    plans = [
        "SELECT rowid FROM predictions WHERE moment IS NOT NULL AND entity = 'x'",
        "SELECT 1 FROM labels WHERE key > 'x|' AND key < 'x}' AND entity = 'x'",
    ]
    found = [db.execute(f"EXPLAIN QUERY PLAN {plan}").fetchall()[0][-1] for plan in plans]
    db.close()
    assert "COVERING INDEX predictions_moment" in found[0]
    assert "INDEX labels_key" in found[1]


def test_what_waits_or_was_set_aside_is_erased(layout) -> None:
    folder = layout.work / "spill"
    spill = Spill(folder, 10**6)
    spill.write([make_prediction(i, entity=PERSON, inputs=INPUTS) for i in range(3)])
    spill.write([make_label(1), make_label(7), about(PERSON, 5.0), make_prediction(8, at=2e9)])
    spill.set_aside(make_prediction(9, entity=PERSON, inputs=INPUTS))
    spill.set_aside(make_prediction(10))
    spill._set_aside(b"0badc0de " + PERSON.replace('"', '\\"').encode() + b"\n")
    held = erase_lines(folder, Selection(entities=(PERSON,)))
    assert (held.spilled, held.damaged, held.locked_files) == (0, 2, 1)
    spill.close()
    assert erase_lines(folder, Selection(entities=(PERSON,)), dry_run=True).spilled == 4
    done = erase_lines(folder, Selection(entities=(PERSON,)))
    assert (done.spilled, done.locked_files, set(done.ids)) == (4, 0, {"id-0", "id-1", "id-2"})
    assert erase_lines(folder, Selection(entities=(PERSON,)), done.ids).spilled == 1
    assert b"hunter2" not in bytes_of(folder)
    assert {oct(p.stat().st_mode)[-3:] for p in folder.iterdir()} == {"600"}
    assert spill.damaged == 1
    old = erase_lines(folder, Selection(before=1.5e9))
    assert (old.spilled, old.damaged) == (1, 1)
    assert [p.id for chunk in spill.chunks() for p in chunk.predictions] == ["id-8"]
    assert not list(folder.iterdir())


def test_a_log_erases_what_is_older_than_it_may_be(url, layout, monkeypatch) -> None:
    monkeypatch.setattr("mlops_cli.events.retention._TICK", 0.05)
    now = time.time()
    spill = Spill(layout.work / "spill", 10**6)
    spill.set_aside(make_prediction(4))
    old, new = now - 91 * 86_400, now - 89 * 86_400
    events = open_events(url, layout)
    events.write(
        [make_prediction(1, at=old), make_prediction(2, at=new)],
        [make_label(1, at=new), make_label(2, at=new + 1)],
    )
    events.close()
    log = open_log(url, layout, max_age="90d")
    log.append_predictions([make_prediction(3, at=now)]).result(10)
    assert wait_until(lambda: counts(url, layout) == EventCounts(2, 1))
    assert wait_until(lambda: log.counters()["erased"] == 3)
    log.close()
    assert sorted(prediction_ids(url, layout)) == ["id-2", "id-3"]
    assert not list((layout.work / "spill").iterdir())


@pytest.mark.parametrize("keep", ["0d", "30m", "90", "9999y", "1d2x", "-1d", "d"])
def test_a_time_to_keep_events_is_hours_at_least(keep) -> None:
    with pytest.raises(ValueError, match="not a time to keep events"):
        EventsSection(keep=keep)
    assert EventsSection(keep="2y6mo").keep == "2y6mo"


def test_without_a_log_nothing_is_made(layout) -> None:
    with pytest.raises(NotFound):
        open_eraser(None, layout)
    assert not layout.work.exists()
