"""The flights over HTTP: requests get the features of the table, bit for bit."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from model_services import ServedModel, run_service

from mlops_cli import params as parameters
from mlops_cli.data import parquet
from mlops_cli.data.atomic_files import read_json
from mlops_cli.features import stage as featurize
from mlops_cli.features.program import FeatureProgram
from mlops_cli.ingestion import stage as ingest
from mlops_cli.layout import ROW, TARGET, Layout
from mlops_cli.models import bundle
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.labels import LabelCodec
from mlops_cli.online.materialize import materialize
from mlops_cli.online.store import open_store
from mlops_cli.reporting import Silent
from mlops_cli.validation import stage as validate

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def flights(tmp_path_factory) -> ServedModel:
    """The flights up to April, a model on their features, and the whole past in the store."""
    layout = Layout(tmp_path_factory.mktemp("flights"))
    text = (ROOT / "params.yaml").read_text().replace('"2013-10-01"', '"2013-04-01"')
    params = parameters.parse(text)
    for step in (ingest, validate, featurize):
        step.run(params, layout, Silent())
    table = parquet.scan(layout.features).collect()
    program = read_json(layout.program)
    labels, encoder = (
        LabelCodec.fit(table[TARGET], "binary"),
        Encoder.fit(table, program["features"]),
    )
    family = FAMILIES["lightgbm"]
    fitted = family.fit(
        FitRequest(
            encoder.transform(table),
            labels.encode(table[TARGET]),
            TaskInfo("binary", 2, encoder.categorical),
            {name: setting.default for name, setting in family.space.items()},
            seed=0,
            rounds=30,
        )
    )
    made = bundle.Bundle(
        (bundle.Member("lightgbm", fitted),), encoder, labels, "binary", 0.3, program=program
    )
    bundle.save(made, layout.fitted)
    unique = {"unique": {"value": ["carrier", "flight", "origin", "scheduled"]}}
    schema = {"base": "flights", "sources": {"flights": {"time": "scheduled", "rules": unique}}}
    bundle.extend(layout.fitted, layout.model, {"schema.json": json.dumps(schema)})
    store = open_store(None, layout.online, create=True)
    materialize(FeatureProgram.from_json(program), layout, store, None)
    store.close()
    chosen = table.sample(2_000, seed=1)
    needed = list(program["example"])
    rows = parquet.scan(layout.validated / "flights.parquet").with_row_index(ROW).collect()
    rows = chosen.select(ROW).join(rows, on=ROW, how="left", maintain_order="left").select(needed)
    rows = rows.with_columns(pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%SZ"))
    features = chosen.select(list(program["features"]))
    return ServedModel(layout, "binary", rows.to_dicts(), features, made.predict(features))


def test_two_thousand_requests_get_what_the_pipeline_gave(flights: ServedModel) -> None:
    with run_service(flights.environment()) as service:
        answered = [service.predict([row])[0] for row in flights.rows[:300]]
        for start in range(300, 2_000, 50):
            answered += service.predict(flights.rows[start : start + 50])
    found = np.array([list(p["probabilities"].values()) for p in answered])
    assert (found == flights.expected).all()
    db = sqlite3.connect(flights.layout.events)
    logged = dict(db.execute("SELECT id, features FROM predictions"))
    db.close()
    for p, row in zip(answered, flights.features.iter_rows(), strict=True):
        assert json.loads(logged[p["id"]]) == list(row)
