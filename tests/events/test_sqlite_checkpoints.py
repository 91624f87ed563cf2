"""SQLite's write-ahead log stays small under steady writing, and no commit waits for it."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing

from event_databases import make_prediction

from mlops_cli.events import sqlite_checkpoints
from mlops_cli.events.sqlite import SqliteEvents

LONG = 200_000


def test_the_write_ahead_log_restarts_under_steady_load(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_checkpoints, "_MAX_LOG_BYTES", LONG)
    path = tmp_path / "events.sqlite"
    events, log = SqliteEvents(path), path.with_name("events.sqlite-wal")
    written = 0
    for start in range(0, 6_000, 20):
        before = log.stat().st_size if log.exists() else 0
        events.write([make_prediction(i) for i in range(start, start + 20)], [])
        written += 20
        assert before < 10 * LONG
        time.sleep(0.001)
    assert path.stat().st_size > LONG, "the log was brought in while it was written"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT COUNT(*) FROM predictions").fetchone() == (written,)
    events.close()
    assert not log.exists()


def test_a_log_that_is_gone_keeps_no_one_from_writing(tmp_path):
    seen = sqlite_checkpoints.Checkpoints(tmp_path / "nowhere.sqlite")
    with closing(sqlite3.connect(":memory:")) as db:
        seen.after_commit(db)
    seen.close()
    assert list(tmp_path.iterdir()) == []


def test_a_log_that_began_anew_is_short_although_its_file_is_long(tmp_path, monkeypatch):
    long = 20 * LONG
    monkeypatch.setattr(sqlite_checkpoints, "_MAX_LOG_BYTES", long)
    begun: list[threading.Thread] = []
    bring = sqlite_checkpoints.Checkpoints._checkpoint

    def noted(self: sqlite_checkpoints.Checkpoints) -> None:
        begun.append(threading.current_thread())
        bring(self)

    monkeypatch.setattr(sqlite_checkpoints.Checkpoints, "_checkpoint", noted)
    path = tmp_path / "events.sqlite"
    events, log = SqliteEvents(path), path.with_name("events.sqlite-wal")
    written = 0
    while not begun:
        events.write([make_prediction(i) for i in range(written, written + 200)], [])
        written += 200
    begun[0].join()
    for number in range(written, written + 10):
        events.write([make_prediction(number)], [])
    assert log.stat().st_size >= long
    assert len(begun) == 1
    events.close()
