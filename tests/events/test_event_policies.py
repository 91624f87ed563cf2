"""An event is durable when its future is done, also during an outage."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest
from event_databases import LONG_TEXT, make_label, make_prediction, prediction_ids, wait_until

from mlops_cli.errors import Busy, SourceUnreadable
from mlops_cli.events import Events, Label, RefusedEvents, open_events, open_log
from mlops_cli.events.spill import Spill
from mlops_cli.events.writer import EventLog

pytestmark = pytest.mark.usefixtures("quick")


class Faulty:
    """A real database, between which and its log someone stands: slow, or gone."""

    def __init__(self, events: Events) -> None:
        self.events, self.away, self.calls = events, False, 0
        self.gate = threading.Event()
        self.gate.set()

    def write(self, predictions, labels, *, from_spill=False):
        """As the database does, unless it is away."""
        self.gate.wait()
        if predictions or labels:
            self.calls += 1
        if self.away:
            raise SourceUnreadable("the event log can't be used: it is away")
        return self.events.write(predictions, labels, from_spill=from_spill)

    def close(self) -> None:
        """Close the database."""
        self.events.close()


@pytest.fixture
def opened(layout) -> Iterator[Callable[..., tuple[EventLog, Faulty]]]:
    logs: list[tuple[EventLog, Faulty]] = []

    def make(policy: str = "spill", most: int = 10**7) -> tuple[EventLog, Faulty]:
        database = Faulty(open_events(None, layout))
        logs.append((EventLog(database, policy, Spill(layout.work / "spill", most)), database))
        return logs[-1]

    yield make
    for log, database in logs:
        database.away = False
        database.gate.set()
        log.close()


def wanted(count: int) -> list[str]:
    return sorted(f"id-{i}" for i in range(count))


def test_waiting_events_share_one_transaction(opened, layout) -> None:
    log, database = opened()
    database.gate.clear()
    futures = [log.append_predictions([make_prediction(i)]) for i in range(500)]
    futures.append(log.append_labels([make_label(3)]))
    assert log.waiting == 501
    assert wait_until(lambda: log.lag_seconds > 0.01)
    assert not any(future.done() for future in futures)
    database.gate.set()
    assert futures[-1].result(10) == ["new"]
    assert all(future.result(10) == [] for future in futures[:-1])
    assert database.calls <= 2
    assert wait_until(lambda: log.waiting == 0)
    assert log.lag_seconds == 0
    assert sorted(prediction_ids(None, layout)) == wanted(500)


def test_more_than_may_wait_is_refused(opened, monkeypatch) -> None:
    monkeypatch.setattr("mlops_cli.events.writer._MAX_WAITING", 10)
    log, database = opened()
    database.gate.clear()
    taken = log.append_predictions([make_prediction(i) for i in range(25)])
    with pytest.raises(Busy, match="25 events wait"):
        log.append_predictions([make_prediction(99)]).result(1)
    database.gate.set()
    taken.result(10)
    assert wait_until(lambda: log.waiting == 0)
    log.append_predictions([make_prediction(99)]).result(10)
    assert log.counters() == {
        "written": 26, "spilled": 0, "dropped": 0, "refused": 1, "outages": 0, "damaged": 0,
        "erased": 0,
    }  # fmt: skip


def test_a_cancelled_wait_does_not_affect_other_events(opened, layout) -> None:
    log, database = opened()

    async def impatient() -> None:
        database.gate.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await asyncio.wrap_future(log.append_labels([make_label(1)]))
        database.gate.set()

    asyncio.run(impatient())
    log.append_predictions([make_prediction(1)]).result(10)
    assert log.append_labels([make_label(1)]).result(10) == ["same"]


def test_an_invalid_event_fails_alone(opened, layout) -> None:
    log, database = opened()
    database.gate.clear()
    futures = [log.append_predictions([make_prediction(i)]) for i in range(5)]
    wrong = log.append_predictions([make_prediction(5), make_prediction(6, version=None)])
    database.gate.set()
    for future in futures:
        future.result(10)
    with pytest.raises(RefusedEvents) as caught:
        wrong.result(10)
    assert caught.value.ids == {"id-6"}
    assert sorted(prediction_ids(None, layout)) == wanted(6)
    counters = log.counters()
    assert (counters["written"], counters["refused"], counters["outages"]) == (6, 1, 0)


def test_spilled_events_come_in_when_the_database_is_back(opened, layout) -> None:
    log, database = opened()
    log.append_predictions([make_prediction(0)]).result(10)
    database.away = True
    for i in range(1, 200):
        log.append_predictions([make_prediction(i)]).result(10)
    assert log.append_labels([make_label(3)]).result(10) == ["kept"]
    assert log.reason == "the event log can't be used: it is away"
    assert log.problem == "the event log can't be reached or written to"
    assert prediction_ids(None, layout) == ["id-0"]
    database.away = False
    assert wait_until(lambda: len(prediction_ids(None, layout)) == 200)
    assert wait_until(lambda: not list((layout.work / "spill").iterdir()))
    assert sorted(prediction_ids(None, layout)) == wanted(200)
    assert log.problem is None
    assert wait_until(lambda: log.append_labels([make_label(3)]).result(10) == ["same"])
    counters = log.counters()
    assert counters["written"] >= 201
    assert (counters["dropped"], counters["refused"], counters["outages"]) == (0, 0, 1)


def test_events_come_while_spilled_ones_come_in_and_outages_follow_each_other(
    opened, layout, monkeypatch
) -> None:
    monkeypatch.setattr("mlops_cli.events.spill._CHUNK", 3)
    log, database = opened()
    for i in range(300):
        database.away = i // 20 % 2 == 1
        log.append_predictions([make_prediction(i)]).result(10)
        time.sleep(0.005)
    database.away = False
    assert wait_until(lambda: len(prediction_ids(None, layout)) >= 300)
    assert sorted(prediction_ids(None, layout)) == wanted(300)
    assert log.outages > 2


def test_a_label_does_not_overtake_one_that_was_spilled(opened, layout) -> None:
    log, database = opened()
    log.append_predictions([make_prediction(1)]).result(10)
    log.append_labels([make_label(1, "1", at=1.0)]).result(10)
    database.away = True
    log.append_labels([make_label(1, "2", at=2.0)]).result(10)
    database.away = False
    log.append_labels([make_label(1, "1", at=3.0)]).result(10)
    assert wait_until(
        lambda: log.append_labels([make_label(1, "1", at=4.0)]).result(10) == ["same"]
    )
    assert log.append_labels([make_label(1, "2", at=5.0)]).result(10) == ["changed"]


def test_a_full_spill_lets_clients_wait(opened, layout) -> None:
    log, database = opened(most=2_000)
    database.away = True
    futures = []
    for i in range(30):
        futures.append(log.append_predictions([make_prediction(i)]))
        time.sleep(0.005)
    assert log.spilled > 0
    assert not futures[-1].done()
    assert log.waiting > 0
    assert log.lag_seconds > 0
    database.away = False
    for future in futures:
        future.result(10)
    assert wait_until(lambda: len(prediction_ids(None, layout)) == 30)


def test_a_spill_that_fails_lets_clients_wait(layout, opened) -> None:
    layout.work.mkdir()
    (layout.work / "spill").write_text("a file where the folder should be")
    log, database = opened()
    database.away = True
    future = log.append_predictions([make_prediction(1)])
    time.sleep(0.3)
    assert not future.done()
    database.away = False
    future.result(10)
    assert prediction_ids(None, layout) == ["id-1"]


def test_blocking_waits_until_the_database_is_back(opened, layout) -> None:
    log, database = opened("block")
    database.away = True
    futures = [log.append_predictions([make_prediction(i)]) for i in range(3)]
    time.sleep(0.3)
    assert not any(future.done() for future in futures)
    database.away = False
    for future in futures:
        future.result(10)
    assert sorted(prediction_ids(None, layout)) == wanted(3)
    assert log.counters()["spilled"] == 0


def test_dropping_counts_what_is_lost(opened, layout) -> None:
    log, database = opened("drop")
    log.append_predictions([make_prediction(0)]).result(10)
    database.away = True
    log.append_predictions([make_prediction(1), make_prediction(2)]).result(10)
    assert log.append_labels([make_label(0)]).result(10) == ["dropped"]
    assert log.counters()["dropped"] == 3
    database.away = False
    assert wait_until(lambda: log.problem is None)
    log.append_predictions([make_prediction(3)]).result(10)
    assert prediction_ids(None, layout) == ["id-0", "id-3"]


def test_what_was_spilled_before_a_crash_comes_in_at_the_next_start(layout) -> None:
    before = Spill(layout.work / "spill", 10**6)
    before.write([make_prediction(i) for i in range(5)])
    before.close()
    log = open_log(None, layout)
    log.append_predictions([make_prediction(5)]).result(10)
    assert wait_until(lambda: len(prediction_ids(None, layout)) == 6)
    log.close()
    assert not list((layout.work / "spill").iterdir())


def test_a_spilled_event_that_can_never_come_in_holds_up_no_other(layout) -> None:
    before = Spill(layout.work / "spill", 10**6)
    before.write(
        [make_prediction(0), make_prediction(1, version=None), make_label(0), make_prediction(2)]
    )
    before.close()
    log = open_log(None, layout)
    assert wait_until(lambda: layout.events.exists() and len(prediction_ids(None, layout)) == 2)
    assert wait_until(lambda: log.append_labels([make_label(0)]).result(10) == ["same"])
    log.close()
    assert prediction_ids(None, layout) == ["id-0", "id-2"]
    assert [p.suffix for p in (layout.work / "spill").iterdir()] == [".damaged"]
    assert log.counters()["refused"] == 1


def test_closing_writes_what_waits_and_then_takes_no_more(opened, layout) -> None:
    log, database = opened()
    database.gate.clear()
    futures = [log.append_predictions([make_prediction(i)]) for i in range(100)]
    closing = threading.Thread(target=log.close)
    closing.start()
    database.gate.set()
    closing.join(10)
    assert all(future.done() for future in futures)
    assert sorted(prediction_ids(None, layout)) == wanted(100)
    with pytest.raises(RuntimeError, match="closed"):
        log.append_predictions([make_prediction(2)]).result(1)
    log.close()


def test_closing_without_a_database_spills_or_says_so(layout, opened, monkeypatch) -> None:
    monkeypatch.setattr("mlops_cli.events.writer._CLOSE_SECONDS", 0.3)
    log, database = opened()
    database.away = True
    future = log.append_predictions([make_prediction(1)])
    log.close()
    future.result(1)
    assert len(list((layout.work / "spill").iterdir())) == 1
    log, database = opened("block")
    database.away = True
    future = log.append_predictions([make_prediction(2)])
    log.close()
    with pytest.raises(TimeoutError):
        future.result(1)


def test_a_locked_file_is_an_outage_that_ends(layout, monkeypatch) -> None:
    monkeypatch.setattr("mlops_cli.events.sqlite._TIMEOUT", 0.2)
    log = open_log(None, layout)
    log.append_predictions([make_prediction(0)]).result(10)
    other = sqlite3.connect(layout.events, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    log.append_predictions([make_prediction(1)]).result(10)
    assert "locked" in (log.reason or "")
    other.execute("ROLLBACK")
    other.close()
    assert wait_until(lambda: len(prediction_ids(None, layout)) == 2)
    log.close()


TROUBLE = """
CREATE OR REPLACE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.id = 'id-3' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
CREATE TRIGGER trouble BEFORE INSERT ON predictions FOR EACH ROW EXECUTE FUNCTION trouble();
"""


def long_label(number: int) -> Label:
    entity = json.dumps([LONG_TEXT])
    return Label(f"{entity}|{number}", None, entity, float(number), "true", 1e9)


@pytest.mark.parametrize("policy", ["spill", "block"])
def test_a_long_entity_is_no_outage(server, layout, policy) -> None:
    server.clear()
    log = open_log(server.url, layout, policy)
    assert (
        log.append_predictions([make_prediction(1, entity=json.dumps([LONG_TEXT]))]).result(10)
        == []
    )
    with pytest.raises(RefusedEvents):
        log.append_labels([long_label(1)]).result(10)
    assert log.append_predictions([make_prediction(2)]).result(10) == []
    assert log.append_labels([make_label(2)]).result(10) == ["new"]
    counters = log.counters()
    assert (counters["outages"], counters["spilled"], log.reason) == (0, 0, None)
    log.close()
    assert prediction_ids(server.url, layout) == ["id-1", "id-2"]


def test_what_was_spilled_and_can_never_come_in_holds_up_no_other(server, layout) -> None:
    server.clear()
    before = Spill(layout.work / "spill", 10**7)
    before.write(
        [
            make_prediction(1, entity=json.dumps([LONG_TEXT])),
            long_label(1),
            long_label(2),
            make_label(1),
        ]
    )
    before.close()
    for count in (1, 2):
        log = open_log(server.url, layout)
        assert log.append_predictions([make_prediction(10 * count)]).result(10) == []
        assert wait_until(lambda log=log: not log._recovery.has_pending)
        assert log.append_labels([make_label(1)]).result(10) == ["same"]
        assert log.counters()["damaged"] == 2
        log.close()
    assert prediction_ids(server.url, layout) == ["id-1", "id-10", "id-20"]
    (aside,) = (layout.work / "spill").iterdir()
    assert aside.suffix == ".damaged"
    assert aside.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("policy", ["spill", "block"])
def test_a_row_that_fails_again_and_again_is_taken_for_the_fault(server, layout, policy) -> None:
    server.clear()
    log = open_log(server.url, layout, policy)
    log.append_predictions([make_prediction(0)]).result(10)
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute(TROUBLE)
    future = log.append_predictions([make_prediction(i) for i in range(1, 6)])
    if policy == "block":
        with pytest.raises(RefusedEvents) as caught:
            future.result(20)
        assert caught.value.ids == {"id-3"}
    else:
        future.result(20)
        assert wait_until(lambda: log.counters()["damaged"] == 1)
    log.append_predictions([make_prediction(6)]).result(10)
    assert wait_until(lambda: len(prediction_ids(server.url, layout)) == 6)
    assert sorted(prediction_ids(server.url, layout)) == [f"id-{i}" for i in (0, 1, 2, 4, 5, 6)]
    assert log.counters()["refused"] == 1
    log.close()


def test_a_table_that_is_locked_is_an_outage_and_no_row_s_fault(
    server, layout, monkeypatch
) -> None:
    monkeypatch.setattr("mlops_cli.events.postgres._TIMEOUT", 1)
    server.clear()
    log = open_log(server.url, layout)
    log.append_predictions([make_prediction(0)]).result(10)
    with psycopg.connect(server.url) as db:
        db.execute("LOCK TABLE predictions")
        log.append_predictions([make_prediction(1), make_prediction(2)]).result(10)
        time.sleep(2.5)
    assert wait_until(lambda: len(prediction_ids(server.url, layout)) == 3)
    assert log.counters()["refused"] == log.counters()["damaged"] == 0
    log.close()


@pytest.mark.parametrize("policy", ["spill", "block"])
def test_a_label_counts_although_the_clock_is_set_back(opened, layout, policy) -> None:
    log, database = opened(policy)
    log.append_predictions([make_prediction(1)]).result(10)
    log.append_labels([make_label(1, "1", at=1e9)]).result(10)
    if policy == "spill":
        database.away = True
        assert log.append_labels([make_label(1, "2", at=1e9 - 600)]).result(10) == ["kept"]
        database.away = False
        assert wait_until(lambda: not log._recovery.has_pending)
    else:
        assert log.append_labels([make_label(1, "2", at=1e9 - 600)]).result(10) == ["changed"]
    assert log.append_labels([make_label(1, "2", at=1e9 - 500)]).result(10) == ["same"]
