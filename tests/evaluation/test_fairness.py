"""Fairness measures by their definitions, on groups with known differences."""

import numpy as np
import polars as pl
import pytest

from mlops_cli.evaluation.fairness import (
    MEASURES,
    measure_decision_fairness,
    measure_value_fairness,
)
from mlops_cli.metrics.bootstrap import Bootstrap

GIVEN = {"min_rows": 20, "bootstrap": Bootstrap(200, 0.95, 0)}


def decisions(table):
    """Rows of (group, truth, decision), each so many times."""
    rows = [row for row, times in table.items() for _ in range(times)]
    group, y, decided = zip(*rows, strict=True)
    return pl.Series(group), np.array(y), np.array(decided)


KNOWN = {
    ("f", 1, 1): 30,
    ("f", 1, 0): 30,
    ("f", 0, 1): 10,
    ("f", 0, 0): 30,
    ("m", 1, 1): 45,
    ("m", 1, 0): 5,
    ("m", 0, 1): 20,
    ("m", 0, 0): 30,
    ("x", 1, 1): 5,
}


def test_gaps_are_those_of_the_definitions():
    found = measure_decision_fairness(*decisions(KNOWN), ["no", "yes"], **GIVEN)
    gaps = {name: gap["value"] for name, gap in found["gaps"].items()}
    assert gaps == pytest.approx(
        {
            "demographic_parity_difference": 0.65 - 0.4,
            "demographic_parity_ratio": 0.4 / 0.65,
            "equalised_odds_difference": 0.9 - 0.5,
            "equalised_odds_ratio": 0.5 / 0.9,
            "error_difference": 0.4 - 0.25,
        },
        abs=1e-6,
    )
    assert set(gaps) == set(MEASURES)
    assert found["too_small"] == {"groups": 1, "rows": 5}
    women, men = found["groups"]
    assert (women["value"], women["rows"], men["rows"]) == ("f", 100, 100)
    assert women["selection_rate"]["value"] == 0.4
    assert women["true_positive_rate"]["value"] == 0.5
    assert women["false_positive_rate"]["value"] == 0.25
    assert women["error_rate"]["value"] == 0.4


def test_every_figure_lies_in_its_interval():
    found = measure_decision_fairness(*decisions(KNOWN), ["no", "yes"], **GIVEN)
    figures = [*found["gaps"].values()]
    figures += [v for group in found["groups"] for v in group.values() if isinstance(v, dict)]
    assert len(figures) == 5 + 2 * 4
    assert all(f["low"] <= f["value"] <= f["high"] for f in figures)
    rate = found["groups"][0]["selection_rate"]
    # 1.96 * sqrt(0.4 * 0.6 / 100) on each side
    assert rate["high"] - rate["low"] == pytest.approx(0.192, abs=0.04)


def test_of_several_classes_the_largest_gap_is_given():
    rng = np.random.default_rng(0)
    group = rng.choice(["a", "b"], 900)
    y, decided = rng.integers(0, 3, 900), rng.integers(0, 3, 900)
    decided[(group == "a") & (decided == 2)] = 1
    found = measure_decision_fairness(pl.Series(group), y, decided, ["r", "s", "t"], **GIVEN)
    rates = [[np.mean(decided[group == g] == c) for g in "ab"] for c in range(3)]
    widest = max(abs(a - b) for a, b in rates)
    assert found["gaps"]["demographic_parity_difference"]["value"] == pytest.approx(
        widest, abs=1e-6
    )
    assert found["gaps"]["demographic_parity_ratio"]["value"] == 0


def test_values_are_compared_by_their_means():
    y = np.arange(100.0)
    group = np.where(np.arange(100) < 50, "low", "high")
    prediction = np.where(group == "low", y + 2, y - 1)
    found = measure_value_fairness(pl.Series(group), y, prediction, **GIVEN)
    high, low = found["groups"]
    assert (high["mean_error"]["value"], low["mean_error"]["value"]) == (-1, 2)
    assert found["gaps"]["error_difference"]["value"] == 1
    assert found["gaps"]["demographic_parity_difference"]["value"] == pytest.approx(47)


def test_a_single_group_has_no_gap():
    group, y, decided = decisions({("f", 1, 1): 30, ("m", 0, 0): 5})
    found = measure_decision_fairness(group, y, decided, ["no", "yes"], **GIVEN)
    assert found["gaps"] == {}
    assert "false_positive_rate" not in found["groups"][0]


@pytest.mark.parametrize("rows", [0, 5])
def test_without_groups_there_is_nothing(rows):
    empty = np.zeros(rows)
    for found in (
        measure_decision_fairness(pl.Series(["a"] * rows), empty, empty, ["no", "yes"], **GIVEN),
        measure_value_fairness(pl.Series(["a"] * rows), empty, empty, **GIVEN),
    ):
        assert (found["groups"], found["gaps"]) == ([], {})


def test_a_rate_of_none_or_all_has_an_interval_of_some_width():
    group, y, decided = decisions({("f", 1, 1): 25, ("m", 0, 0): 25})
    women, men = measure_decision_fairness(group, y, decided, ["no", "yes"], **GIVEN)["groups"]
    # Wilson's interval of 0 in 25 at 95%.
    assert men["selection_rate"] == {"value": 0, "low": 0, "high": pytest.approx(0.1332, abs=1e-4)}
    assert women["selection_rate"]["high"] == 1
    assert women["selection_rate"]["low"] == pytest.approx(1 - 0.1332, abs=1e-4)
