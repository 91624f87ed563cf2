"""Permutation importance of relevant and irrelevant features."""

import numpy as np
import polars as pl
import pytest

from mlops_cli.evaluation.permutation_importance import MAX_ROWS, largest, permutation_importance
from mlops_cli.metrics.catalog import METRICS


def table(rows=400):
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {"strong": rng.normal(size=rows), "weak": rng.normal(size=rows), "none": ["x"] * rows}
    )


def predict(frame):
    return 3 * frame["strong"].to_numpy() + frame["weak"].to_numpy()


@pytest.mark.parametrize("metric", ["rmse", "r2"])
def test_the_loss_is_positive_and_ordered_by_what_the_prediction_rests_on(metric):
    frame = table()
    found = permutation_importance(
        predict, frame, predict(frame), frame.columns, METRICS[metric], seed=0
    )
    assert found["strong"] > found["weak"] > found["none"] == 0


def test_many_rows_are_sampled_by_the_seed():
    frame, sizes = table(MAX_ROWS + 1000), set()

    def counting(rows):
        sizes.add(len(rows))
        return predict(rows)

    y = predict(frame) + np.random.default_rng(1).normal(size=len(frame))
    runs = [
        permutation_importance(counting, frame, y, ["weak"], METRICS["rmse"], seed=s)
        for s in (0, 0, 1)
    ]
    assert sizes == {MAX_ROWS}
    assert runs[0] == runs[1] != runs[2]


def test_progress_counts_the_features():
    frame, seen = table(20), []
    permutation_importance(
        predict, frame, predict(frame), frame.columns, METRICS["mae"], seed=0, report=seen.append
    )
    assert seen == [1, 2, 3]


def test_the_top_is_falling_and_leaves_out_what_is_not_a_number():
    assert list(largest({"a": 1.0, "b": float("nan"), "c": 3.0, "d": 2.0}, 2)) == ["c", "d"]
