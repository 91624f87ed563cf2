"""The feature program: no future values, and the same features for a table and for one row."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from feature_programs import (
    INGEST,
    RULES,
    START,
    UTC,
    change_rules,
    compile_program,
    make_tables,
    make_trips,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.features.example_row import example_row
from mlops_cli.features.program import FeatureProgram
from mlops_cli.models.encoder import Encoder
from mlops_cli.online.request_program import RequestProgram
from mlops_cli.params.featurize import Featurize
from mlops_cli.params.ingest import Ingest

BUS = {"source": "buses", "columns": ["size"]}


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_one_row_gives_to_the_bit_what_the_whole_table_gives(seed: int) -> None:
    base = make_trips(seed, 150)
    program = compile_program()
    whole = program.transform(base, make_tables(base))
    for i in range(0, base.height, 7):
        assert program.transform(base[i], make_tables(base)).equals(whole[i], null_equal=True)


def test_the_row_needs_no_columns_that_become_known_late() -> None:
    base = make_trips(1, 100)
    program = compile_program()
    whole = program.transform(base, make_tables(base))
    request = base[17].drop("delay", "done")
    assert program.transform(request, make_tables(base)).equals(whole[17])


def test_rows_out_of_reach_do_not_change_the_answer() -> None:
    base = make_trips(2, 400)
    at = base["t"][5] - dt.timedelta(hours=2)
    program = compile_program()
    near = base.filter(pl.col("t") > at - dt.timedelta(days=4), pl.col("t") < at)
    whole = program.transform(base[5], make_tables(base))
    assert program.transform(base[5], {**make_tables(base), "trips": near.lazy()}).equals(whole)


def near(found: float | None, expected: Any) -> bool:
    """Equal but for the resolution of sums; None only equals None."""
    if found is None or expected is None:
        return found is expected
    return bool(found == pytest.approx(expected, rel=1e-5, abs=1e-4))


def test_windows_agree_with_a_direct_count() -> None:
    base = make_trips(3, 400)
    made = compile_program().transform(base, make_tables(base))
    for i in base.with_row_index().filter(pl.col("bus").is_not_null())["index"][::11]:
        at = base["t"][i] - dt.timedelta(hours=2)
        day = base.filter(
            (pl.col("bus") == base["bus"][i])
            & (pl.col("done") < at)
            & (pl.col("done") >= at - dt.timedelta(hours=24))
        )["delay"]
        row = made.row(i, named=True)
        assert row["bus_24h_n"] == day.count()
        assert row["bus_24h_min"] == day.min()
        assert row["bus_24h_max"] == day.max()
        assert near(row["bus_24h_mean"], day.mean())
        assert near(row["bus_24h_std"], day.std())
        scheduled = base.filter(
            (pl.col("bus") == base["bus"][i])
            & (pl.col("t") < at)
            & (pl.col("t") >= at - dt.timedelta(hours=24))
        )
        assert row["bus_24h_rows"] == scheduled.height


def test_as_of_join_takes_the_latest_published_before_the_prediction() -> None:
    base = make_trips(4, 50)
    made = compile_program().transform(base, make_tables(base))
    weather = make_tables(base)["weather"].collect()
    for i in range(50):
        at = base["t"][i] - dt.timedelta(hours=2)
        known = weather.filter(
            (pl.col("stop") == base["stop"][i])
            & (pl.col("published") < at)
            & (pl.col("published") >= at - dt.timedelta(hours=6))
        )
        assert made["rain"][i] == (known["rain"][-1] if known.height else None)


def test_what_becomes_known_at_the_very_moment_is_not_seen() -> None:
    base = make_trips(5, 2).with_columns(
        t=pl.Series([START, START + dt.timedelta(hours=4)], dtype=UTC),
        bus=pl.lit("b1"),
        delay=pl.lit(3.0),
        done=pl.lit(START + dt.timedelta(hours=2)).cast(UTC),
    )
    made = compile_program().transform(base, make_tables(base))
    assert made["bus_24h_n"].to_list() == [0, 0]


def test_slices_give_what_the_whole_gives() -> None:
    base = make_trips(6, 300)
    program = compile_program()
    whole = program.transform(base, make_tables(base))
    parts = [program.transform(base[i : i + 70], make_tables(base)) for i in range(0, 300, 70)]
    assert pl.concat(parts).equals(whole)


def test_the_program_survives_its_file() -> None:
    base = make_trips(7, 60)
    program = compile_program()
    again = FeatureProgram.from_json(program.to_json())
    assert again.transform(base, make_tables(base)).equals(
        program.transform(base, make_tables(base))
    )
    assert again.kinds == program.kinds


def test_lists_and_objects_of_a_source_are_left_out() -> None:
    schemas = {
        name: table.collect_schema() for name, table in make_tables(make_trips(7, 3)).items()
    }
    nested = {"tags": pl.List(pl.String), "address": pl.Struct({"street": pl.String})}
    schemas["trips"] = pl.Schema({**schemas["trips"], **nested})
    program = FeatureProgram.compile(
        Featurize.model_validate(RULES), Ingest.model_validate(INGEST), schemas
    )
    again = FeatureProgram.from_json(program.to_json())
    assert again.base.schema.keys() == compile_program().base.schema.keys()


def test_a_late_column_in_a_feature_is_blank_at_the_moment_of_prediction() -> None:
    base = make_trips(8, 40)
    made = compile_program(change_rules(features={"cheat": "delay"})).transform(
        base, make_tables(base)
    )
    assert made["cheat"].null_count() == 40


def test_a_moment_of_prediction_from_late_knowledge_is_refused() -> None:
    with pytest.raises(BadParams, match="reads 'done', which is known only at 'done'"):
        compile_program(change_rules(predict_at="done"))


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"features": {"x": "nosuch + 1"}}, "reads the column 'nosuch'"),
        ({"features": {"x": "hour +"}}, "featurize.features.x is not an expression"),
        ({"features": {"x": "SUM(delay)"}}, "looks at more than one row"),
        ({"features": {"x": "t"}}, "is of type Datetime, which no model takes"),
        ({"features": {"bus_24h_n": "t"}}, "has the name of a window's aggregate"),
        ({"target": "dely > 1"}, "featurize.target reads the column 'dely'"),
        ({"keep": ["stopp"]}, "featurize.keep names 'stopp'"),
        ({"features": {}, "windows": {}}, "featurize gives no feature"),
        ({"clean": [{"source": "trips", "keep": "nosuch > 1"}]}, r"featurize.clean.0.keep reads"),
        (
            {"clean": [{"source": "trips", "keep": "delay"}]},
            "clean.0.keep is of type number, and a",
        ),
        ({"unlabelled": {"x": "bus"}}, "featurize.unlabelled.x is of type string, and a condition"),
        ({"joins": {"j": {**BUS, "on": {"buss": "bus"}}}}, "joins.j.on names the column 'buss'"),
        ({"joins": {"j": {**BUS, "on": {"*": "bus"}}}}, r"joins.j.on names the column '\*'"),
        ({"joins": {"j": {**BUS, "on": {"delay": "bus"}}}}, "'delay', of type number, with 'bus'"),
    ],
)
def test_a_rule_that_cannot_work_is_told_with_its_place(rules: Any, message: str) -> None:
    with pytest.raises(BadParams, match=message):
        compile_program(change_rules(**rules))


@pytest.mark.parametrize(
    ("window", "message"),
    [
        ({"aggregates": {"x": "median(delay)"}}, "uses the aggregate 'median'"),
        ({"aggregates": {"x": "delay"}}, "an aggregate is a function"),
        ({"aggregates": {"x": "sum(*)"}}, "only count takes a star"),
        ({"by": ["buss"]}, "names the column 'buss'"),
        ({"by": {"^b.*$": "bus"}}, r"windows.w.by names the column '\^b"),
        ({"by": {"delay": "bus"}}, "'delay', of type number, with 'bus', of type string"),
        ({"where": "t"}, "windows.w.where is of type datetime, and a condition is true or false"),
        ({"source": "buses", "by": ["bus"], "aggregates": {"x": "count(*)"}}, "has no time"),
    ],
)
def test_a_window_that_cannot_work_is_told(window: Any, message: str) -> None:
    wrong = {"source": "trips", "by": ["bus"], "over": "1d", "aggregates": {"x": "count(*)"}}
    with pytest.raises(BadParams, match=message):
        compile_program(change_rules(windows={"w": {**wrong, **window}}))


def test_a_join_that_would_multiply_rows_is_refused() -> None:
    program = compile_program()
    double = pl.LazyFrame({"bus": ["b1", "b2", "b1"], "size": [1, 2, 3]})
    with pytest.raises(DataRefused, match="buses has 2 rows for 'b1'"):
        program.joins[0].check_unique(double)


def test_infinite_and_missing_values_count_as_missing() -> None:
    base = make_trips(9, 3).with_columns(
        t=pl.Series([START + dt.timedelta(hours=h) for h in (0, 1, 20)], dtype=UTC),
        bus=pl.lit("b1"),
        delay=pl.Series([float("inf"), 4.0, 0.0]),
    )
    base = base.with_columns(done=pl.col("t") + pl.duration(minutes=95))
    made = compile_program().transform(base, make_tables(base)).row(2, named=True)
    assert (made["bus_24h_mean"], made["bus_24h_max"]) == (4.0, 4.0)


def test_a_hook_adds_columns_and_must_keep_the_rows() -> None:
    base = make_trips(10, 30)
    schemas = {name: table.collect_schema() for name, table in make_tables(base).items()}

    def compile_with(hook: Any) -> FeatureProgram:
        rules = Featurize.model_validate(change_rules(features={"twice": "twice"}, hook="m:f"))
        return FeatureProgram.compile(rules, Ingest.model_validate(INGEST), schemas, hook)

    program = compile_with(lambda f: f.with_columns(twice=pl.col("bus_size") * 2))
    made = program.transform(base, make_tables(base))
    assert made["twice"].drop_nulls().is_in([20, 40, 60, 80]).all()
    loses_rows = FeatureProgram(program.rules, program.source_schemas, lambda f: f.head(1))
    with pytest.raises(BadParams, match="gave 1 rows for 30 rows"):
        loses_rows.transform(base, make_tables(base))


def test_a_program_in_a_file_reads_nothing_but_its_rows(tmp_path: Path) -> None:
    private = tmp_path / "private.csv"
    private.write_text("root:x:0:0\n")
    content = compile_program().to_json()
    content["rules"]["features"]["hour"] = f"stop IN (SELECT nothing FROM read_csv('{private}'))"  # noqa: S608 - refused as such
    with pytest.raises(BadParams, match="SELECT reads a table"):
        RequestProgram(FeatureProgram.from_json(content))


def test_a_program_in_a_file_has_types_and_no_other_names_of_polars() -> None:
    content = compile_program().to_json()
    content["sources"]["buses"]["schema"]["size"] = "read_clipboard"
    with pytest.raises(DataRefused, match="the type 'read_clipboard'"):
        FeatureProgram.from_json(content)


def test_infinity_is_missing_for_a_table_and_for_one_row() -> None:
    base = make_trips(5, 40)
    program = compile_program(
        change_rules(features={"ratio": "1.0 / (bus_24h_n - bus_24h_n)", "n": "bus_24h_n"})
    )
    assert program.transform(base, make_tables(base))["ratio"].null_count() == 40
    for e in program.features.values():
        assert e.may_be_infinite == (e.setting.endswith("ratio"))


def test_a_table_of_two_thousand_columns_takes_a_moment():
    names = [f"g{i}" for i in range(2_000)]
    columns = {n: pl.Float64() for n in names} | {"y": pl.Boolean()}
    ingest = Ingest.model_validate({"sources": {"a": {"uri": "x"}}})
    rules = {"base": "a", "target": "y", "features": {n: n for n in names}}
    base = pl.DataFrame({n: [1.0, None] for n in names} | {"y": [True, False]}, schema=columns)
    begun = time.process_time()
    program = FeatureProgram.compile(Featurize.model_validate(rules), ingest, {"a": columns})
    made = program.transform(base, {})
    example = example_row(base.lazy(), names)
    matrix = Encoder.fit(made, program.kinds)
    for _ in range(20):
        matrix.transform(made)
    assert time.process_time() - begun < 5, "column by column with a look at all it is 20 seconds"
    assert made.equals(base.select(names))
    assert example == dict.fromkeys(names, 1.0)
