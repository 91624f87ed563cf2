"""Reading the event log in bounded pages, while others write."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import psycopg
import pytest
from event_databases import make_label, make_prediction

from mlops_cli.errors import NotFound, SourceUnreadable
from mlops_cli.events import Label, open_events, open_reader
from mlops_cli.events.reader import EventCounts, LabelConflicts, Reader


@pytest.fixture
def reader(url, layout) -> Iterator[Reader]:
    events = open_events(url, layout)
    # Two of each time, three versions, some shadows.
    events.write(
        [
            make_prediction(
                i,
                at=1e9 + i // 2,
                version=f"v0.{i % 3}.0",
                role="shadow" if i % 10 == 0 else "answered",
            )
            for i in range(100)
        ],
        [make_label(i, at=2e9 + i) for i in range(20)],
    )
    events.write([], [make_label(i, "false", at=3e9 + i) for i in range(5)])
    events.close()
    made = open_reader(url, layout)
    yield made
    made.close()


@pytest.mark.parametrize("batch", [1, 7, 100, 50_000])
def test_every_prediction_comes_once_in_order_of_time(reader, batch) -> None:
    frames = list(reader.predictions(page_rows=batch))
    assert all(0 < frame.height <= batch for frame in frames)
    whole = pl.concat(frames)
    assert sorted(whole["id"]) == sorted(f"id-{i}" for i in range(100))
    assert whole["at"].is_sorted()
    assert whole.schema["at"] == whole.schema["moment"] == pl.Datetime("us", "UTC")


def test_an_interval_has_its_start_and_not_its_end(reader) -> None:
    (frame,) = reader.predictions(1e9 + 10, 1e9 + 12)
    assert sorted(frame["id"]) == ["id-20", "id-21", "id-22", "id-23"]
    assert reader.count(1e9 + 10, 1e9 + 12) == EventCounts(4, 0)
    assert list(reader.predictions(5e9)) == []


def test_versions_roles_and_columns_can_be_chosen(reader) -> None:
    (frame,) = reader.predictions(version="v0.1.0", role="shadow", columns=["id", "version"])
    assert frame.rows() == [(f"id-{i}", "v0.1.0") for i in (10, 40, 70)]


def test_the_last_label_of_a_key_counts_or_the_last_before_a_time(reader) -> None:
    last = pl.concat(reader.labels(page_rows=3))
    assert last.height == 20
    assert last.filter(value="false")["key"].to_list() == [f"id-{i}" for i in range(5)]
    assert pl.concat(reader.labels(until=2.5e9))["value"].unique().to_list() == ["true"]
    assert pl.concat(reader.labels(history=True, page_rows=4)).height == 25
    assert reader.count() == EventCounts(100, 25)


def test_predictions_are_found_by_id(reader) -> None:
    ids = [f"id-{i}" for i in range(50, 1200)]
    assert sorted(reader.predictions_by_id(ids)["id"]) == sorted(ids[:50])
    assert reader.predictions_by_id([]).height == 0


def test_reading_sees_what_came_since_and_holds_no_writer_up(reader, url, layout) -> None:
    pages = reader.predictions(page_rows=10)
    next(pages)
    events = open_events(url, layout)
    events.write([make_prediction(1000)], [])
    events.close()
    assert sum(frame.height for frame in pages) == 91


def test_a_log_that_is_not_there_is_not_made(layout) -> None:
    with pytest.raises(NotFound, match="no event log"):
        open_reader(None, layout)
    assert not layout.work.exists()


def test_an_empty_database_has_nothing_and_stays_empty(server, layout) -> None:
    server.clear()
    reader = open_reader(server.url, layout)
    assert reader.count() == EventCounts(0, 0)
    assert list(reader.predictions()) == list(reader.labels()) == []
    assert reader.predictions_by_id(["a"]).height == 0
    reader.close()
    with pytest.raises(SourceUnreadable):
        open_reader(server.url.replace("/postgres?", "/other?"), layout)


def test_versions_and_roles_are_counted_in_an_interval_of_either_time(reader) -> None:
    assert reader.count_by_version(until=1e9 + 3) == [
        ("v0.1.0", "answered", 2),
        ("v0.2.0", "answered", 2),
        ("v0.0.0", "answered", 1),
        ("v0.0.0", "shadow", 1),
    ]
    by_moment = reader.count_by_version(2e9 + 50, time_column="moment")
    assert sum(mixed.rows for mixed in by_moment) == 50
    (frame,) = reader.predictions(2e9 + 50, 2e9 + 52, time_column="moment")
    assert sorted(frame["id"]) == ["id-50", "id-51"]


def test_the_newest_prediction_is_found(reader) -> None:
    assert reader.newest_time() == 1e9 + 49
    assert reader.newest_time(1e9 + 10) == 1e9 + 9
    assert reader.newest_time(time_column="moment") == 2e9 + 99
    assert reader.newest_time(1.0) is None


def test_labels_that_contradict_and_labels_of_nothing_are_counted(reader, url, layout) -> None:
    events = open_events(url, layout)
    events.write(
        [], [make_label(1000, at=4e9), entity_label("e1", 2e9 + 1), entity_label("e9", 7.0)]
    )
    events.close()
    assert reader.count_conflicts() == LabelConflicts(contradicting=5, unknown=2)
    assert reader.count_conflicts(since=3.5e9) == LabelConflicts(contradicting=0, unknown=2)


def entity_label(name: str, moment: float) -> Label:
    entity = f'["{name}"]'
    return Label(f"{entity}|{moment}", None, entity, moment, "true", 4e9)


def test_the_query_of_the_documents_counts_each_prediction_once(url, layout) -> None:
    events = open_events(url, layout)
    right, wrong = '{"prediction":true}', '{"prediction":false}'
    events.write(
        [
            make_prediction(1, output=right),
            make_prediction(2, output=right, entity='["x"]', moment=7.0),
            make_prediction(3, output=wrong, entity='["y"]', moment=8.0),
            make_prediction(4, output=wrong, role="shadow"),
            make_prediction(5, version="v0.2.0"),
        ],
        # The second and third by entity; the third by id too, and later.
        [
            make_label(1, "false"),
            make_label(1),
            entity_label("x", 7.0),
            entity_label("y", 8.0),
            make_label(4),
        ],
    )
    events.write([], [make_label(3, "false", at=5e9)])
    events.close()
    page = (Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")
    sql = page.partition("```sql\n")[2].partition("```")[0]
    if url is None:
        with sqlite3.connect(layout.events) as db:
            rows = db.execute(sql.rstrip().rstrip(";")).fetchall()
    else:
        there = "avg(((output::json -> 'prediction')::text = value)::int)"
        assert there in page
        with psycopg.connect(url) as server:
            query = sql.replace("avg(output -> 'prediction' = value)", there)
            rows = server.execute(query.replace("%", "%%")).fetchall()
    assert [(version, count, float(share)) for version, count, share in rows] == [
        ("v0.1.0", 3, 1.0)
    ]
