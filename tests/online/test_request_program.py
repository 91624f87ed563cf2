"""Requests get the table's features bit for bit, and invalid rows are reported one by one."""

from __future__ import annotations

import datetime as dt
from typing import Any

import polars as pl
import pytest
from feature_programs import (
    INGEST,
    START,
    UTC,
    InMemoryStore,
    change_rules,
    compile_program,
    make_tables,
    make_trips,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.features.program import FeatureProgram
from mlops_cli.online.request_program import RequestProgram
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest


def made(requests: RequestProgram, started: pl.DataFrame, kept: InMemoryStore) -> pl.DataFrame:
    """The features as a table, in the types that they have there."""
    program = requests.program
    empty = program.transform(
        pl.DataFrame(schema=dict(program.base.schema)),
        {n: pl.LazyFrame(schema=dict(f.schema)) for n, f in program.source_schemas.items()},
    )
    alone = pl.DataFrame(requests.features(started, kept)[0], schema=empty.schema)
    together = pl.DataFrame(requests.feature_series(started, kept)[0], schema=empty.schema)
    assert together.equals(alone)
    return alone


def answered(program: FeatureProgram, base: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    requests = RequestProgram(program)
    asked = rows.select(requests.inputs.required).with_columns(pl.col("t").dt.to_string("iso"))
    read = requests.inputs.parse(asked.to_dicts())
    assert not read.errors
    return made(
        requests, requests.prepare(read.frame), InMemoryStore(program, make_tables(base)).cache
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), clean=st.booleans())
def test_requests_get_to_the_bit_what_the_table_gives(seed: int, clean: bool) -> None:
    base = make_trips(seed, 200)
    rules = {
        "clean": [{"source": "trips", "set": {"stop": "UPPER(stop)"}}],
        "joins": {},
        "features": {"stop": "stop", "hour": "EXTRACT(hour FROM t)"},
    }
    program = compile_program(change_rules(**rules)) if clean else compile_program()
    whole = program.transform(
        program.replace_values("trips", base.lazy()).collect(),
        {s: program.clean(s, t) for s, t in make_tables(base).items()},
    )
    rows = base.sample(60, seed=seed)
    expected = whole.with_columns(base["t"], n=pl.int_range(200)).sample(60, seed=seed)
    assert answered(program, base, rows).equals(expected.drop("t", "n"), null_equal=True)


def test_calendar_spans_and_late_columns_agree_with_the_table() -> None:
    base = make_trips(11, 300).with_columns(t=pl.col("t") + pl.duration(days=27))
    base = base.with_columns(done=pl.col("t") + pl.duration(minutes=95))
    window = {
        "source": "trips",
        "by": {"stop": "stop"},
        "over": "1mo",
        "aggregates": {"n": "count(*)", "seen": "count(delay)", "low": "min(delay)"},
    }
    program = compile_program(change_rules(windows={"month": window}, features={"late": "delay"}))
    whole = program.transform(base, make_tables(base))
    assert answered(program, base, base).equals(whole, null_equal=True)


@pytest.mark.parametrize("over", ["1mo", "1q"])
def test_the_last_days_of_a_month_look_back_to_the_same_day(over: str) -> None:
    base = make_trips(14, 250).with_columns(t=START + pl.int_range(250) * pl.duration(minutes=557))
    base = base.sample(250, shuffle=True, seed=1)
    base = base.with_columns(done=pl.col("t") + pl.duration(minutes=95))
    aggregates = {"n": "count(*)", "sum": "sum(delay)", "low": "min(delay)", "high": "max(delay)"}
    window = {"source": "trips", "by": ["stop"], "over": over, "aggregates": aggregates}
    program = compile_program(
        change_rules(windows={"w": window}, joins={}, features={"stop": "stop"})
    )
    assert answered(program, base, base).equals(program.transform(base, make_tables(base)))


def test_a_shortened_past_answers_later_requests_the_same() -> None:
    base = make_trips(12, 400)
    program = compile_program()
    since = START + dt.timedelta(days=5)
    late = base.filter(pl.col("t") - pl.duration(hours=2) >= since)
    requests = RequestProgram(program)
    started = requests.prepare(late.select(requests.inputs.required))
    full, short = (
        InMemoryStore(program, make_tables(base)),
        InMemoryStore(program, make_tables(base), since),
    )
    assert sum(map(len, map(str, short.entries.values()))) < sum(
        map(len, map(str, full.entries.values()))
    )
    seen = [requests.features(started, kept.cache)[0] for kept in (short, full)]
    assert seen[0] == seen[1]


def test_only_what_the_features_read_is_asked_for() -> None:
    requests = RequestProgram(compile_program())
    assert requests.inputs.required == ("t", "bus", "stop")
    assert requests.inputs.optional == ()
    assert set(requests.inputs.columns) == {"t", "bus", "stop", "delay", "done"}


def test_a_key_without_an_entry_is_counted_as_a_miss() -> None:
    base = make_trips(13, 50)
    program = compile_program()
    requests = RequestProgram(program)
    row = {"t": "2020-01-05", "bus": "nosuch", "stop": "a"}
    started = requests.prepare(requests.inputs.parse([row]).frame)
    features, misses = requests.features(started, InMemoryStore(program, make_tables(base)).cache)
    assert misses == {"join.bus": 1, "window.bus_24h.done": 1, "window.bus_24h": 1}
    assert features["size"] == [None]
    assert features["bus_24h_n"] == [0]


def test_derived_columns_are_made_from_what_the_caller_knows() -> None:
    source = {**INGEST["sources"]["trips"], "derive": {"double": "size * 2", "unused": "size"}}
    ingest = {"sources": {**INGEST["sources"], "trips": source}}
    schema = {
        **make_trips(0, 3).schema,
        "size": pl.Int64(),
        "double": pl.Int64(),
        "unused": pl.Int64(),
    }
    rules = {"base": "trips", "target": "delay > 1", "features": {"four": "double * 2"}}
    program = FeatureProgram.compile(
        Featurize.model_validate(rules), Ingest.model_validate(ingest), {"trips": schema}
    )
    again = FeatureProgram.from_json(program.to_json())
    requests = RequestProgram(again)
    assert requests.inputs.required == ("t", "size")
    read = requests.inputs.parse([{"t": "2020-01-01", "size": 3}])
    features, _ = requests.features(
        requests.prepare(read.frame),
        InMemoryStore(program, make_tables(make_trips(0, 3))).cache,
    )
    assert features == {"four": [12]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"t": "2020-01-01", "stop": "a"}, "column 'bus' is missing."),
        ({"t": "yesterday", "stop": "a", "bus": "b"}, "'yesterday' in column 't' is not of type "),
        ({"t": 5, "stop": "a", "bus": "b"}, "5 in column 't' is not of type datetime"),
        ({"t": "2020-01-01", "stop": ["a"], "bus": "b"}, r"['a'] in column 'stop' is not of type"),
        ({"t": "2020-01-01", "stop": {}, "bus": "b"}, r"{} in column 'stop' is not of type string"),
        ({"t": "2020-01-01", "stop": "a", "buss": "b"}, "Did you mean 'buss'?"),
    ],
)
def test_a_bad_row_is_told_and_the_others_are_read(row: Any, message: str) -> None:
    good = {"t": "2020-01-01T08:00:00+02:00", "stop": "a", "bus": None}
    read = RequestProgram(compile_program()).inputs.parse([good, row, good])
    assert read.index == [0, 2]
    assert read.frame["t"].to_list() == [dt.datetime(2020, 1, 1, 6, tzinfo=dt.UTC)] * 2
    (error,) = read.errors
    assert error.row == 1
    assert message in error.message


def test_a_table_that_lacks_a_column_is_refused_as_a_whole() -> None:
    read = RequestProgram(compile_program()).inputs.parse_frame(pl.DataFrame({"t": ["2020-01-01"]}))
    assert [(e.row, e.column) for e in read.errors] == [(None, "bus"), (None, "stop")]
    assert read.frame.is_empty()


def test_a_wide_row_has_to_the_bit_what_many_have() -> None:
    names = [f"x{i}" for i in range(60)]
    columns = {n: pl.Float64() for n in names} | {"n": pl.Int64(), "s": pl.String(), "t": UTC}
    ingest = Ingest.model_validate({"sources": {"a": {"uri": "x", "time": "t"}}})
    rules = Featurize.model_validate(
        {
            "base": "a",
            "target": "n > 0",
            "features": {**{n: n for n in names}, "s": "s", "n": "n", "ratio": "x1 / x2"},
        }
    )
    requests = RequestProgram(FeatureProgram.compile(rules, ingest, {"a": columns}))
    rows = [
        {n: None if (i + row) % 7 == 0 else i / 7 + row for i, n in enumerate(names)}
        | {"n": row, "s": "ab"[row % 2], "t": f"2024-01-{row + 1:02d}T00:00:00Z"}
        for row in range(12)
    ]
    read = requests.inputs.parse(rows)
    many = made(requests, requests.prepare(read.frame), InMemoryStore(requests.program, {}).cache)
    for row in range(12):
        one = requests.prepare(requests.inputs.parse([rows[row]]).frame)
        alone = made(requests, one, InMemoryStore(requests.program, {}).cache)
        assert alone.equals(many[row : row + 1])
