"""Each metric agrees with scikit-learn's, weighted or not, and says NaN where it isn't defined."""

import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.core.metrics import METRICS, decide, default_metrics, lookup
from mlops_cli.errors import BadParams

BINARY = {
    "roc_auc": lambda y, p, w: sk.roc_auc_score(y, p[:, 1], sample_weight=w),
    "average_precision": lambda y, p, w: sk.average_precision_score(y, p[:, 1], sample_weight=w),
    "log_loss": lambda y, p, w: sk.log_loss(y, p, sample_weight=w, labels=[0, 1]),
    "brier": lambda y, p, w: sk.brier_score_loss(y, p[:, 1], sample_weight=w),
    "accuracy": lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: sk.balanced_accuracy_score(
        y, p.argmax(1), sample_weight=w
    ),
    "f1": lambda y, p, w: sk.f1_score(y, p.argmax(1), sample_weight=w),
    "f1_macro": lambda y, p, w: sk.f1_score(y, p.argmax(1), sample_weight=w, average="macro"),
}
MULTICLASS = {
    "log_loss": lambda y, p, w: sk.log_loss(y, p, sample_weight=w, labels=range(p.shape[1])),
    "accuracy": BINARY["accuracy"],
    "balanced_accuracy": BINARY["balanced_accuracy"],
    "f1_macro": BINARY["f1_macro"],
    "roc_auc_ovr": lambda y, p, w: sk.roc_auc_score(y, p, sample_weight=w, multi_class="ovr"),
}
REGRESSION = {
    "rmse": lambda y, p, w: sk.root_mean_squared_error(y, p, sample_weight=w),
    "mae": lambda y, p, w: sk.mean_absolute_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: sk.r2_score(y, p, sample_weight=w),
    "median_absolute_error": lambda y, p, w: sk.median_absolute_error(y, p, sample_weight=w),
}
ORACLES = {"binary": BINARY, "multiclass": MULTICLASS, "regression": REGRESSION}


@st.composite
def problems(draw, task):
    """Truth, prediction and weights, with ties among scores and extreme probabilities."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(8, 80))
    weights = draw(
        st.sampled_from([np.ones(n), rng.uniform(0.1, 5, n), rng.integers(1, 6, n).astype(float)])
    )
    if task == "regression":
        y = np.round(rng.normal(size=n), 1)
        return y, np.round(y + rng.normal(size=n), draw(st.integers(0, 3))), weights
    k = 2 if task == "binary" else draw(st.integers(3, 6))
    y = rng.permutation(np.arange(n) % k)
    share = rng.dirichlet(np.full(k, draw(st.sampled_from([0.05, 1.0]))), n)
    prediction = rng.multinomial(100, share) / 100
    return y, prediction, weights


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task, names in ORACLES.items() for name in names]
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_metric_equals_scikit_learns(task, name, data):
    y, prediction, weights = data.draw(problems(task))
    expected = ORACLES[task][name](y, prediction, weights)
    assert lookup(name, task)(y, prediction, weights) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("task", "name"), [(t, m.name) for m in METRICS.values() for t in sorted(m.tasks)]
)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_integer_weights_are_repeated_rows_and_zero_is_a_row_left_out(task, name, data):
    y, prediction, _ = data.draw(problems(task))
    times = np.random.default_rng(len(y)).integers(0, 4, len(y))
    metric = METRICS[name]
    weighted = metric(y, prediction, times.astype(float))
    repeated = metric(np.repeat(y, times), np.repeat(prediction, times, axis=0))
    assert weighted == pytest.approx(repeated, abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("task", list(ORACLES))
def test_every_metric_has_an_oracle_here_and_every_default_is_fit_for_its_task(task):
    assert {m.name for m in METRICS.values() if task in m.tasks} - {"f1_macro"} <= set(
        ORACLES[task]
    )
    assert all(task in METRICS[name].tasks for name in default_metrics(task))


def test_the_search_goes_by_these_metrics_by_default():
    firsts = [default_metrics(t)[0] for t in ("binary", "multiclass", "regression")]
    assert firsts == ["roc_auc", "log_loss", "rmse"]


@pytest.mark.parametrize("name", ["roc_auc", "average_precision", "f1"])
def test_what_one_class_cannot_define_is_not_a_number(name):
    y, prediction = np.zeros(5, dtype=int), np.tile([0.8, 0.2], (5, 1))
    assert math.isnan(METRICS[name](y, prediction))


@pytest.mark.parametrize("name", list(METRICS))
def test_no_rows_give_no_number(name):
    shape = (0, 3) if "multiclass" in METRICS[name].tasks else (0, 2)
    prediction = np.empty(0) if "regression" in METRICS[name].tasks else np.empty(shape)
    assert math.isnan(METRICS[name](np.empty(0, dtype=int), prediction))


def test_r2_of_a_truth_that_does_not_vary_is_not_a_number():
    assert math.isnan(METRICS["r2"](np.ones(4), np.arange(4.0)))


def test_a_class_that_the_test_rows_lack_is_left_out_of_the_mean_over_classes():
    y, prediction = np.array([0, 1, 0, 1]), np.full((4, 3), 1 / 3)
    assert METRICS["roc_auc_ovr"](y, prediction) == 0.5


def test_equal_probabilities_decide_for_the_first_class():
    assert decide(np.array([[0.5, 0.5], [0.2, 0.8]])).tolist() == [0, 1]


def test_gain_is_positive_where_better_whatever_the_direction():
    assert METRICS["roc_auc"].gain(0.8, 0.7) > 0
    assert METRICS["rmse"].gain(0.8, 0.7) < 0
    assert METRICS["rmse"].reaches(0.7, 0.7)
    assert not METRICS["roc_auc"].reaches(0.69, 0.7)


def test_a_misspelt_metric_is_answered_with_the_nearest():
    with pytest.raises(BadParams, match="'roc_acu'") as caught:
        lookup("roc_acu", "binary")
    assert "roc_auc" in caught.value.hint


def test_a_metric_of_another_task_is_refused_with_those_that_fit():
    with pytest.raises(BadParams, match=r"rmse.*regression.*binary") as caught:
        lookup("rmse", "binary")
    assert "log_loss" in caught.value.hint
