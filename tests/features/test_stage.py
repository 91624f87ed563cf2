"""The featurize stage: labelled rows, counted reasons, slices without effect on values."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json
from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.features import stage
from mlops_cli.features.program import FeatureProgram
from mlops_cli.layout import PENDING, ROW, TARGET, TIME, Layout
from mlops_cli.online.request_program import RequestProgram
from mlops_cli.params import Params
from mlops_cli.reporting import Silent

START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def settings(**rules: Any) -> Params:
    return Params.model_validate(
        {
            "project": {"name": "trips"},
            "task": {"type": "binary"},
            "ingest": {
                "sources": {"trips": {"uri": "x", "time": "t", "known_at": {"delay": "done"}}}
            },
            "featurize": {
                "base": "trips",
                "target": "delay > 5",
                "unlabelled": {"cancelled": "size < 0"},
                "windows": {
                    "day": {
                        "source": "trips",
                        "by": ["bus"],
                        "over": "1d",
                        "aggregates": {"n": "count(delay)", "mean": "mean(delay)"},
                    }
                },
                "features": {"size": "size", "hour": "EXTRACT(hour FROM t)"},
                **rules,
            },
            "register": {"name": "trips"},
        }
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    rows = 200
    times = [START + dt.timedelta(hours=i) for i in range(rows)]
    delays = [None if i % 10 == 0 else float(i % 13) for i in range(rows)]
    frame = pl.DataFrame(
        {
            "t": times,
            "bus": [f"b{i % 3}" for i in range(rows)],
            "size": [-1 if i % 20 == 0 else i for i in range(rows)],
            "delay": delays,
            PENDING: [i == 190 for i in range(rows)],
        },
        schema_overrides={"t": pl.Datetime("us", "UTC")},
    ).with_columns(done=pl.col("t") + pl.duration(minutes=30))
    layout = Layout(tmp_path)
    parquet.write(frame, layout.validated / "trips.parquet")
    return layout


def made(layout: Layout) -> pl.DataFrame:
    return parquet.scan(layout.features).collect()


def test_only_labelled_rows_are_kept_and_the_others_counted_by_reason(layout: Layout) -> None:
    summary = stage.run(settings(), layout, Silent())
    table = made(layout)
    assert table.height == 180
    assert table[TARGET].null_count() == 0
    assert table.columns == [ROW, TIME, TARGET, "size", "hour", "day_n", "day_mean"]
    counted = read_json(layout.feature_report)["rows"]
    assert counted["unlabelled"] == {"cancelled": 10, "no label": 9, "not known yet": 1}
    assert summary.facts["labelled"] == 180


def test_without_reasons_the_rows_without_a_label_are_counted_all_the_same(layout: Layout) -> None:
    path = layout.validated / "trips.parquet"
    parquet.write(parquet.scan(path).drop(PENDING).collect(), path)
    for target, counted in (("delay > 5", {"no label": 20}), ("size > 5", {})):
        stage.run(settings(target=target, unlabelled={}), layout, Silent())
        assert read_json(layout.feature_report)["rows"]["unlabelled"] == counted


def test_the_size_of_slices_changes_no_value(layout: Layout) -> None:
    stage.run(settings(), layout, Silent())
    whole = made(layout)
    stage.run(settings(slice_rows=17), layout, Silent())
    assert len(list(layout.features.glob("*.parquet"))) == 12
    assert made(layout).equals(whole)


def test_the_same_bytes_come_again(layout: Layout) -> None:
    def run() -> list[bytes]:
        stage.run(settings(), layout, Silent())
        paths = [*sorted(layout.features.iterdir()), layout.program, layout.feature_report]
        return [path.read_bytes() for path in paths]

    assert run() == run()


def test_rows_can_be_kept_out_and_values_repaired(layout: Layout) -> None:
    clean = [
        {"source": "trips", "keep": "size >= 0"},
        {"source": "trips", "set": {"size": "size * 2"}},
    ]
    stage.run(settings(clean=clean), layout, Silent())
    table = made(layout)
    assert table["size"].min() == 2
    assert read_json(layout.feature_report)["rows"]["removed by clean"] == 10


def test_a_feature_that_equals_the_target_is_refused_and_leaves_nothing(layout: Layout) -> None:
    frame = parquet.scan(layout.validated / "trips.parquet").collect()
    leak = frame.with_columns(answer=(pl.col("delay") > 5).cast(pl.Int64))
    parquet.write(leak, layout.validated / "trips.parquet")
    with pytest.raises(DataRefused, match=r"the feature 'answer' equals the target in every row"):
        stage.run(settings(features={"answer": "answer"}), layout, Silent())
    assert not layout.features.exists()


def test_a_feature_that_is_never_known_in_time_is_refused(layout: Layout) -> None:
    with pytest.raises(BadParams, match="reads 'delay', which is never known at the moment"):
        stage.run(settings(features={"cheat": "delay * 2"}), layout, Silent())


def test_a_hook_of_the_project_adds_columns(layout: Layout) -> None:
    (layout.root / "my_features.py").write_text(
        "import polars as pl\n\n\ndef add(frame):\n"
        "    return frame.with_columns(root=pl.col('size').abs().sqrt())\n"
    )
    rules = {"hook": "my_features:add", "features": {"root": "root"}}
    stage.run(settings(**rules), layout, Silent())
    assert made(layout)["root"].to_list()[0] == 1.0


@pytest.mark.parametrize("hook", ["nosuch_module_here:add", "math:nosuch"])
def test_a_hook_that_is_not_there_is_told(hook: str, layout: Layout) -> None:
    with pytest.raises(BadParams, match=r"featurize\.hook"):
        stage.run(settings(hook=hook), layout, Silent())


@pytest.mark.parametrize(
    "rules",
    [
        {"features": {"size": "size", "line": "CAST(bus AS BIGINT)"}},
        {"features": {"hour": "EXTRACT(hour FROM DATETIME(bus, '%Y-%m-%d %H:%M'))"}},
        {"target": "CAST(bus AS BIGINT) > 1"},
    ],
)
def test_a_value_that_an_expression_cannot_take_is_not_shown(
    layout: Layout, rules: dict[str, Any]
) -> None:
    with pytest.raises(DataRefused, match="can't take a value of the data") as caught:
        stage.run(settings(**rules), layout, Silent())
    assert "'bus'" in caught.value.message
    assert "b1" not in caught.value.message
    assert not layout.features.exists()


def test_a_division_by_zero_is_a_missing_value(layout: Layout) -> None:
    features = {"hours": "EXTRACT(hour FROM t)", "ratio": "size / EXTRACT(hour FROM t)"}
    stage.run(settings(features=features), layout, Silent())
    table = made(layout)
    none = table.filter(pl.col("hours") == 0)["ratio"]
    assert len(none)
    assert none.null_count() == len(none)
    assert table["ratio"].is_finite().all()
    assert read_json(layout.feature_report)


def test_an_infinite_target_is_refused_with_its_count(layout: Layout) -> None:
    params = settings(target="LN(delay)")
    object.__setattr__(params.task, "type", "regression")
    with pytest.raises(DataRefused, match=r"infinite or not a number in 1\d of 180 rows"):
        stage.run(params, layout, Silent())


def test_the_example_of_a_request_is_no_row_and_is_read_as_one(layout: Layout) -> None:
    table = parquet.scan(layout.validated / "trips.parquet").collect()
    mails = table.with_columns(mail=pl.format("p{}@example.org", pl.int_range(pl.len())))
    parquet.write(mails, layout.validated / "trips.parquet")
    stage.run(settings(features={"size": "size", "mail": "LOWER(mail)"}), layout, Silent())
    content = read_json(layout.program)
    assert content["example"]["mail"] == "text"
    assert content["example"]["bus"] in {"b0", "b1", "b2"}
    requests = RequestProgram(FeatureProgram.from_json(content))
    read = requests.inputs.parse([content["example"]])
    assert not read.errors
    assert read.frame.height == 1
    features = read_json(layout.feature_report)["features"]
    assert features["mail"]["min"] is None
    assert features["size"]["min"] == 1
