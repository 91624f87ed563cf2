"""Drift gauges: recent rows of each version against its profile, counted in a thread."""

import time
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from mlops_cli.drift.reference import Reference, output_frame
from mlops_cli.drift.reference_file import PROFILE, reference_text
from mlops_cli.serving.service.metrics import Metrics

KINDS = {"x": "number", "c": "category"}


def scored(rows, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    features = {"x": (rng.normal(size=rows) + shift).tolist(), "c": rng.choice(["a", "b"], rows)}
    return SimpleNamespace(
        features={k: list(v) for k, v in features.items()}, output=np.column_stack([1 - p, p])
    )


def version(folder, number):
    labels = SimpleNamespace(classes=("no", "yes"))
    return SimpleNamespace(
        model=SimpleNamespace(number=number, folder=folder),
        scorer=SimpleNamespace(bundle=SimpleNamespace(labels=labels)),
    )


@pytest.fixture
def served(tmp_path):
    known = scored(5_000, 0)
    frame = pl.DataFrame(known.features)
    outputs = output_frame(known.output, ("no", "yes"))
    made = Reference.from_rows(frame, KINDS, frame["c"], outputs, "binary")
    (tmp_path / PROFILE).write_text(reference_text(made))
    return version(tmp_path, "v1.0.0")


def test_the_index_is_small_for_rows_as_ever_and_large_for_moved_ones(served):
    metrics = Metrics()
    metrics.drift_gauges.add_batch(served, scored(3_000, 1))
    metrics.drift_gauges.count()
    assert set(metrics.drift_gauges.indices) == {
        ("v1.0.0", "inputs", "x"), ("v1.0.0", "inputs", "c"), ("v1.0.0", "outputs", "probability"),
    }  # fmt: skip
    assert max(metrics.drift_gauges.indices.values()) < 0.02
    for seed in (2, 3, 4):
        metrics.drift_gauges.add_batch(served, scored(4_000, seed, shift=1.0))
        metrics.drift_gauges.count()
    assert metrics.drift_gauges.indices["v1.0.0", "inputs", "x"] > 0.5
    assert metrics.drift_gauges.indices["v1.0.0", "inputs", "c"] < 0.02
    text = metrics.exposition().decode()
    assert 'mlops_drift_psi{column="x",part="inputs",version="v1.0.0"}' in text
    assert 'mlops_drift_rows{version="v1.0.0"} 8000.0' in text


def test_few_rows_have_no_index(served):
    metrics = Metrics()
    metrics.drift_gauges.add_batch(served, scored(50, 1))
    metrics.drift_gauges.count()
    assert metrics.drift_gauges.indices == {}
    assert metrics.drift_gauges.rows == {("v1.0.0",): 50}


def test_rows_that_wait_are_bounded(served):
    watch = Metrics().drift_gauges
    for seed in range(20):
        watch.add_batch(served, scored(200, seed))
    watch.count()
    assert watch.rows == {("v1.0.0",): 1_000}


def test_requests_are_let_through_between_two_columns(served, monkeypatch):
    pauses = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    watch = Metrics().drift_gauges
    watch.add_batch(served, scored(300, 1))
    watch.count()
    counted = len(watch.indices)
    watch.add_batch(served, scored(300, 2))
    before = len(pauses)
    watch.count()
    assert len(pauses) - before >= counted > 1


def test_a_version_without_a_profile_has_no_gauges_and_does_no_harm(tmp_path):
    (tmp_path / "bundle.json").write_text("{}")
    metrics = Metrics()
    metrics.drift_gauges.add_batch(version(tmp_path, "v0.1.0"), scored(300, 1))
    metrics.drift_gauges.count()
    assert metrics.drift_gauges.indices == {}
    assert "mlops_drift_psi{" not in metrics.exposition().decode()
