"""The score of a prediction from the folds' parts."""

import numpy as np
import pytest

from mlops_cli.metrics.catalog import lookup
from mlops_cli.training.cv_scorer import CvScorer


def test_the_score_is_the_mean_over_the_folds_or_of_all_rows_if_a_fold_lacks_a_class():
    y = np.array([0, 1, 0, 1])
    p = np.column_stack([1 - y * 0.8, y * 0.8])
    metric = lookup("roc_auc", "binary")
    whole = (np.array([0, 1]), np.array([2, 3]))
    assert CvScorer(metric, y, whole)(p) == 1.0
    assert CvScorer(metric, y, (np.array([0, 2]), np.array([1, 3])))(p) == 1.0
    assert CvScorer(lookup("log_loss", "binary"), y, whole).gain(p) == pytest.approx(
        np.log(0.8) / 2
    )
    assert CvScorer(metric, np.zeros(4, int), whole).gain(p) == -np.inf
