"""Costs per row of the model's threshold and of constant decisions."""

import numpy as np
import sklearn.metrics as sk

from mlops_cli.metrics.costs import confusion_counts, weigh_threshold
from mlops_cli.params.task import Cost

Y = np.array([1, 1, 0, 0, 0])
P = np.array([0.9, 0.3, 0.4, 0.2, 0.1])


def test_the_four_outcomes_are_scikit_learns():
    rng = np.random.default_rng(0)
    y, yes = rng.integers(0, 2, 200), rng.random(200) < 0.3
    tn, fp, fn, tp = sk.confusion_matrix(y, yes).ravel()
    assert confusion_counts(y, yes) == {
        "true_negative": tn,
        "false_positive": fp,
        "false_negative": fn,
        "true_positive": tp,
    }


def test_each_decision_has_its_cost_per_row():
    found = weigh_threshold(Y, P, 0.3, Cost(false_positive=1.0, false_negative=10.0))
    assert found["cost_per_row"] == {
        "at_threshold": 0.2,
        "at_half": 2.0,
        "always_positive": 0.6,
        "always_negative": 4.0,
    }


def test_a_probability_at_the_threshold_is_a_yes():
    assert weigh_threshold(Y, P, 0.9, Cost())["confusion"]["true_positive"] == 1
