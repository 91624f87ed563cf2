"""The split stage: files by strategy, and the checks."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json, write_json
from mlops_cli.errors import BadParams
from mlops_cli.layout import ROW, SPLITS, TARGET, TIME, Layout
from mlops_cli.params import Params
from mlops_cli.reporting import Silent
from mlops_cli.splitting import stage

START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def settings(until: str | None = None, **rules: Any) -> Params:
    return Params.model_validate(
        {
            "project": {"name": "trips", "seed": 3},
            "task": {"type": "binary"},
            "ingest": {"until": until, "sources": {"trips": {"uri": "x"}}},
            "featurize": {"base": "trips", "target": "y"},
            "split": rules,
            "register": {"name": "trips"},
        }
    )


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    rng = np.random.default_rng(0)
    rows = 1000
    frame = pl.DataFrame(
        {
            ROW: pl.Series(range(0, 2 * rows, 2), dtype=pl.UInt32),
            TIME: pl.Series([START + dt.timedelta(hours=i) for i in range(rows)]).cast(
                pl.Datetime("us", "UTC")
            ),
            TARGET: rng.random(rows) < 0.1,
            "shop": [f"s{i}" for i in rng.integers(0, 50, rows)],
            "size": rng.normal(size=rows),
        }
    )
    layout = Layout(tmp_path)
    parquet.write(frame[:600], layout.features / "part-00000.parquet")
    parquet.write(frame[600:], layout.features / "part-00001.parquet")
    write_json(layout.program, {"features": {"size": "number"}})
    return layout


def parts(layout: Layout) -> list[pl.DataFrame]:
    return [parquet.scan(layout.split(name)).collect() for name in SPLITS]


@pytest.mark.parametrize(
    "rules",
    [
        {"strategy": "random"},
        {"strategy": "stratified"},
        {"strategy": "grouped", "group": "shop"},
        {"strategy": "time"},
    ],
)
def test_every_row_is_in_one_split_and_the_shares_are_kept(
    rules: dict[str, Any], layout: Layout
) -> None:
    stage.run(settings(**rules), layout, Silent())
    made = parts(layout)
    assert sorted(pl.concat(made)[ROW]) == list(range(0, 2000, 2))
    assert [p.height / 1000 for p in made] == pytest.approx([0.6, 0.2, 0.2], abs=0.03)
    assert all(v == "holds" for v in read_json(layout.split_report)["checks"].values())
    before = [layout.split(name).read_bytes() for name in SPLITS]
    stage.run(settings(**rules), layout, Silent())
    assert [layout.split(name).read_bytes() for name in SPLITS] == before


def test_stratified_keeps_the_classes_shares(layout: Layout) -> None:
    stage.run(settings(strategy="stratified"), layout, Silent())
    shares = [float(p[TARGET].mean() or 0) for p in parts(layout)]
    assert max(shares) - min(shares) < 0.01


def test_groups_are_on_one_side(layout: Layout) -> None:
    stage.run(settings(strategy="grouped", group="shop"), layout, Silent())
    train, validation, test = (set(p["shop"]) for p in parts(layout))
    assert not train & validation
    assert not (train | validation) & test


def test_time_split_counts_back_from_the_data_clock(layout: Layout) -> None:
    rules = {"strategy": "time", "validation": "10d", "test": "5d", "gap": "1d"}
    stage.run(settings("2020-02-11", **rules), layout, Silent())
    train, validation, test = parts(layout)
    assert test[TIME].min() == dt.datetime(2020, 2, 6, tzinfo=dt.UTC)
    assert validation[TIME].min() == dt.datetime(2020, 1, 27, tzinfo=dt.UTC)
    assert validation[TIME].max() == dt.datetime(2020, 2, 4, 23, tzinfo=dt.UTC)
    assert train[TIME].max() == dt.datetime(2020, 1, 25, 23, tzinfo=dt.UTC)
    assert read_json(layout.split_report)["left out"] == 48


def test_a_group_that_is_not_there_is_told(layout: Layout) -> None:
    with pytest.raises(BadParams, match=r"split\.group is 'shp'"):
        stage.run(settings(strategy="grouped", group="shp"), layout, Silent())


def test_time_needs_a_time(layout: Layout) -> None:
    for path in layout.features.iterdir():
        parquet.write(pl.read_parquet(path).drop(TIME), path)
    with pytest.raises(BadParams, match="the base source has no time"):
        stage.run(settings(strategy="time"), layout, Silent())


def test_a_table_of_few_distinct_rows_can_be_split_all_the_same(layout: Layout) -> None:
    for path in layout.features.iterdir():
        parquet.write(pl.read_parquet(path).with_columns(size=pl.lit(1.0)), path)
    stage.run(settings(strategy="random"), layout, Silent())
    assert [p.height for p in parts(layout)] == [600, 200, 200]
    assert "separate observations" in read_json(layout.split_report)["equal rows"]
