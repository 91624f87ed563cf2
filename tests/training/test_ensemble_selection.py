"""Greedy ensemble selection: limits, and weights that sum to one."""

import numpy as np
import pytest

from mlops_cli.metrics.catalog import lookup
from mlops_cli.training.cv_scorer import CvScorer
from mlops_cli.training.ensemble_selection import select

RNG = np.random.default_rng(0)
Y = RNG.normal(size=500)
GOOD, OTHER, POOR = (Y + RNG.normal(size=500) * noise for noise in (1.0, 1.1, 5.0))
JUDGE = CvScorer(lookup("rmse", "regression"), Y, (slice(None),))


def chosen(predictions, *, costs=None, max_members=5, max_cost=10.0):
    return select(
        predictions,
        costs or [1.0] * len(predictions),
        JUDGE,
        max_members=max_members,
        max_cost=max_cost,
    )


def mean(predictions, weights):
    return sum(weight * predictions[i] for i, weight in weights.items())


def test_independent_errors_cancel_out():
    weights = chosen([GOOD, OTHER, POOR])
    assert {0, 1} <= set(weights)
    assert sum(weights.values()) == pytest.approx(1)
    assert JUDGE.gain(mean([GOOD, OTHER, POOR], weights)) > JUDGE.gain(GOOD)


def test_it_is_never_worse_than_the_best_alone():
    assert chosen([Y, GOOD, POOR]) == {0: 1.0}


def test_members_and_cost_are_bounded():
    assert set(chosen([GOOD, OTHER, POOR], max_members=1)) == {0}
    assert set(chosen([GOOD, OTHER], costs=[1.0, 20.0])) == {0}
    assert set(chosen([GOOD, OTHER], costs=[20.0, 1.0])) == {0}, "the first is taken in any case"
