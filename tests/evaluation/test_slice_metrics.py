"""Metrics by slice: large slices are evaluated, small ones counted, the worst one named."""

import numpy as np
import polars as pl

from mlops_cli.evaluation.slice_metrics import break_down, worst
from mlops_cli.metrics.bootstrap import Bootstrap
from mlops_cli.metrics.catalog import METRICS


def broken_down(column, y, prediction, names=("mae", "rmse"), min_rows=10):
    return break_down(
        pl.Series(column),
        y,
        prediction,
        [METRICS[n] for n in names],
        min_rows=min_rows,
        bootstrap=Bootstrap(50, 0.9, 0),
    )


def errors(*sizes):
    """A truth of 0 and a prediction that is off by the slice's number, with some noise."""
    rng = np.random.default_rng(0)
    level = np.repeat(np.arange(1.0, len(sizes) + 1), sizes)
    return [f"s{i:.0f}" for i in level], np.zeros(len(level)), level + rng.random(len(level)) / 10


def test_a_slice_is_judged_by_all_metrics_and_the_first_has_an_interval():
    found = broken_down(*errors(30, 30))
    first, second = found["judged"]
    assert (first["value"], first["rows"]) == ("s1", 30)
    assert set(first["metrics"]) == {"mae", "rmse"}
    assert first["interval"]["low"] < first["metrics"]["mae"] < first["interval"]["high"]
    assert second["metrics"]["mae"] > 2


def test_small_slices_are_counted_and_not_judged():
    found = broken_down(*errors(30, 9, 5))
    assert [part["value"] for part in found["judged"]] == ["s1"]
    assert found["too_small"] == {"slices": 2, "rows": 14}


def test_a_metric_that_a_slice_does_not_define_is_left_out_of_it():
    y = np.array([0, 1] * 10 + [0] * 20)
    found = broken_down(
        ["both"] * 20 + ["one"] * 20, y, np.full((40, 2), 0.5), names=("roc_auc", "accuracy")
    )
    assert set(found["judged"][0]["metrics"]) == {"roc_auc", "accuracy"}
    assert set(found["judged"][1]["metrics"]) == {"accuracy"}
    assert "interval" not in found["judged"][1]


def test_the_worst_goes_by_the_metrics_direction_over_all_columns():
    def part(value, **metrics):
        return {"value": value, "rows": 10, "metrics": metrics}

    columns = {
        "a": {"judged": [part(1, mae=2.0, r2=0.9), part(2, mae=1.0, r2=0.1)]},
        "b": {"judged": [part(None, mae=1.5, r2=0.5), part("x", r2=0.5)]},
    }
    assert worst(columns, METRICS["mae"]) == {
        "column": "a",
        "value": 1,
        "rows": 10,
        "metric": "mae",
        "figure": 2.0,
    }
    assert worst(columns, METRICS["r2"])["value"] == 2
    assert worst({"a": {"judged": []}}, METRICS["mae"]) is None
