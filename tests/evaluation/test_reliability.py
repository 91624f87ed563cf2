"""Reliability curves, and calibration errors of probabilities."""

import numpy as np
import pytest

from mlops_cli.evaluation.reliability import (
    calibration_error,
    expected_error,
    recalibrate,
    reliability_curves,
)


def two(p):
    return np.column_stack([1 - p, p])


def shares(n, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), n)
    return p, (rng.random((n, 1)) > p.cumsum(axis=1)).sum(axis=1)


def test_calibrated_probabilities_are_not_corrected():
    p, y = shares(5000)
    curves = reliability_curves(y, p, ["no", "yes"])
    assert [curve["class"] for curve in curves] == ["yes"]
    assert sum(point["rows"] for point in curves[0]["points"]) == 5000
    assert recalibrate(p, curves) is not None
    assert np.array_equal(recalibrate(p, curves)[:, 1], p[:, 1])


@pytest.mark.parametrize("classes", [2, 3])
def test_grossly_wrong_probabilities_are_corrected(classes):
    p, y = shares(20_000, classes)
    # Each probability is far too sure of itself.
    wrong = p**3 / (p**3).sum(axis=1, keepdims=True)
    curves = reliability_curves(y, wrong, [str(i) for i in range(classes)])
    right = recalibrate(wrong, curves)
    assert np.abs(right - p).mean() < 0.3 * np.abs(wrong - p).mean()
    assert np.allclose(right.sum(axis=1), 1)


@pytest.mark.parametrize("y", [np.zeros(50, int), np.ones(50, int)])
def test_of_one_class_only_there_is_nothing_to_correct_by(y):
    p = two(np.linspace(0.01, 0.99, 50))
    assert np.array_equal(recalibrate(p, reliability_curves(y, p, ["a", "b"])), p)


def test_equal_predictions_make_one_point():
    p = two(np.full(100, 0.5))
    [curve] = reliability_curves(np.repeat([0, 1], [90, 10]), p, ["a", "b"])
    assert curve["points"] == [{"predicted": 0.5, "observed": 0.1, "rows": 100}]
    assert recalibrate(p, [curve])[0, 1] == pytest.approx(0.1, abs=0.02)


def test_errors_of_values_go_with_the_value():
    rng = np.random.default_rng(0)
    value = rng.uniform(1, 10, 20_000)
    [curve] = reliability_curves(value + rng.normal(0, value), value, [])
    low, high = expected_error(np.array([2.0, 9.0]), [curve], "absolute")
    assert (low, high) == pytest.approx(np.array([2, 9]) * np.sqrt(2 / np.pi), rel=0.1)


@pytest.mark.parametrize("classes", [2, 4])
def test_right_probabilities_are_off_by_chance_only(classes):
    off = [
        calibration_error(y, p, confidence=0.95, seed=0).exceeds_chance
        for p, y in (shares(2000, classes, seed) for seed in range(10))
    ]
    assert sum(off) <= 1


def test_wrong_probabilities_are_found_with_an_interval_around_their_error():
    p, y = shares(3000)
    found = calibration_error(y, two(np.clip(p[:, 1] + 0.1, 0, 1)), confidence=0.95, seed=0)
    assert found.exceeds_chance
    assert found.error.low < found.error.value < found.error.high
    assert found.error.low < 0.1 < found.error.high + 0.02
