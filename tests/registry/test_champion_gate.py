"""The champion gate with costs and with row weights."""

import numpy as np
import pytest

from mlops_cli.metrics.bootstrap import Interval
from mlops_cli.metrics.catalog import lookup
from mlops_cli.params.register import ChampionGate
from mlops_cli.registry.champion_gate import PairedPredictions, describe_gain, judge_paired, too_few

Y = np.array([0, 1] * 50)
SURE = np.column_stack([1 - Y, Y]).astype(float)
GIVEN = {"min_rows": 10, "resamples": 100, "seed": 0}


def test_costs_decide_which_error_is_worse():
    alarms = SURE.copy()
    alarms[0] = [0.0, 1.0]  # one false alarm
    misses = SURE.copy()
    misses[1] = [1.0, 0.0]  # one miss
    gate = ChampionGate(metric="cost", margin=0.02)
    dear = np.array([[0.0, 1.0], [50.0, 0.0]])
    metric = lookup("cost", "binary", dear)
    (result,) = judge_paired(gate, metric, PairedPredictions(Y, misses, alarms), {}, **GIVEN)
    assert not result.passed
    (result,) = judge_paired(gate, metric, PairedPredictions(Y, alarms, misses), {}, **GIVEN)
    assert result.passed


def test_rows_of_no_weight_do_not_decide():
    candidate = SURE.copy()
    candidate[:10] = candidate[:10, ::-1]
    gate = ChampionGate(metric="accuracy", margin=0.01)
    metric = lookup("accuracy", "binary")
    (result,) = judge_paired(gate, metric, PairedPredictions(Y, candidate, SURE), {}, **GIVEN)
    assert not result.passed
    weights = np.r_[np.zeros(10), np.ones(90)]
    (result,) = judge_paired(
        gate, metric, PairedPredictions(Y, candidate, SURE, weights), {}, **GIVEN
    )
    assert result.passed


@pytest.mark.parametrize(
    ("gain", "margin", "said"),
    [
        (
            (-0.0004966, -0.001979, 0.001),
            0.05,
            "auc shows no clear difference from the champion's: gain -0.0004966 \
[-0.001979, 0.001] (worse by up to 0.001979 is possible, up to 0.05 accepted)",
        ),
        (
            (-0.0099, -0.0133, -0.006),
            0.01,
            "auc is worse than the champion's by 0.0099 [0.006, 0.0133] (accepted: up to 0.01)",
        ),
        (
            (-0.0099, -0.0133, -0.006),
            0.0,
            "auc is worse than the champion's by 0.0099 [0.006, 0.0133] (accepted: none)",
        ),
        ((0.02, 0.01, 0.03), 0.01, "auc is better than the champion's by 0.02 [0.01, 0.03]"),
        ((0.0, -0.0, 0.0), 0.0, "auc is the same as the champion's"),
    ],
)
def test_a_gain_is_said_as_what_it_is(gain, margin, said):
    assert describe_gain("auc", Interval(*gain), margin, "the champion's") == said


def test_few_rows_are_too_few_only_where_most_had_to_be_left_out():
    assert not too_few(50, 50, min_rows=200)
    assert not too_few(30, 50, min_rows=200)
    assert too_few(20, 50, min_rows=200)
    assert not too_few(300, 5000, min_rows=200)
