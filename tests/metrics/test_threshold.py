"""The decision threshold has the lowest cost."""

import numpy as np
import pytest

from mlops_cli.metrics.threshold import best_threshold
from mlops_cli.params.task import Cost


def price(y, p, threshold, cost):
    yes = p >= threshold
    return (
        cost.false_positive * (yes & (y == 0)).sum() + cost.false_negative * (~yes & (y == 1)).sum()
    )


@pytest.mark.parametrize("costs", [(1, 1), (1, 5), (5, 1), (0, 1), (1, 0), (0, 0)])
def test_no_threshold_costs_less(costs):
    rng = np.random.default_rng(0)
    cost = Cost(false_positive=float(costs[0]), false_negative=float(costs[1]))
    for _ in range(20):
        p = rng.integers(0, 11, 40) / 10
        y = (rng.random(40) < p).astype(int)
        found = best_threshold(y, p, cost)
        assert 0 <= found <= 1
        everywhere = [price(y, p, t, cost) for t in np.linspace(0, 1, 201)]
        assert price(y, p, found, cost) == min(everywhere)


def test_of_equal_ones_the_theoretical_one_is_taken():
    y, p = np.array([0, 1]), np.array([0.1, 0.9])
    assert best_threshold(y, p, Cost()) == 0.5
    assert best_threshold(y, p, Cost(false_negative=3.0)) == 0.25


def test_it_stands_between_probabilities_when_the_theoretical_one_is_dearer():
    y, p = np.array([0, 0, 1]), np.array([0.6, 0.7, 0.9])
    assert best_threshold(y, p, Cost()) == pytest.approx(0.8)
