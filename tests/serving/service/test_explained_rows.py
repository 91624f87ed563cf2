"""Explanations of raw rows through a real feature program, and times of look-ups."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from model_services import INGEST, RULES, TARGETS, ServedModel, make_orders

from mlops_cli.errors import DataRefused
from mlops_cli.evaluation.studies.ablation import BASE, sources
from mlops_cli.evaluation.studies.latency import measure_lookups
from mlops_cli.features.program import FeatureProgram
from mlops_cli.layout import ROW, Layout
from mlops_cli.models import bundle as bundles
from mlops_cli.params import Params
from mlops_cli.reporting import Silent
from mlops_cli.serving.batch.explain import explain_file


def params(task: str) -> Params:
    return Params.model_validate(
        {
            "project": {"name": "p", "seed": 7},
            "task": {"type": task},
            "ingest": INGEST,
            "featurize": {**RULES, "target": TARGETS[task]},
            "register": {"name": "shop"},
        }
    )


def written(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_raw_rows_are_explained_up_to_the_prediction_of_the_batch(
    served_model: ServedModel, tmp_path: Path
) -> None:
    file = written(tmp_path, served_model.rows[-3:])
    found = explain_file(
        params(served_model.task), served_model.layout, "workspace", file, Silent()
    )
    for one, expected in zip(found.rows, served_model.expected[-3:], strict=True):
        assert one.base + sum(adds for *_, adds in one.contributions) == pytest.approx(one.raw)
        assert {name for name, *_ in one.contributions} == set(served_model.features.columns)
        if served_model.task == "regression":
            assert one.prediction == pytest.approx(expected)
        elif served_model.task == "binary":
            assert one.probability == pytest.approx(expected[1])
        else:
            assert one.probability == pytest.approx(np.max(expected))


def test_a_row_that_cannot_be_scored_is_named(served_model: ServedModel, tmp_path: Path) -> None:
    rows = [served_model.rows[0], {**served_model.rows[1], "width": "wide"}]
    with pytest.raises(DataRefused, match=r"row 1 .*width"):
        explain_file(
            params(served_model.task),
            served_model.layout,
            "workspace",
            written(tmp_path, rows),
            Silent(),
        )


def test_features_belong_to_the_join_or_window_that_they_need(served_model: ServedModel) -> None:
    bundle = bundles.load(served_model.layout.model)
    program = FeatureProgram.from_json(bundle.program)
    assert sources(bundle, program) == {
        BASE: ["size", "shop", "hour", "kind"],
        "shop": ["rank"],
        "shop_2d": ["shop_2d_returned", "shop_2d_n"],
    }


def test_look_ups_are_timed_where_there_is_an_online_store(
    served_model: ServedModel, tmp_path: Path
) -> None:
    program = FeatureProgram.from_json(bundles.load(served_model.layout.model).program)
    test = make_orders().with_row_index(ROW).select(pl.col(ROW)).tail(50)
    found = measure_lookups(program, served_model.layout, test)
    assert set(found) == {"shop", "shop_2d"}
    assert all(0 < milliseconds < 1000 for milliseconds in found.values())
    shutil.copytree(served_model.layout.validated, Layout(tmp_path).validated)
    assert measure_lookups(program, Layout(tmp_path), test) == {}
