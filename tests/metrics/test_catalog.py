"""Metrics equal scikit-learn's, weighted or not, and are NaN where they aren't defined."""

import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_cli.errors import BadParams
from mlops_cli.metrics.catalog import METRICS, decide, default_metrics, lookup

BINARY = {
    "roc_auc": lambda y, p, w: sk.roc_auc_score(y, p[:, 1], sample_weight=w),
    "average_precision": lambda y, p, w: sk.average_precision_score(y, p[:, 1], sample_weight=w),
    "log_loss": lambda y, p, w: sk.log_loss(y, p, sample_weight=w, labels=[0, 1]),
    "brier": lambda y, p, w: sk.brier_score_loss(y, p[:, 1], sample_weight=w),
    "accuracy": lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    "balanced_accuracy": lambda y, p, w: sk.balanced_accuracy_score(
        y, p.argmax(1), sample_weight=w
    ),
    "matthews_corrcoef": lambda y, p, w: sk.matthews_corrcoef(y, p.argmax(1), sample_weight=w),
    "cohen_kappa": lambda y, p, w: sk.cohen_kappa_score(y, p.argmax(1), sample_weight=w),
}
SCORES = {
    "f1": sk.f1_score,
    "precision": sk.precision_score,
    "recall": sk.recall_score,
    "jaccard": sk.jaccard_score,
}


def averaged(score, average):
    """scikit-learn's score of the most probable class, averaged over classes."""

    def oracle(y, p, w):
        given = {"average": average, "zero_division": 0}
        return score(y, p.argmax(1), sample_weight=w, **given)

    return oracle


AVERAGED = {
    f"{name}_{average}": averaged(score, average)
    for name, score in SCORES.items()
    for average in ("macro", "weighted")
}
BINARY |= AVERAGED | {name: averaged(score, "binary") for name, score in SCORES.items()}
MULTICLASS = AVERAGED | {
    "brier": lambda y, p, w: sk.brier_score_loss(
        y, p, sample_weight=w, labels=range(p.shape[1]), scale_by_half=False
    ),
    "matthews_corrcoef": BINARY["matthews_corrcoef"],
    "cohen_kappa": BINARY["cohen_kappa"],
    "roc_auc_ovr_weighted": lambda y, p, w: sk.roc_auc_score(
        np.eye(p.shape[1])[y], p, sample_weight=w, average="weighted"
    ),
    "average_precision_macro": lambda y, p, w: sk.average_precision_score(
        y, p, sample_weight=w, average="macro"
    ),
    **{
        f"top_{k}_accuracy": lambda y, p, w, k=k: sk.top_k_accuracy_score(
            y, p, k=k, sample_weight=w, labels=range(p.shape[1])
        )
        for k in (2, 3, 5)
    },
    "log_loss": lambda y, p, w: sk.log_loss(y, p, sample_weight=w, labels=range(p.shape[1])),
    "accuracy": BINARY["accuracy"],
    "balanced_accuracy": BINARY["balanced_accuracy"],
    "roc_auc_ovr": lambda y, p, w: sk.roc_auc_score(y, p, sample_weight=w, multi_class="ovr"),
}
REGRESSION = {
    "rmse": lambda y, p, w: sk.root_mean_squared_error(y, p, sample_weight=w),
    "mae": lambda y, p, w: sk.mean_absolute_error(y, p, sample_weight=w),
    "r2": lambda y, p, w: sk.r2_score(y, p, sample_weight=w),
    "median_absolute_error": lambda y, p, w: sk.median_absolute_error(y, p, sample_weight=w),
    "mse": lambda y, p, w: sk.mean_squared_error(y, p, sample_weight=w),
    "explained_variance": lambda y, p, w: sk.explained_variance_score(y, p, sample_weight=w),
    "max_error": lambda y, p, w: sk.max_error(y, p),
    **{
        f"pinball_{percent:02d}": lambda y, p, w, a=percent / 100: sk.mean_pinball_loss(
            y, p, sample_weight=w, alpha=a
        )
        for percent in (5, 10, 50, 90, 95)
    },
}
POSITIVE = {
    "mape": lambda y, p, w: sk.mean_absolute_percentage_error(y, p, sample_weight=w),
    "rmsle": lambda y, p, w: sk.root_mean_squared_log_error(y, p, sample_weight=w),
    "poisson_deviance": lambda y, p, w: sk.mean_poisson_deviance(y, p, sample_weight=w),
    "gamma_deviance": lambda y, p, w: sk.mean_gamma_deviance(y, p, sample_weight=w),
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


@pytest.mark.parametrize("name", POSITIVE)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_metric_of_amounts_equals_scikit_learns(name, data):
    y, prediction, weights = data.draw(problems("regression"))
    y, prediction = np.abs(y) + 0.1, np.abs(prediction) + 0.1
    expected = POSITIVE[name](y, prediction, weights)
    assert lookup(name, "regression")(y, prediction, weights) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", POSITIVE)
def test_a_metric_of_amounts_is_not_defined_where_one_that_counts_is_negative(name):
    y, prediction = np.array([1.0, 2.0, 0.0]), np.array([1.0, 2.5, -2.0])
    metric = lookup(name, "regression")
    assert math.isnan(metric(y, prediction))
    assert metric(y, prediction, np.array([1, 1, 0])) == metric(y[:2], prediction[:2])


def test_the_share_of_absolute_error_explained_is_scikit_learns():
    rng = np.random.default_rng(1)
    y = rng.normal(size=51)
    prediction = y + rng.normal(size=51)
    expected = sk.d2_absolute_error_score(y, prediction)
    assert lookup("d2_absolute_error", "regression")(y, prediction) == pytest.approx(expected)


def test_cost_is_that_of_the_decision_that_promises_to_cost_least():
    costs = np.array([[0.0, 1.0], [4.0, 0.0]])
    prediction = np.column_stack([1 - np.array([0.1, 0.2, 0.3]), [0.1, 0.2, 0.3]])
    # 1 / (1 + 4) is where yes becomes the cheaper decision.
    decided = np.array([0, 1, 1])
    for y in ([0, 0, 0], [1, 1, 1], [1, 0, 1]):
        expected = costs[y, decided].mean()
        assert lookup("cost", "binary", costs)(np.array(y), prediction) == expected


def test_without_costs_every_error_costs_one():
    rng = np.random.default_rng(0)
    y, prediction = rng.integers(0, 4, 50), rng.dirichlet(np.ones(4), 50)
    wrong = 1 - lookup("accuracy", "multiclass")(y, prediction)
    assert lookup("cost", "multiclass")(y, prediction) == pytest.approx(wrong)


@pytest.mark.parametrize(
    ("theirs", "ours"), [("neg_root_mean_squared_error", "rmse"), ("mean_absolute_error", "mae")]
)
def test_a_name_of_scikit_learns_that_differs_is_translated(theirs, ours):
    with pytest.raises(BadParams) as refused:
        lookup(theirs, "regression")
    assert refused.value.hint == f"Here it is called {ours!r}."


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
def test_every_metric_has_an_oracle_and_defaults_fit_their_task(task):
    covered = {*ORACLES[task], *POSITIVE, "cost", "d2_absolute_error"}
    assert {m.name for m in METRICS.values() if task in m.tasks} <= covered
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
