"""The champion's gate by priced decisions and by rows that count unlike."""

import numpy as np

from mlops_cli.core.champion import judge
from mlops_cli.params.modelling import ChampionGate

Y = np.array([0, 1] * 50)
SURE = np.column_stack([1 - Y, Y]).astype(float)
GIVEN = {"task": "binary", "least_rows": 10, "resamples": 100, "seed": 0}


def test_costs_decide_which_error_is_worse():
    alarms = SURE.copy()
    alarms[0] = [0.0, 1.0]  # one false alarm
    misses = SURE.copy()
    misses[1] = [1.0, 0.0]  # one miss
    gate = ChampionGate(metric="cost", margin=0.02)
    dear = np.array([[0.0, 1.0], [50.0, 0.0]])
    (result,) = judge(gate, Y, misses, alarms, {}, **GIVEN, costs=dear)
    assert not result.passed
    (result,) = judge(gate, Y, alarms, misses, {}, **GIVEN, costs=dear)
    assert result.passed


def test_rows_of_no_weight_do_not_decide():
    candidate = SURE.copy()
    candidate[:10] = candidate[:10, ::-1]
    gate = ChampionGate(metric="accuracy", margin=0.01)
    (result,) = judge(gate, Y, candidate, SURE, {}, **GIVEN)
    assert not result.passed
    (result,) = judge(
        gate, Y, candidate, SURE, {}, **GIVEN, weights=np.r_[np.zeros(10), np.ones(90)]
    )
    assert result.passed
