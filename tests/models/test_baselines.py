"""Baselines: the best constant for the metric, and a plain linear model."""

import numpy as np
import pytest

from mlops_cli.metrics.catalog import METRICS, default_metrics
from mlops_cli.models import baselines
from mlops_cli.models.families import TaskInfo


@pytest.mark.parametrize("metric", default_metrics("regression"))
def test_no_other_constant_is_better_on_the_rows_it_was_learnt_from(metric):
    y = np.random.default_rng(0).exponential(10, 301)
    chosen = METRICS[metric](y, baselines.constant(y, 0, metric, len(y)))
    others = [METRICS[metric](y, np.full(len(y), c)) for c in np.linspace(0, 40, 81)]
    if metric != "median_absolute_error":  # its best constant is the midpoint of a half's range
        assert all(METRICS[metric].gain(chosen, other) >= -1e-12 for other in others)


@pytest.mark.parametrize("metric", ["log_loss", "brier"])
def test_the_class_shares_are_the_best_constant_probability(metric):
    y = np.array([0] * 70 + [1] * 30)
    chosen = METRICS[metric](y, baselines.constant(y, 2, metric, 100))
    for share in np.linspace(0.01, 0.99, 50):
        other = METRICS[metric](y, np.tile([1 - share, share], (100, 1)))
        assert chosen <= other


def test_a_class_that_was_not_seen_has_share_zero():
    found = baselines.constant(np.array([0, 0, 2, 2]), 3, "log_loss", 2)
    assert found.tolist() == [[0.5, 0, 0.5], [0.5, 0, 0.5]]


def test_the_linear_baseline_finds_a_line(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    y = X @ [3.0, 0.0, -1.0] + 5
    monkeypatch.setattr(baselines, "LINEAR_ROWS", 200)
    fitted = baselines.linear(X, y, TaskInfo("regression", 0), seed=0)
    assert METRICS["r2"](y, fitted.predict(X)) > 0.99


def test_the_linear_baseline_draws_the_same_rows_for_the_same_seed(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 2)), rng.integers(0, 2, 300)
    monkeypatch.setattr(baselines, "LINEAR_ROWS", 100)
    one, same, other = (
        baselines.linear(X, y, TaskInfo("binary", 2), seed=s).predict(X) for s in (0, 0, 1)
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
