"""Train/serve skew: logged features compared with the offline feature program."""

import json

import polars as pl
import pytest
from model_services import fit_model, run_service

from mlops_cli.data.atomic_files import write_json
from mlops_cli.events import open_reader
from mlops_cli.monitoring.train_serve_skew import find_skew


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A model with a join and a window, and what a real service of it has logged."""
    made = fit_model(tmp_path_factory.mktemp("skew"), "binary")
    # As `online = offline` holds for rows after the last one that the store knows.
    with run_service(made.environment()) as service:
        service.predict([{k: v for k, v in row.items() if k != "order"} for row in made.rows[-60:]])
    reader = open_reader(None, made.layout)
    [page] = reader.predictions(columns=("inputs", "features", "moment"))
    reader.close()
    return made, page


def test_features_without_look_ups_are_the_same(logged):
    made, page = logged
    found = find_skew(made.folder, made.layout, page)
    assert (found.rows, found.reason) == (60, None)
    assert not found.differences.keys() & {"size", "hour", "kind", "shop", "rank"}


def test_a_feature_that_is_served_otherwise_is_named_with_both_values(logged):
    made, page = logged
    names = list(made.features.columns)
    changed = [json.loads(text) for text in page["features"].to_list()]
    for row in changed:
        row[names.index("size")] = 123.0
    odd = page.with_columns(pl.Series("features", [json.dumps(row) for row in changed]))
    [finding] = [f for f in find_skew(made.folder, made.layout, odd).findings if f.column == "size"]
    assert finding.severity == "warning"
    assert "123.0 instead of" in finding.sentence


def test_rows_that_the_tables_do_not_reach_are_not_compared(logged):
    made, page = logged
    clock = made.layout.ingest_manifest.read_text()
    try:
        write_json(made.layout.ingest_manifest, {"until": "2020-01-01T00:00:00Z"})
        found = find_skew(made.folder, made.layout, page)
        assert found.rows == 0
        assert "don't reach" in found.findings[0].sentence
    finally:
        made.layout.ingest_manifest.write_text(clock)
