"""Calibration: only where it lowers the held-out loss, and without changing the order."""

import json

import numpy as np
import pytest

from mlops_cli.models.calibration import Calibrator, fit_calibrator

RNG = np.random.default_rng(1)


def binary(rows, sharpness, shift=0.0):
    """Truth, and probabilities that are too sure by ``sharpness`` and shifted."""
    odds = RNG.normal(size=rows) * 1.5
    y = (RNG.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
    p = 1 / (1 + np.exp(-(odds * sharpness + shift)))
    return y, np.column_stack([1 - p, p])


def log_loss(y, p):
    return -np.log(np.clip(p[np.arange(len(y)), y], 1e-7, 1)).mean()


def test_what_is_right_already_stays():
    y, p = binary(2000, 1.0)
    assert fit_calibrator(y, p, seed=0, allow_shift=True) is None


@pytest.mark.parametrize("shifts", [True, False])
def test_too_sure_probabilities_are_tempered(shifts):
    y, p = binary(3000, 3.0)
    found = fit_calibrator(y, p, seed=0, allow_shift=shifts)
    assert found.kind == ("prior" if not shifts else found.kind)
    fresh, q = binary(3000, 3.0)
    assert log_loss(fresh, found(q)) < log_loss(fresh, q) - 0.1
    assert np.allclose(found(q).sum(axis=1), 1)
    assert (np.diff(found(q)[np.argsort(q[:, 1]), 1]) >= 0).all()


def test_a_shifted_level_is_moved_only_where_it_may_be():
    y, p = binary(3000, 1.0, shift=1.5)
    moved = fit_calibrator(y, p, seed=0, allow_shift=True)
    assert moved.kind == "logistic"
    assert abs(moved(p)[:, 1].mean() - y.mean()) < 0.02


def test_a_bent_curve_is_followed_where_there_are_many_rows():
    y, p = binary(20_000, 1.0)
    bent = np.where(p[:, 1] > 0.5, 0.5 + (p[:, 1] - 0.5) ** 3, p[:, 1] ** 4)
    found = fit_calibrator(y, np.column_stack([1 - bent, bent]), seed=0, allow_shift=True)
    assert found.kind == "isotonic"


def test_a_useless_model_becomes_the_class_shares():
    y = RNG.choice(3, 900, p=[0.6, 0.3, 0.1])
    p = RNG.dirichlet([1, 1, 1], 900)
    found = fit_calibrator(y, p, seed=0, allow_shift=True)
    assert np.allclose(found(p), np.bincount(y) / 900, atol=0.03)


def test_values_shrink_to_their_mean_where_they_say_nothing():
    y = RNG.normal(5, 1, 1000)
    found = fit_calibrator(y, y.mean() + RNG.normal(size=1000), seed=0, allow_shift=True)
    assert found.kind == "line"
    assert abs(found.values["slope"]) < 0.1


def test_few_rows_are_left_alone():
    y, p = binary(40, 5.0)
    assert fit_calibrator(y, p, seed=0, allow_shift=True) is None


def test_it_comes_back_from_json():
    y, p = binary(3000, 3.0)
    found = fit_calibrator(y, p, seed=0, allow_shift=True)
    again = Calibrator.from_json(json.loads(json.dumps(found.to_json())))
    assert np.array_equal(again(p), found(p))
