"""After kills of processes and databases, each acknowledged event is in the log exactly once."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import child_process
import pytest
from event_databases import PostgresServer, make_label, make_prediction, prediction_ids, wait_until

from mlops_cli.events import open_log, open_reader
from mlops_cli.layout import Layout

# Appends without pause, from two threads, and prints what is durable.
WRITER = """
import sys, threading
from pathlib import Path
from event_databases import make_prediction
from mlops_cli.layout import Layout
from mlops_cli.events import open_log
import mlops_cli.events.writer as writer, mlops_cli.events.sqlite as sqlite
writer._RETRY_SECONDS, sqlite._TIMEOUT = 0.05, 0.05
log = open_log(sys.argv[3] or None, Layout(Path(sys.argv[1])))
def work(name):
    n = 0
    while True:
        ids = [f"{name}-{n + i}" for i in range(5)]
        n += 5
        log.append_predictions([make_prediction(n, id=i) for i in ids]).result(30)
        sys.stdout.write(" ".join(ids) + " .\\n")
        sys.stdout.flush()
for thread in "xy":
    threading.Thread(target=work, args=(f"{sys.argv[2]}{thread}",)).start()
"""


class Writer:
    """A process that appends until it is killed."""

    def __init__(self, name: str, root: Path, url: str | None) -> None:
        words = [sys.executable, "-c", WRITER, str(root), name, url or ""]
        self._process = subprocess.Popen(
            words, stdout=subprocess.PIPE, text=True, env=child_process.environment()
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in iter(self._process.stdout.readline, ""):
            self._lines.append(line)

    @property
    def has_begun(self) -> bool:
        """Whether anything was acknowledged."""
        return bool(self._lines)

    def kill(self) -> set[str]:
        """End it at once; gives the ids that it has acknowledged."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._process.stdout.close()
        whole = [line.split()[:-1] for line in self._lines if line.endswith(" .\n")]
        return {i for line in whole for i in line}


def found(url: str | None, layout: Layout) -> list[str]:
    """What is there after the next start has brought in what was spilled."""
    log = open_log(url, layout)
    assert wait_until(lambda: not log._recovery.has_pending, 30)
    log.close()
    return prediction_ids(url, layout)


def test_two_writers_killed_ten_times_have_kept_what_they_acknowledged(layout) -> None:
    acknowledged: set[str] = set()
    for number in range(10):
        writers = [Writer(f"{number}{other}", layout.root, None) for other in "ab"]
        # On a busy machine a process needs longer to begin.
        assert wait_until(lambda: any(writer._lines for writer in writers), 20)  # noqa: B023
        time.sleep(0.1 + number * 0.03)
        for writer in writers:
            acknowledged |= writer.kill()
    there = found(None, layout)
    assert len(acknowledged) > 500
    assert acknowledged <= set(there)
    assert len(there) == len(set(there))


def test_a_writer_killed_while_it_spills_has_kept_what_it_acknowledged(layout) -> None:
    acknowledged: set[str] = set()
    for number in range(4):
        writer = Writer(str(number), layout.root, None)
        assert wait_until(layout.events.exists)
        time.sleep(0.3)
        lock = sqlite3.connect(layout.events, timeout=5, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        time.sleep(0.4)
        if number % 2:  # it is killed while it brings in what it had spilled
            lock.execute("ROLLBACK")
            time.sleep(0.05)
        acknowledged |= writer.kill()
        lock.close()
        if number % 2 == 0:
            assert sum(p.stat().st_size for p in (layout.work / "spill").iterdir()) > 0
    there = found(None, layout)
    assert len(acknowledged) > 100
    assert acknowledged <= set(there)
    assert len(there) == len(set(there))
    assert not list((layout.work / "spill").iterdir())


def test_a_postgresql_killed_five_times_under_load_keeps_what_was_acknowledged(
    server: PostgresServer, layout
) -> None:
    server.clear()
    writer = Writer("w", layout.root, server.url)
    try:
        time.sleep(1)
        for _ in range(5):
            server.kill()
            time.sleep(0.2)
            server.start()
            time.sleep(0.3)
    finally:
        acknowledged = writer.kill()
    there = found(server.url, layout)
    assert len(acknowledged) > 500
    assert acknowledged <= set(there)
    assert len(there) == len(set(there))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("policy", ["spill", "block", "drop"])
def test_a_postgresql_that_stops_midway_is_met_by_the_policy(
    server: PostgresServer, layout, policy
) -> None:
    server.clear()
    log = open_log(server.url, layout, policy)
    try:
        for i in range(20):
            log.append_predictions([make_prediction(i)]).result(20)
        server.stop()
        during = log.append_predictions([make_prediction(20)])
        labelled = log.append_labels([make_label(3)])
        if policy == "block":
            with pytest.raises(TimeoutError):
                during.result(0.5)
        else:
            assert during.result(10) == []
            assert labelled.result(10) == [{"spill": "kept", "drop": "dropped"}[policy]]
        assert "postgresql://" in (log.reason or "")
        assert "://" not in (log.problem or "")
    finally:
        server.start()
    during.result(20)
    assert wait_until(lambda: log.problem is None)
    log.append_predictions([make_prediction(21)]).result(20)
    log.close()
    lost = {"id-20"} if policy == "drop" else set()
    assert set(prediction_ids(server.url, layout)) == {f"id-{i}" for i in range(22)} - lost
    reader = open_reader(server.url, layout)
    assert reader.count() == (22 - len(lost), 0 if lost else 1)
    reader.close()
    assert log.counters()["dropped"] == (2 if lost else 0)


def test_two_processes_write_to_one_postgresql(server: PostgresServer, layout) -> None:
    server.clear()
    writers = [Writer(name, layout.root, server.url) for name in "ab"]
    assert wait_until(lambda: all(writer.has_begun for writer in writers))
    time.sleep(0.5)
    acknowledged = [writer.kill() for writer in writers]
    with contextlib.closing(open_reader(server.url, layout)) as reader:
        total = reader.count().predictions
    there = prediction_ids(server.url, layout)
    assert total == len(there) == len(set(there))
    assert set.union(*acknowledged) <= set(there)


def test_the_same_label_at_once_to_two_services_is_new_to_one_of_them(url, layout) -> None:
    logs = [open_log(url, layout) for _ in range(2)]
    logs[0].append_predictions([make_prediction(i) for i in range(50)]).result(10)
    told = []
    for i in range(50):
        futures = [log.append_labels([make_label(i)]) for log in logs]
        told.append(sorted(future.result(10)[0] for future in futures))
    for log in logs:
        log.close()
    assert told == [["new", "same"]] * 50
