"""SQLite and PostgreSQL as event logs: what they store and what they refuse."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from event_databases import LONG_TEXT, make_label, make_prediction, prediction_ids

from mlops_cli.errors import BadParams, SourceUnreadable
from mlops_cli.events import Events, Label, RefusedEvents, open_events, open_reader
from mlops_cli.layout import Layout

FORMER = """
CREATE TABLE predictions (
    id TEXT NOT NULL UNIQUE, at REAL NOT NULL, moment REAL, version TEXT NOT NULL,
    role TEXT NOT NULL, entity TEXT, inputs TEXT NOT NULL, features TEXT NOT NULL,
    output TEXT NOT NULL, milliseconds REAL NOT NULL
);
CREATE INDEX predictions_at ON predictions (at);
CREATE TABLE moments (
    moment REAL NOT NULL, entity TEXT NOT NULL, PRIMARY KEY (moment, entity)
) WITHOUT ROWID;
CREATE TABLE labels (
    seq INTEGER PRIMARY KEY, key TEXT NOT NULL, prediction TEXT, entity TEXT, moment REAL,
    value TEXT NOT NULL, at REAL NOT NULL
);
PRAGMA user_version = 2;
"""
POSTGRES_FORMER = """
CREATE TABLE predictions (
    id TEXT PRIMARY KEY, at DOUBLE PRECISION NOT NULL, moment DOUBLE PRECISION,
    version TEXT NOT NULL, role TEXT NOT NULL, entity TEXT, inputs TEXT NOT NULL,
    features TEXT NOT NULL, output TEXT NOT NULL, milliseconds DOUBLE PRECISION NOT NULL
);
CREATE INDEX predictions_at ON predictions (at, id);
CREATE INDEX predictions_entity ON predictions (entity, moment) WHERE entity IS NOT NULL;
CREATE TABLE labels (
    seq BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, prediction TEXT, entity TEXT,
    moment DOUBLE PRECISION, value TEXT NOT NULL, at DOUBLE PRECISION NOT NULL
);
CREATE INDEX labels_key ON labels (key, at, seq);
CREATE INDEX labels_at ON labels (at, seq);
COMMENT ON TABLE predictions IS 'events of mlops-cli, format 1';
"""


@pytest.fixture
def events(url, layout) -> Iterator[Events]:
    made = open_events(url, layout)
    yield made
    made.close()


def test_everything_of_a_prediction_is_kept(events, url, layout) -> None:
    given = [
        make_prediction(1),
        make_prediction(
            2, moment=None, entity=None, inputs='{"text":"' + "ü\\u0000" * 10_000 + '"}'
        ),
        make_prediction(3, at=1e9 + 0.123457, milliseconds=float("inf")),
    ]
    events.write(given, [])
    reader = open_reader(url, layout)
    (frame,) = reader.predictions()
    reader.close()
    for before, after in zip(sorted(given, key=lambda p: p.at), frame.to_dicts(), strict=True):
        wanted = before._asdict()
        for time in ("at", "moment"):
            found = after.pop(time)
            seconds = wanted.pop(time)
            assert found is None if seconds is None else found.timestamp() == seconds
        assert after == wanted


@pytest.mark.parametrize("count", [1, 3, 64, 700])
def test_a_prediction_is_kept_once_whatever_comes_with_it(events, url, layout, count) -> None:
    events.write([make_prediction(i) for i in range(count)], [])
    again = [make_prediction(i, version="other") for i in range(count + 1)]
    events.write(again, [])
    events.write(again, [make_label(0)])
    assert sorted(prediction_ids(url, layout)) == sorted(f"id-{i}" for i in range(count + 1))
    reader = open_reader(url, layout)
    assert reader.predictions_by_id(["id-0"])["version"].to_list() == ["v0.1.0"]
    reader.close()


def test_two_of_one_id_in_the_same_batch_are_one(events, url, layout) -> None:
    events.write([make_prediction(1), make_prediction(1), make_prediction(2)], [])
    assert sorted(prediction_ids(url, layout)) == ["id-1", "id-2"]


def test_a_label_is_new_then_the_same_then_changed(events) -> None:
    events.write([make_prediction(i) for i in range(5)], [])
    told = [make_label(3), make_label(3), make_label(3, "false"), make_label(3), make_label(99)]
    assert events.write([], told) == ["new", "same", "changed", "changed", "unknown"]
    assert events.write([], [make_label(3), make_label(99), make_label(99, "false")]) == [
        "same", "same", "changed",
    ]  # fmt: skip


def test_a_label_may_come_with_its_prediction(events) -> None:
    assert events.write([make_prediction(7)], [make_label(7)]) == ["new"]


def test_a_label_finds_its_prediction_by_entity_and_moment(events) -> None:
    moment = 1234.1 + 1e-6
    events.write([make_prediction(i, entity='["a"]', moment=moment + i) for i in range(3)], [])
    right = Label("a|1", None, '["a"]', moment, "1", 1e9)
    others = [
        right._replace(key="a|2", moment=moment - 1),
        right._replace(key="b|1", entity='["b"]'),
        right._replace(key="c", entity=None, moment=None),
    ]
    assert events.write([], [right, *others]) == ["new", "unknown", "unknown", "unknown"]


def test_many_labels_at_once(events) -> None:
    events.write([make_prediction(i) for i in range(1200)], [])
    assert (
        events.write([], [make_label(i) for i in range(1500)]) == ["new"] * 1200 + ["unknown"] * 300
    )
    by_moment = [Label(f"m{i}", None, f'["e{i % 5}"]', 2e9 + i, "true", 1e9) for i in range(1500)]
    assert events.write([], by_moment) == ["new"] * 1200 + ["unknown"] * 300


def test_a_label_that_comes_late_finds_its_place_and_only_once(events, url, layout) -> None:
    events.write([make_prediction(1)], [make_label(1, "1", at=10.0), make_label(1, "3", at=30.0)])
    late = make_label(1, "2", at=20.0)
    assert events.write([], [late], from_spill=True) == ["changed"]
    again = [make_label(1, "1", at=10.0), late, make_label(1, "3", at=30.0)]
    assert events.write([], again, from_spill=True) == ["same"] * 3
    reader = open_reader(url, layout)
    (last,) = reader.labels()
    assert last["value"].to_list() == ["3"]
    (before,) = reader.labels(until=30.0)
    assert before["value"].to_list() == ["2"]
    (all_of_them,) = reader.labels(history=True)
    assert all_of_them["value"].to_list() == ["1", "2", "3"]
    reader.close()


def test_a_correction_counts_although_the_clock_was_set_back(events, url, layout) -> None:
    events.write([make_prediction(1)], [make_label(1, "1", at=1e9)])
    assert events.write([], [make_label(1, "2", at=1e9 - 600)]) == ["changed"]
    reader = open_reader(url, layout)
    (last,) = reader.labels()
    assert last["value"].to_list() == ["2"]
    assert reader.last_labels(["id-1"])["value"].to_list() == ["2"]
    assert events.write([], [make_label(1, "1", at=1e9 - 500)]) == ["changed"]
    assert reader.last_labels(["id-1"])["value"].to_list() == ["1"]
    assert events.write([], [make_label(1, "1", at=1e9 - 400)]) == ["same"]
    reader.close()


def test_all_are_kept_or_none(events, url, layout) -> None:
    events.write([make_prediction(0)], [])
    wrong = make_label(2)._replace(value=None)
    with pytest.raises(RefusedEvents, match=r"(?i)null"):
        events.write([make_prediction(1)], [make_label(0), wrong])
    with pytest.raises(RefusedEvents):
        events.write(
            [make_prediction(i) for i in range(1, 300)] + [make_prediction(300, version=None)], []
        )
    assert prediction_ids(url, layout) == ["id-0"]
    assert events.write([make_prediction(1)], [make_label(0)]) == ["new"]


def test_what_cannot_be_kept_is_refused_without_its_values(events) -> None:
    for wrong in ("secret\ud800", None):
        with pytest.raises(RefusedEvents) as caught:
            events.write([make_prediction(1, id="secret-7", version=wrong)], [])
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [{"version": "secret\0"}, {"moment": 10**400}, {"entity": "secret\udc80"}, {"role": None}],
)
def test_a_value_out_of_range_is_the_row_s_fault(events, url, layout, changed) -> None:
    if url is None and "\0" in str(changed.get("version")):
        pytest.skip("SQLite keeps it")
    with pytest.raises(RefusedEvents) as caught:
        events.write([make_prediction(0), make_prediction(1, **changed)], [])
    assert "secret" not in str(caught.value)
    events.write([make_prediction(2)], [])
    assert prediction_ids(url, layout) == ["id-2"]


def test_writing_nothing_tells_whether_the_database_is_there(events, server, url) -> None:
    assert events.write([], []) == []
    if url is not None:
        server.stop()
        with pytest.raises(SourceUnreadable, match="the event log postgresql://"):
            events.write([], [])
        server.start()
        assert events.write([make_prediction(1)], []) == []


def test_a_role_that_may_not_make_tables_finds_them_made(server, layout) -> None:
    server.clear()
    open_events(server.url, layout).write([], [])
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("DROP ROLE IF EXISTS writer")
        db.execute(
            "CREATE ROLE writer LOGIN; GRANT SELECT, INSERT ON predictions, labels TO writer"
        )
        db.execute("GRANT USAGE ON SEQUENCE labels_seq_seq TO writer")
    events = open_events(server.url.replace("postgres:@", "writer:@"), layout)
    assert events.write([make_prediction(1)], [make_label(1)]) == ["new"]
    events.close()
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("DROP OWNED BY writer; DROP ROLE writer")


def test_a_database_without_durable_commits_is_made_to_have_them(server, layout) -> None:
    server.clear()
    events = open_events(server.url + "&options=-csynchronous_commit%3Doff", layout)
    events.write([make_prediction(1)], [])
    assert events._db.execute("SHOW synchronous_commit").fetchone() == ("on",)
    events.close()


def test_another_table_of_that_name_is_left_alone(server, layout) -> None:
    server.clear()
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("CREATE TABLE predictions (mine int)")
    with pytest.raises(SourceUnreadable, match="a table predictions that isn't"):
        open_events(server.url, layout).write([make_prediction(1)], [])


def test_a_file_that_was_removed_is_made_again(layout) -> None:
    events = open_events(None, layout)
    events.write([make_prediction(1)], [])
    for path in layout.events.parent.glob("events.sqlite*"):
        path.unlink()
    events.write([make_prediction(2)], [])
    assert prediction_ids(None, layout) == ["id-2"]
    events.close()


def test_a_file_that_is_no_database_is_refused_and_left_alone(layout) -> None:
    layout.work.mkdir()
    layout.events.write_text("not a database, but someone's notes " * 100)
    with pytest.raises(SourceUnreadable, match=re.escape(str(layout.events))):
        open_events(None, layout).write([make_prediction(1)], [])
    with pytest.raises(SourceUnreadable):
        open_reader(None, layout)
    assert layout.events.read_text().startswith("not a database")


def test_a_file_of_a_newer_format_is_refused(layout) -> None:
    open_events(None, layout).write([], [])
    db = sqlite3.connect(layout.events)
    db.execute("PRAGMA user_version = 4")
    db.close()
    with pytest.raises(SourceUnreadable, match="format 4"):
        open_events(None, layout).write([], [])


def test_a_log_of_the_former_format_is_taken_up(layout) -> None:
    layout.work.mkdir()
    with closing(sqlite3.connect(layout.events)) as db:
        db.executescript(FORMER)
        db.execute("INSERT INTO predictions VALUES (?,?,?,?,?,?,?,?,?,?)", make_prediction(1))
        db.execute(
            "INSERT INTO moments VALUES (?, ?)",
            (make_prediction(1).moment, make_prediction(1).entity),
        )
        db.commit()
    assert prediction_ids(None, layout) == ["id-1"]
    events = open_events(None, layout)
    named = Label("k", None, make_prediction(1).entity, make_prediction(1).moment, "true", 1e9)
    assert events.write([make_prediction(2)], [named]) == ["new"]
    events.close()
    assert sorted(prediction_ids(None, layout)) == ["id-1", "id-2"]
    with closing(sqlite3.connect(layout.events)) as db:
        (plan,) = db.execute(
            "EXPLAIN QUERY PLAN SELECT 1 FROM predictions WHERE moment = 1 AND entity = 'a'"
        ).fetchall()
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    assert "predictions_moment" in plan[-1]
    assert "moments" not in tables


@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://u:hun@ter2@h/db",
        "postgresql://u:hun/ter2@h/db",
        "host=127.0.0.1 port=5999 password=hunter2",
        "postgresql:/u:hunter2@h/db",
        "postgresql://u@h/db?sslmode=hunter2&password=%zz",
    ],
)
def test_a_url_that_may_be_read_in_two_ways_makes_no_file_and_is_not_shown(
    layout, tmp_path, monkeypatch, wrong
) -> None:
    monkeypatch.chdir(tmp_path)
    for opened in (open_events, open_reader):
        with pytest.raises(BadParams, match="MLOPS_EVENTS_URL is") as caught:
            opened(wrong, layout)
        told = caught.value.message + caught.value.hint
        assert "hun" not in told
        assert "ter2" not in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", ["mysql://u:secret@host/db", "http://u:secret@host"])
def test_a_url_of_another_kind_is_refused(layout, wrong) -> None:
    with pytest.raises(BadParams, match="of the kind") as caught:
        open_events(wrong, layout)
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_password_is_never_told(server, layout) -> None:
    with pytest.raises(BadParams) as wrong:
        open_events("postgresql://user:se:cret%zz@host:port/db", layout)
    refused = []
    for place in ("nowhere.invalid", "127.0.0.1:1", "%2Fnowhere"):
        with pytest.raises(SourceUnreadable) as caught:
            open_events(f"postgresql://user:secret@{place}/db", layout).write([], [])
        refused.append(caught.value)
    shown = [e.message + e.hint for e in (wrong.value, *refused)]
    assert not any("cret" in text for text in shown)
    assert "refused" in shown[2]


def test_the_path_of_a_file_can_be_given(tmp_path, layout, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for url in ("a.sqlite", "sqlite:///b.sqlite", f"sqlite:///{tmp_path}/c.sqlite"):
        events = open_events(url, Layout(tmp_path / "project"))
        events.write([make_prediction(1)], [])
        events.close()
    assert {p.name for p in tmp_path.glob("*.sqlite")} == {"a.sqlite", "b.sqlite", "c.sqlite"}


def test_a_long_entity_is_found_in_either_database(events, url, layout) -> None:
    long = f'["{LONG_TEXT}"]'
    events.write([make_prediction(1, entity=long), make_prediction(2)], [])
    short = Label("k", None, long, make_prediction(1).moment, "true", 1e9)
    assert events.write([], [short]) == ["new"]
    assert sorted(prediction_ids(url, layout)) == ["id-1", "id-2"]


def test_a_key_too_long_for_an_index_is_the_label_s_fault(server, layout) -> None:
    server.clear()
    events = open_events(server.url, layout)
    with pytest.raises(RefusedEvents, match="54000") as caught:
        events.write(
            [make_prediction(1)], [Label(LONG_TEXT, None, f'["{LONG_TEXT}"]', 1.0, "true", 1e9)]
        )
    assert LONG_TEXT[:20] not in str(caught.value)
    assert events.write([make_prediction(1)], [make_label(1)]) == ["new"]
    events.close()


def test_a_postgresql_log_of_the_former_format_is_taken_up(server, layout) -> None:
    server.clear()
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute(POSTGRES_FORMER)
        db.execute(
            "INSERT INTO predictions VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s,%s)", make_prediction(1)
        )
        db.execute("DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN")
        db.execute("GRANT SELECT, INSERT ON predictions, labels TO writer")
        db.execute("GRANT USAGE ON SEQUENCE labels_seq_seq TO writer")
    assert prediction_ids(server.url, layout) == ["id-1"]
    weak = open_events(server.url.replace("postgres:@", "writer:@"), layout)
    assert weak.write([make_prediction(2)], [make_label(1)]) == ["new"]
    with pytest.raises(RefusedEvents):
        weak.write([make_prediction(3, entity=LONG_TEXT)], [])
    weak.close()
    events = open_events(server.url, layout)
    named = Label("k", None, make_prediction(1).entity, make_prediction(1).moment, "true", 1e9)
    assert events.write([make_prediction(3, entity=LONG_TEXT)], [named]) == ["new"]
    events.close()
    with psycopg.connect(server.url, autocommit=True) as db:
        db.execute("SET enable_seqscan = off")
        plan = "".join(row[0] for row in db.execute(
            "EXPLAIN SELECT 1 FROM predictions WHERE hashtextextended(entity, 0) = 1"
        ))  # fmt: skip
        db.execute("DROP OWNED BY writer; DROP ROLE writer")
    assert "predictions_entity" in plan


def test_values_that_no_time_has_can_still_be_read(events, url, layout) -> None:
    events.write(
        [
            make_prediction(1, moment=float("inf")),
            make_prediction(2, moment=1e300),
            make_prediction(3, moment=1e13),
        ],
        [],
    )
    reader = open_reader(url, layout)
    (frame,) = reader.predictions()
    assert [d["moment"] for d in frame.to_dicts()] == [None, None, None]
    reader.close()


@pytest.mark.parametrize("path", ["own", "given"])
def test_files_are_their_owner_s_only(tmp_path, path) -> None:
    layout = Layout(tmp_path)
    url = None if path == "own" else str(tmp_path / "x" / "e.sqlite")
    events = open_events(url, layout)
    events.write([make_prediction(1)], [])
    file = layout.events if url is None else tmp_path / "x" / "e.sqlite"
    modes = {p.name: oct(p.stat().st_mode)[-3:] for p in file.parent.glob("*.sqlite*")}
    assert set(modes.values()) == {"600"}
    assert len(modes) == 3
    assert oct(file.parent.stat().st_mode)[-3:] == "700"
    for each in (file.parent, *file.parent.glob("*.sqlite*")):
        each.chmod(0o777)
    events.close()
    again = open_events(url, layout)
    again.write([make_prediction(2)], [])
    assert {oct(p.stat().st_mode)[-3:] for p in file.parent.glob("*.sqlite*")} == {"600"}
    again.close()
