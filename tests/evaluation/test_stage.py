"""The evaluate stage: figures that can be recomputed, the same bytes each time, plain files."""

import json
import math

import numpy as np
import polars as pl
import pytest
import sklearn.metrics as sk
from trained_projects import make_params, make_table, train_project

from mlops_cli.errors import BadParams, DataRefused, NotFound
from mlops_cli.evaluation import stage
from mlops_cli.evaluation.plots import PLOTS
from mlops_cli.layout import TARGET, Layout
from mlops_cli.models import bundle
from mlops_cli.reporting import Silent

TASKS = ("binary", "multiclass", "regression")


class Evaluated:
    """A project after the stage, with what it wrote."""

    def __init__(self, layout, given):
        self.layout = layout
        self.summary = stage.run(given, layout, Silent())
        self.metrics = json.loads(layout.metrics.read_text())
        self.report = json.loads(layout.evaluation.read_text())
        self.test = pl.read_parquet(layout.split("test"))
        self.bundle = bundle.load(layout.fitted)

    def plot(self, name):
        """Points of one plot."""
        return json.loads((self.layout.plots / name).read_text())


@pytest.fixture(scope="module", params=TASKS)
def done(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return Evaluated(train_project(root, request.param), make_params(request.param))


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    root = tmp_path_factory.mktemp("costly")
    cost = {"type": "binary", "cost": {"false_positive": 1.0, "false_negative": 5.0}}
    return Evaluated(train_project(root, "binary"), make_params("binary", task=cost))


def contents(layout):
    paths = [layout.metrics, layout.headline, layout.evaluation, *sorted(layout.plots.iterdir())]
    return {path.name: path.read_bytes() for path in paths}


def test_the_metrics_are_scikit_learns_on_the_models_own_predictions(done):
    prediction, y = done.bundle.predict(done.test), done.test[TARGET].to_numpy()
    found = done.metrics["model"]
    if done.report["task"] == "regression":
        assert found["mae"]["value"] == pytest.approx(sk.mean_absolute_error(y, prediction))
    else:
        expected = sk.log_loss(y, prediction, labels=list(done.bundle.labels.classes))
        assert found["log_loss"]["value"] == pytest.approx(expected, abs=1e-6)


def test_every_figure_lies_in_its_interval_and_is_a_plain_number(done):
    parts = {k: v for k, v in done.metrics.items() if k != "rows"}
    assert set(parts) == {
        "model",
        "constant",
        "linear",
        "gain_over_constant",
        "gain_over_linear",
    }
    for figures in parts.values():
        assert figures
        for figure in figures.values():
            assert all(math.isfinite(v) for v in figure.values())
            assert figure["low"] <= figure["value"] <= figure["high"]


def test_the_headline_is_a_few_of_the_same_figures(done):
    shown = json.loads(done.layout.headline.read_text())
    assert 2 < len(shown) <= 6
    assert shown.pop("rows") == done.metrics["rows"]
    gain = shown.pop("gain_over_linear")
    first = next(iter(shown))
    assert gain == done.metrics["gain_over_linear"][first]["value"]
    assert shown == {name: done.metrics["model"][name]["value"] for name in shown}


def test_the_constant_knows_train_and_validation_only(done):
    known = pl.concat([pl.read_parquet(done.layout.split(s)) for s in ("train", "validation")])
    y, test = known[TARGET].to_numpy(), done.test[TARGET].to_numpy()
    if done.report["task"] == "regression":
        rmse = np.sqrt(np.mean((test - y.mean()) ** 2))
        assert done.metrics["constant"]["rmse"]["value"] == pytest.approx(rmse)
        mae = np.mean(np.abs(test - np.median(y)))
        assert done.metrics["constant"]["mae"]["value"] == pytest.approx(mae)
    else:
        shares = {c: np.mean(y == c) for c in set(y)}
        expected = -np.mean([np.log(shares[c]) for c in test])
        assert done.metrics["constant"]["log_loss"]["value"] == pytest.approx(expected, abs=1e-6)


def test_gains_are_differences_signed_so_that_positive_is_better(done):
    for name, gain in done.metrics["gain_over_constant"].items():
        ours, theirs = (done.metrics[part][name]["value"] for part in ("model", "constant"))
        assert abs(gain["value"]) == pytest.approx(abs(ours - theirs), abs=2e-6)
    lower = "rmse" if done.report["task"] == "regression" else "log_loss"
    assert done.metrics["gain_over_constant"][lower]["low"] > 0


def test_the_plots_are_the_listed_files_with_the_listed_columns(done):
    plots = PLOTS[done.report["task"]]
    assert {path.name for path in done.layout.plots.iterdir()} == {plot.file for plot in plots}
    for plot in plots:
        wanted = {plot.x, *([plot.y] if isinstance(plot.y, str) else plot.y)}
        points = done.plot(plot.file)
        assert points
        assert all(wanted <= set(point) for point in points)


def test_the_same_inputs_give_the_same_bytes(done):
    before = contents(done.layout)
    stage.run(make_params(done.report["task"]), done.layout, Silent())
    assert contents(done.layout) == before


def test_the_report_says_when_the_test_rows_were_and_how_sure_it_is(done):
    first, last = done.report["window"]["first"], done.report["window"]["last"]
    assert first < last
    assert first.endswith("+00:00")
    assert (done.report["confidence"], done.report["resamples"]) == (0.95, 40)
    assert done.report["rows"] == len(done.test)


def test_slices_cover_the_test_rows_and_the_worst_one_is_named(done):
    for parts in done.report["slices"].values():
        rows = sum(part["rows"] for part in parts["judged"]) + parts["too_small"]["rows"]
        assert rows == len(done.test)
    assert list(done.report["slices"]) == ["site", "x0"]
    worst = done.report["worst_slice"]
    parts = done.report["slices"][worst["column"]]["judged"]
    assert worst["figure"] in [part["metrics"][worst["metric"]] for part in parts]


def test_importance_falls_and_names_features(done):
    for figures in (done.report["importance"][k] for k in ("own", "permutation")):
        assert set(figures) <= set(done.bundle.encoder.kinds)
        assert list(figures.values()) == sorted(figures.values(), reverse=True)
    assert next(iter(done.report["importance"]["permutation"].values())) > 0


def test_the_summary_leads_with_the_first_metric_and_compares_all(done):
    assert done.summary.headline.startswith(f"{done.report['metrics'][0]} ")
    assert done.summary.tables[0].columns == ("metric", "model", "constant", "linear")
    assert [row[0] for row in done.summary.tables[0].rows] == done.report["metrics"]
    assert done.summary.warnings == ()


def test_the_threshold_is_the_models_and_its_cost_is_counted(binary):
    found = binary.report["threshold"]
    assert (found["threshold"], found["positive"]) == (0.4, "malignant")
    yes = binary.bundle.predict(binary.test)[:, 1] >= 0.4
    y = (binary.test[TARGET] == "malignant").to_numpy()
    cost = (np.sum(yes & ~y) + 5 * np.sum(~yes & y)) / len(y)
    assert found["cost_per_row"]["at_threshold"] == pytest.approx(cost, abs=1e-6)
    assert found["cost_per_row"]["always_negative"] == pytest.approx(5 * y.mean(), abs=1e-6)
    assert binary.report["confusion"]["actual_by_predicted"][1][1] == np.sum(yes & y)
    assert len(binary.plot("confusion.json")) == len(y)


def test_metrics_are_those_asked_for(tmp_path):
    asked = {"metrics": ["mae", "r2"], "resamples": 20, "slices": []}
    done = Evaluated(
        train_project(tmp_path, "regression"), make_params("regression", evaluate=asked)
    )
    assert list(done.metrics["model"]) == ["r2", "mae"]
    assert done.report["metrics"] == ["mae", "r2"]
    assert done.report["worst_slice"] is None


def test_a_test_split_of_one_class_is_judged_by_what_is_left_and_warned_about(tmp_path):
    layout = train_project(tmp_path, "binary")
    path = layout.split("test")
    pl.read_parquet(path).filter(pl.col(TARGET) == "benign").write_parquet(path)
    done = Evaluated(layout, make_params("binary"))
    assert "roc_auc" not in done.metrics["model"]
    assert "accuracy" in done.metrics["model"]
    assert "roc_auc" in done.report["undefined"]
    assert done.plot("roc.json") == []
    assert "class 'benign'" in done.summary.warnings[0]
    assert any("roc_auc is not defined" in text for text in done.summary.warnings)


def test_a_test_split_without_rows_is_refused_and_nothing_is_written(tmp_path):
    layout = train_project(tmp_path, "binary")
    pl.read_parquet(layout.split("test")).head(0).write_parquet(layout.split("test"))
    with pytest.raises(DataRefused, match="no rows"):
        stage.run(make_params("binary"), layout, Silent())
    assert not layout.metrics.exists()
    assert not layout.evaluation.exists()


def test_a_slice_column_that_is_not_there_is_answered_with_the_nearest(tmp_path):
    layout = train_project(tmp_path, "binary")
    with pytest.raises(BadParams, match="'sitte'") as caught:
        stage.run(make_params("binary", evaluate={"slices": ["sitte"]}), layout, Silent())
    assert "'site'" in caught.value.hint


def test_a_metric_of_another_task_is_refused_before_any_work(tmp_path):
    with pytest.raises(BadParams, match="rmse"):
        stage.run(make_params("binary", evaluate={"metrics": ["rmse"]}), Layout(tmp_path), Silent())


def test_without_a_model_it_says_which_stage_is_missing(tmp_path):
    with pytest.raises(NotFound):
        stage.run(make_params("binary"), Layout(tmp_path), Silent())


def test_a_table_without_time_has_no_window(tmp_path):
    layout = train_project(tmp_path, "binary", table=make_table("binary").drop("_time"))
    assert Evaluated(layout, make_params("binary")).report["window"] is None


def test_weights_count_rows_in_all_figures(tmp_path):
    table = make_table("regression").with_columns(pl.Series("w", np.arange(442) % 3).alias("times"))
    layout = train_project(tmp_path, "regression", table=table)
    section = {"resamples": 20, "weight": "times", "slices": ["site"], "slice_rows": 20}
    found = Evaluated(layout, make_params("regression", evaluate=section))
    y, prediction = found.test[TARGET].to_numpy(), found.bundle.predict(found.test)
    w = found.test["times"].to_numpy()
    expected = sk.mean_absolute_error(y, prediction, sample_weight=w)
    assert found.metrics["model"]["mae"]["value"] == pytest.approx(expected, abs=1e-6)
    for part in found.report["slices"]["site"]["judged"]:
        rows = (found.test["site"] == part["value"]).to_numpy()
        expected = sk.mean_absolute_error(y[rows], prediction[rows], sample_weight=w[rows])
        assert part["metrics"]["mae"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("weights", [["a"] * 442, [-1.0] * 442, [None] * 442, [0.0] * 442])
def test_weights_that_weigh_nothing_are_refused(tmp_path, weights):
    table = make_table("regression").with_columns(pl.Series("times", weights))
    layout = train_project(tmp_path, "regression", table=table)
    with pytest.raises(DataRefused, match=r"evaluate\.weight"):
        stage.run(make_params("regression", evaluate={"weight": "times"}), layout, Silent())


def test_a_matrix_of_costs_prices_each_error(tmp_path):
    costs = {"white": {"red": 10.0}, "red": {"white": 2.0}}
    task = {"type": "multiclass", "costs": costs}
    evaluated = {"resamples": 20, "metrics": ["cost"]}
    layout = train_project(tmp_path, "multiclass", rounds=2)
    found = Evaluated(layout, make_params("multiclass", task=task, evaluate=evaluated))
    p, names = found.bundle.predict(found.test), list(found.bundle.labels.classes)
    price = [[costs.get(a, {}).get(d, float(a != d)) for d in names] for a in names]
    decided = (p @ np.array(price)).argmin(axis=1)
    actual = found.bundle.labels.encode(found.test[TARGET])
    expected = np.mean([price[a][d] for a, d in zip(actual, decided, strict=True)])
    assert found.metrics["model"]["cost"]["value"] == pytest.approx(expected, abs=1e-6)


def test_a_cost_of_a_class_that_is_not_there_is_refused(tmp_path):
    task = {"type": "multiclass", "costs": {"whit": {"red": 1.0}}}
    with pytest.raises(BadParams, match="'whit'") as refused:
        stage.run(
            make_params("multiclass", task=task),
            train_project(tmp_path, "multiclass", rounds=2),
            Silent(),
        )
    assert "white" in refused.value.hint


def test_protected_groups_and_worst_segments_are_in_the_report(tmp_path):
    section = {"resamples": 20, "slice_rows": 20, "protected": ["site"], "segments": 3}
    cost = {"type": "binary", "cost": {"false_negative": 5.0}}
    layout = train_project(tmp_path, "binary", rounds=3)
    found = Evaluated(layout, make_params("binary", task=cost, evaluate=section))
    groups = {g["value"]: g for g in found.report["fairness"]["site"]["groups"]}
    yes = found.bundle.predict(found.test)[:, 1] >= found.bundle.threshold
    for site, group in groups.items():
        held = (found.test["site"] == site).to_numpy()
        assert group["selection_rate"]["value"] == pytest.approx(yes[held].mean(), abs=1e-6)
    segments = found.report["worst_segments"]
    assert segments["tried"] > 0
    assert all(part["p"] <= 0.05 for part in segments["found"])
    titles = [table.title for table in found.summary.tables]
    assert "Gaps between groups" in titles


def test_a_protected_column_that_is_not_there_is_refused(tmp_path):
    given = make_params("binary", evaluate={"protected": ["sit"]})
    with pytest.raises(BadParams, match=r"evaluate\.protected"):
        stage.run(given, train_project(tmp_path, "binary", rounds=2), Silent())


@pytest.mark.parametrize("family", ["lightgbm", "forest", "linear"])
def test_mean_contributions_rank_the_features(tmp_path, family):
    layout = train_project(tmp_path, "binary", family=family, rounds=5)
    section = {"resamples": 20, "shap_rows": 30}
    found = Evaluated(layout, make_params("binary", evaluate=section)).report["shap"]
    assert found["rows"] == 30
    assert found["scale"] == "log-odds"
    values = list(found["mean"].values())
    assert values == sorted(values, reverse=True)
    assert set(found["mean"]) == {*(f"x{i}" for i in range(6)), "kind"}


def test_contributions_can_be_left_out(tmp_path):
    layout = train_project(tmp_path, "binary", rounds=2)
    section = {"resamples": 20, "shap_rows": 0, "segments": 0}
    report = Evaluated(layout, make_params("binary", evaluate=section)).report
    assert report["shap"]["mean"] == {}
    assert (report["worst_segments"]["tried"], report["worst_segments"]["found"]) == (0, [])
