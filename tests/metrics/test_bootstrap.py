"""Bootstrap intervals: coverage, paired comparison, reproducibility."""

import math

import numpy as np
import pytest

from mlops_cli.metrics.bootstrap import Bootstrap, Interval, compare, draw, percentile_interval
from mlops_cli.metrics.catalog import METRICS

MAE = METRICS["mae"]


def two_predictions(rows=400, seed=3):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=rows) * 10
    close = y + rng.normal(size=rows)
    return y, {"model": close, "worse": close + np.sign(close - y) * 0.1}


def compared(metric=MAE, **changes):
    y, predictions = two_predictions()
    options = {"resamples": 200, "confidence": 0.95, "seed": 1} | changes
    report = options.pop("report", None)
    return compare([metric], y, predictions, Bootstrap(**options), report=report)


def test_the_interval_of_a_mean_is_the_normal_one():
    sample = np.random.default_rng(0).normal(5, 2, 2000)
    drawn = draw([lambda w: (w * sample).sum() / w.sum()], 2000, resamples=800, seed=0)[:, 0]
    found = percentile_interval(sample.mean(), drawn, 0.95)
    half = 1.96 * sample.std() / math.sqrt(2000)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_about_95_of_100_intervals_cover_the_truth():
    covered = 0
    for seed in range(100):
        y = np.random.default_rng([seed, 9]).normal(size=60)
        found = compare(
            [METRICS["rmse"]], y, {"zero": np.zeros(60)}, Bootstrap(150, 0.95, seed)
        ).figures["zero"]["rmse"]
        covered += found.low <= 1 <= found.high
    assert 85 <= covered <= 99


def test_each_resample_has_as_many_rows_as_the_sample():
    drawn = draw([lambda w: float(w.sum())], 37, resamples=25, seed=0)
    assert (drawn == 37).all()


def test_a_paired_gain_is_seen_where_the_two_intervals_overlap():
    found = compared()
    ours, theirs = found.figures["model"]["mae"], found.figures["worse"]["mae"]
    assert ours.high > theirs.low
    assert found.gains["worse"]["mae"].low > 0


def test_a_gain_is_positive_for_the_better_prediction_whatever_the_metrics_direction():
    assert compared(METRICS["r2"]).gains["worse"]["r2"].value > 0
    assert compared(METRICS["rmse"]).gains["worse"]["rmse"].value > 0


def test_a_prediction_gains_nothing_over_itself():
    y, predictions = two_predictions()
    same = {"model": predictions["model"], "other": predictions["model"]}
    found = compare([MAE], y, same, Bootstrap(30, 0.9, 0))
    assert found.gains["other"]["mae"] == Interval(0, 0, 0)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    assert compared() == compared()
    assert compared(seed=2) != compared()


def test_more_confidence_is_a_wider_interval():
    narrow, wide = (compared(confidence=c).figures["model"]["mae"] for c in (0.6, 0.99))
    assert wide.low < narrow.low
    assert narrow.high < wide.high


def test_resamples_without_the_rare_class_are_left_out():
    y = np.array([1] + [0] * 9)
    score = np.linspace(1, 0, 10)
    found = compare(
        [METRICS["roc_auc"]],
        y,
        {"model": np.c_[1 - score, score]},
        Bootstrap(100, 0.95, 0),
    ).figures["model"]["roc_auc"]
    assert (found.value, found.low, found.high) == (1, 1, 1)


def test_what_is_not_defined_is_not_reported():
    y, p = np.zeros(10, dtype=int), np.full((10, 2), 0.5)
    found = compare(
        [METRICS["roc_auc"], METRICS["accuracy"]],
        y,
        {"model": p, "other": p},
        Bootstrap(20, 0.95, 0),
    )
    assert list(found.figures["model"]) == ["accuracy"]
    assert list(found.gains["other"]) == ["accuracy"]


def test_progress_counts_the_resamples():
    seen = []
    compared(resamples=20, report=seen.append)
    assert seen == list(range(1, 21))


def test_a_report_has_six_digits_and_no_negative_zero():
    assert Interval(-1e-9, 0.12345678, 1).to_json() == {"value": 0, "low": 0.123457, "high": 1}
    assert math.copysign(1, Interval(-1e-9, 0, 0).to_json()["value"]) == 1
