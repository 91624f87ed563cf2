"""Estimated performance without labels, compared with the true performance in simulations."""

import numpy as np
import pytest

from mlops_cli.evaluation.performance_estimation import estimate_metrics, validate_estimates
from mlops_cli.evaluation.reliability import reliability_curves
from mlops_cli.metrics.catalog import lookup


def expit(x):
    return 1 / (1 + np.exp(-x))


def two(p):
    return np.column_stack([1 - p, p])


def named(task, *names):
    return [lookup(name, task) for name in names]


BINARY = named("binary", "roc_auc", "average_precision", "log_loss", "brier", "accuracy", "f1")


@pytest.mark.parametrize("shift", [0.0, -1.5, 1.5])
def test_binary_metrics_are_met_also_where_the_inputs_have_shifted(shift):
    rng = np.random.default_rng(1)
    p = expit(rng.normal(shift - 1, 1.2, 5000))
    y = (rng.random(len(p)) < p).astype(int)
    found = estimate_metrics(BINARY, two(p), [], confidence=0.99, seed=0)
    for metric in BINARY:
        real, guess = metric(y, two(p)), found[metric.name].interval
        assert guess.low <= real <= guess.high, metric.name
        assert abs(guess.value - real) < 0.03


def test_multiclass_metrics_are_met():
    rng = np.random.default_rng(2)
    p = rng.dirichlet([1, 0.5, 0.3], 8000)
    y = (rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1)
    metrics = named("multiclass", "log_loss", "accuracy", "f1_macro", "roc_auc_ovr")
    found = estimate_metrics(metrics, p, [], confidence=0.99, seed=0)
    for metric in metrics:
        guess = found[metric.name].interval
        assert guess.low <= metric(y, p) <= guess.high, metric.name


def test_regression_metrics_are_estimated_from_errors_at_similar_values():
    rng = np.random.default_rng(3)

    def rows(n, low, high):
        value = rng.uniform(low, high, n)
        return value + rng.normal(0, value), value

    curves = reliability_curves(*rows(20_000, 1, 10), [])
    y, value = rows(5000, 5, 10)
    metrics = named("regression", "rmse", "mae", "r2")
    found = estimate_metrics(metrics, value, curves, confidence=0.99, seed=0)
    assert found.keys() == {"rmse", "mae"}  # what r2 needs is not known
    for metric in metrics[:2]:
        guess = found[metric.name].interval
        assert guess.low <= metric(y, value) <= guess.high, metric.name
        assert guess.high - guess.low < 0.1 * guess.value
    assert estimate_metrics(metrics, value, [], confidence=0.99, seed=0) == {}


def test_the_interval_covers_as_often_as_it_says():
    metrics, inside = named("binary", "roc_auc"), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        p = expit(rng.normal(-1, 1, 400))
        y = (rng.random(len(p)) < p).astype(int)
        guess = estimate_metrics(metrics, two(p), [], confidence=0.9, seed=[seed, 1])["roc_auc"]
        inside += guess.interval.low <= metrics[0](y, two(p)) <= guess.interval.high
    assert 30 <= inside <= 40


def test_an_evaluation_whose_relation_changes_from_part_to_part_widens_the_interval():
    rng, metrics = np.random.default_rng(4), named("binary", "roc_auc")
    x = rng.normal(-1, 1, 16_000)
    part = np.repeat(np.arange(8), 2000)
    steady = (rng.random(len(x)) < expit(x)).astype(int)
    moving = (rng.random(len(x)) < expit(np.where(part % 2, 0.3, 1.6) * x)).astype(int)
    still, changing = (
        validate_estimates(metrics, y, two(expit(x)), [], seed=0)["roc_auc"]
        for y in (steady, moving)
    )
    assert still.scatter < 0.01
    assert changing.scatter > 0.05
    assert changing.standard_error(8) == pytest.approx(changing.scatter / np.sqrt(8))
    guess = estimate_metrics(metrics, two(expit(x)), [], confidence=0.95, seed=0)["roc_auc"]
    wide = guess.widen(changing.standard_error(1), changing.parts, 0.95).interval
    assert wide.high - wide.low > 5 * (guess.interval.high - guess.interval.low)
    assert wide.value == guess.interval.value


def test_too_few_rows_give_no_error_of_the_estimates():
    p = two(np.full(100, 0.5))
    assert validate_estimates(BINARY, np.zeros(100, int), p, [], seed=0) == {}


def test_the_same_seed_gives_the_same_estimate():
    p = two(np.random.default_rng(0).random(500))
    first, second = (estimate_metrics(BINARY, p, [], confidence=0.9, seed=3) for _ in range(2))
    assert first == second
