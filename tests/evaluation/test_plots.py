"""Points of the plots: scikit-learn's curves, in few points, with their ends."""

import json

import numpy as np
import pytest
import sklearn.metrics as sk
from dvc_render.vega_templates import get_template

from mlops_cli.evaluation import plots
from mlops_cli.evaluation.plots import MAX_CONFUSION_ROWS, MAX_POINTS, MAX_SCATTER_ROWS, PLOTS
from mlops_cli.params.task import Cost


def scored(rows=3000, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.random(rows).round(3)
    return rng.random(rows) < score, score


def columns(points, *names):
    return [np.array([p[name] for p in points]) for name in names]


def test_the_roc_points_lie_on_scikit_learns_curve():
    y, score = scored()
    false, true = columns(plots.roc(y, score), "false_positive_rate", "true_positive_rate")
    expected, height, _ = sk.roc_curve(y, score, drop_intermediate=False)
    points = set(zip(expected.round(6), height.round(6), strict=True))
    assert set(zip(false, true, strict=True)) <= points
    assert sk.auc(false, true) == pytest.approx(sk.roc_auc_score(y, score), abs=1e-3)


def test_the_precision_recall_points_lie_on_scikit_learns_curve():
    y, score = scored()
    found = columns(plots.precision_recall(y, score), "recall", "precision")
    precision, recall, _ = sk.precision_recall_curve(y, score)
    points = set(zip(recall.round(6), precision.round(6), strict=True))
    assert set(zip(*found, strict=True)) <= points


@pytest.mark.parametrize("draw", [plots.roc, plots.precision_recall])
def test_a_curve_has_few_points_and_keeps_its_ends(draw):
    points = draw(*scored())
    assert len(points) <= MAX_POINTS
    assert list(points[-1].values())[0] == 1  # noqa: RUF015
    assert all(0 <= v <= 1 for p in points for v in p.values())


@pytest.mark.parametrize("draw", [plots.roc, plots.precision_recall])
def test_one_class_or_no_rows_draw_no_curve(draw):
    assert draw(np.zeros(5, dtype=bool), np.linspace(0, 1, 5)) == []
    assert draw(np.zeros(0, dtype=bool), np.zeros(0)) == []


def test_the_roc_of_many_classes_lies_between_its_worst_and_its_best_in_area():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 4, 500)
    noise = np.array([0.1, 1, 3, 10])
    prediction = np.eye(5)[y] + rng.random((500, 5)) * np.r_[noise, 1]
    x, mean, worst, best = columns(
        plots.roc_ovr(y, prediction), "false_positive_rate", "mean", "worst", "best"
    )
    assert sk.auc(x, worst) < sk.auc(x, mean) < sk.auc(x, best)
    assert sk.auc(x, best) == pytest.approx(sk.roc_auc_score(y == 0, prediction[:, 0]), abs=0.01)


def test_calibration_bins_hold_nearly_equal_numbers_of_rows_and_follow_the_truth():
    y, score = scored(5000)
    predicted, observed, rows = columns(
        plots.calibration(y, score), "predicted", "observed", "rows"
    )
    assert rows.sum() == 5000
    assert len(rows) == 10
    assert rows.min() > 400
    assert np.abs(predicted - observed).max() < 0.06


def test_a_constant_probability_is_one_calibration_bin():
    points = plots.calibration(np.array([True, False]), np.array([0.3, 0.3]))
    assert points == [{"predicted": 0.3, "observed": 0.5, "rows": 2}]


def test_a_small_confusion_is_counted_row_by_row():
    actual, predicted = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 2])
    found = plots.confusion(actual, predicted, ["a", "b", "c"])
    assert sorted((p["actual"], p["predicted"]) for p in found) == [
        ("a", "a"),
        ("a", "b"),
        ("b", "b"),
        ("c", "c"),
    ]


def test_a_large_confusion_is_scaled_in_proportion():
    rng = np.random.default_rng(0)
    actual, predicted = rng.integers(0, 3, 50_000), rng.integers(0, 3, 50_000)
    found = plots.confusion(actual, predicted, ["0", "1", "2"])
    assert len(found) == MAX_CONFUSION_ROWS
    exact = sk.confusion_matrix(actual, predicted) * MAX_CONFUSION_ROWS / 50_000
    scaled = sk.confusion_matrix([p["actual"] for p in found], [p["predicted"] for p in found])
    assert np.abs(exact - scaled).max() < 1


def test_the_last_seats_of_a_scaled_confusion_go_to_the_largest_remainders():
    actual, predicted = np.repeat([0, 0, 1], [3996, 1, 3]), np.repeat([0, 1, 1], [3996, 1, 3])
    found = [(p["actual"], p["predicted"]) for p in plots.confusion(actual, predicted, "ab")]
    assert {cell: found.count(cell) for cell in found} == {("a", "a"): 999, ("b", "b"): 1}


def test_residuals_are_truth_less_prediction_of_a_seeded_sample():
    y = np.arange(5000.0)
    points = plots.residuals(y, y - 2, seed=0)
    assert len(points) == MAX_SCATTER_ROWS
    assert {p["residual"] for p in points} == {2.0}
    assert points == plots.residuals(y, y - 2, seed=0)
    assert points != plots.residuals(y, y - 2, seed=1)


def test_points_are_plain_json_without_nan():
    y, score = scored(50)
    everything = [
        plots.roc(y, score),
        plots.calibration(y, score),
        plots.confusion(y, ~y, ["no", "yes"]),
        plots.importance({"a": 0.1}),
    ]
    json.dumps(everything, allow_nan=False)


@pytest.mark.parametrize("task", list(PLOTS))
def test_every_plot_names_a_template_that_dvc_has_and_a_file_of_its_own(task):
    files = [plot.file for plot in PLOTS[task]]
    assert len(set(files)) == len(files)
    assert all(get_template(plot.template) for plot in PLOTS[task])


def test_thresholds_weigh_precision_recall_and_cost():
    positive = np.array([True, False, True, False, False])
    score = np.array([0.9, 0.8, 0.3, 0.2, 0.1])
    points = {p["threshold"]: p for p in plots.thresholds(positive, score, Cost(false_negative=2))}
    # One of two found, one false alarm; deciding yes for all would cost 3, for none 4.
    at_half = points[0.5]
    assert (at_half["precision"], at_half["recall"]) == (0.5, 0.5)
    assert at_half["relative_cost"] == pytest.approx(3 / 3)
    assert points[0.3] == {
        "threshold": 0.3,
        "precision": pytest.approx(2 / 3, abs=1e-6),
        "recall": 1,
        "relative_cost": pytest.approx(1 / 3, abs=1e-6),
    }
    assert max(points) == 0.9


@pytest.mark.parametrize("positive", [[True] * 3, [False] * 3])
def test_of_one_class_there_is_nothing_to_weigh(positive):
    assert plots.thresholds(np.array(positive), np.array([0.1, 0.5, 0.9]), Cost()) == []
