"""Contract of all model families, for every task; a new family is tested when it is listed."""

import io
import json
import subprocess
import sys
import time
import warnings
import zipfile

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import (
    FAMILIES,
    FitRequest,
    Pruned,
    TaskInfo,
    WatchedRows,
    skops_format,
)
from mlops_cli.models.families.tree_checks import check_tree

TASKS = {"binary": 2, "multiclass": 3, "regression": 0}
CATEGORY = 4
SIGNAL = 0

each_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
each_task = pytest.mark.parametrize("kind", list(TASKS))


def problem(kind, rows=300, seed=0):
    """Signal, noise, missing values, a category, a constant column and an empty one."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 7))
    value = X[:, SIGNAL] * 2 + rng.normal(size=rows) * 0.3
    X[rng.random(X.shape) < 0.05] = np.nan
    X[:, SIGNAL] = np.nan_to_num(X[:, SIGNAL])
    X[:, CATEGORY] = rng.integers(0, 5, rows)
    X[:, 5] = 3.0
    X[:, 6] = np.nan
    y = value
    if kind == "binary":
        y = (value > 0).astype(int)
    elif kind == "multiclass":
        y = np.digitize(value, [-1.0, 1.0])
    return X, y, TaskInfo(kind, TASKS[kind], (CATEGORY,))


def defaults(family):
    return {name: setting.default for name, setting in family.space.items()}


def quick(family, X, y, task, rounds=15, **more):
    return family.fit(FitRequest(X, y, task, defaults(family), seed=1, rounds=rounds, **more))


def goodness(y, prediction):
    if prediction.ndim == 2:
        return float((prediction.argmax(axis=1) == y).mean())
    return float(1 - ((prediction - y) ** 2).mean() / y.var())


@each_family
@each_task
def test_it_learns_what_there_is_to_learn(family, kind):
    X, y, task = problem(kind)
    fitted = quick(family, X[:200], y[:200], task, rounds=40)
    assert goodness(y[200:], fitted.predict(X[200:])) > 0.7
    assert fitted.importances.argmax() == SIGNAL


@each_family
@each_task
def test_predictions_have_the_promised_shape(family, kind):
    X, y, task = problem(kind)
    fitted = quick(family, X, y, task)
    for rows in (X[:1], X):
        prediction = fitted.predict(rows)
        if kind == "regression":
            assert prediction.shape == (len(rows),)
        else:
            assert prediction.shape == (len(rows), task.classes)
            np.testing.assert_allclose(prediction.sum(axis=1), 1.0)
        assert np.isfinite(prediction).all()
    assert fitted.importances.shape == (X.shape[1],)
    assert fitted.importances.min() >= 0
    assert fitted.importances.sum() == pytest.approx(1.0)


@each_family
@each_task
def test_one_row_is_predicted_as_among_many(family, kind):
    X, y, task = problem(kind)
    fitted = quick(family, X, y, task)
    alone = np.concatenate([fitted.predict(X[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(alone, fitted.predict(X)[:5], rtol=1e-12)


@each_family
@each_task
def test_a_model_from_its_files_predicts_the_same_and_has_the_same_files(family, kind):
    X, y, task = problem(kind)
    fitted = quick(family, X, y, task)
    files = fitted.to_files()
    again = family.from_files(files)
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(again.importances, fitted.importances)
    assert again.iterations == fitted.iterations
    assert again.to_files() == files


@each_family
@each_task
def test_the_same_fit_gives_the_same_bytes_on_any_number_of_threads(family, kind):
    X, y, task = problem(kind, rows=2000)
    files = [quick(family, X, y, task, rounds=4, threads=n).to_files() for n in (1, 3)]
    assert files[0] == files[1]


@each_family
def test_a_fit_by_threads_leaves_the_warning_filters_as_they_were(family):
    """Else some later warning of a library reaches the terminal, as filters were lost."""
    X, y, task = problem("binary", rows=2000)
    before = list(warnings.filters)
    for _ in range(3):
        quick(family, X, y, task, rounds=30, threads=4)
        assert warnings.filters == before


@each_family
def test_unseen_categories_and_missing_values_are_predicted(family):
    X, y, task = problem("binary")
    fitted = quick(family, X, y, task)
    rows = np.vstack([np.full(7, np.nan), np.full(7, 200.0), np.full(7, -1e300)])
    assert np.isfinite(fitted.predict(rows)).all()


@each_family
def test_a_class_that_the_sample_lacks_gets_no_probability(family):
    X, y, task = problem("multiclass")
    some = y != 1
    prediction = quick(family, X[some], y[some], task).predict(X)
    assert prediction.shape == (len(X), 3)
    assert prediction[:, 1].max() < 0.01


@each_family
@pytest.mark.filterwarnings("error")
def test_the_largest_floats_are_fitted_and_predicted_without_a_warning(family):
    X, y, task = problem("regression", rows=60)
    largest = np.finfo(float).max
    X[:, 1] = np.where(np.arange(60) % 2, largest, -largest)
    X[:, 2] = np.where(np.arange(60) % 3, 5e-324, largest)
    X[:, 3] = np.where(np.arange(60) % 3, largest / 1.1, largest)
    assert np.isfinite(quick(family, X, y, task).predict(X)).all()


@each_family
@each_task
def test_tiny_and_wide_data_are_fitted(family, kind):
    X, y, task = problem(kind, rows=50)
    assert np.isfinite(quick(family, X, y, task).predict(X)).all()
    X, y, _ = problem(kind, rows=100)
    wide = np.hstack([X, np.random.default_rng(1).normal(size=(100, 193))])
    assert np.isfinite(quick(family, wide, y, task).predict(wide)).all()


@each_family
def test_data_without_a_number_or_without_a_category_are_fitted(family):
    X, y, _ = problem("binary")
    only = quick(family, X[:, [CATEGORY]], y, TaskInfo("binary", 2, (0,)))
    none = quick(family, X, y, TaskInfo("binary", 2))
    empty = quick(family, np.full((300, 1), np.nan), y, TaskInfo("binary", 2, (0,)))
    for fitted, rows in ((only, X[:, [CATEGORY]]), (none, X), (empty, X[:, :1])):
        assert fitted.predict(rows).shape == (300, 2)


@each_family
def test_every_choice_of_the_space_can_be_fitted(family):
    X, y, task = problem("multiclass", rows=120)
    for name, setting in family.space.items():
        low, high = setting.dimension.low, setting.dimension.high
        for value in setting.dimension.choices or (low, high):
            settings = defaults(family) | {name: value}
            fitted = family.fit(FitRequest(X, y, task, settings, seed=1, rounds=5))
            assert family.from_files(fitted.to_files()).predict(X[:1]).shape == (1, 3)


ROUND_FAMILIES = [f for f in FAMILIES.values() if f.rounds]


@pytest.mark.parametrize("family", ROUND_FAMILIES, ids=lambda f: f.name)
def test_a_watched_fit_reports_ten_steps_at_most_and_can_be_pruned(family):
    X, y, task = problem("binary")
    steps = []
    watch = WatchedRows(
        X, lambda p: goodness(y, p), lambda step, score: steps.append((step, score))
    )
    quick(family, X, y, task, rounds=20, watch=watch)
    assert [s for s, _ in steps] == list(range(1, 11))
    assert all(0 <= score <= 1 for _, score in steps)

    def prune(step, score):
        raise Pruned

    with pytest.raises(Pruned):
        quick(family, X, y, task, watch=WatchedRows(X, lambda p: 0.0, prune))


@pytest.mark.parametrize("name", ["lightgbm", "xgboost"])
def test_boosting_stops_early_and_keeps_the_best_rounds(name):
    X, y, task = problem("regression", rows=400)
    score = lambda p: -float(((p - y[200:]) ** 2).mean())  # noqa: E731
    watch = WatchedRows(X[200:], score, patience=20)
    fitted = quick(FAMILIES[name], X[:200], y[:200], task, rounds=400, watch=watch)
    assert fitted.iterations < 300
    whole = quick(FAMILIES[name], X[:200], y[:200], task, rounds=400)
    assert score(fitted.predict(X[200:])) >= score(whole.predict(X[200:]))


def edited(data, change):
    """A skops file with its tree changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "schema.json":
                tree = json.loads(content)
                change(tree)
                content = json.dumps(tree).encode()
            new.writestr(name, content)
    return out.getvalue()


def test_a_file_with_a_foreign_type_is_refused_before_anything_is_built(tmp_path):
    X, y, task = problem("binary")
    family = FAMILIES["forest"]
    good = quick(family, X, y, task).to_files()["model.skops"]
    trace = tmp_path / "ran"

    def add(tree):
        tree["__class__"], tree["__module__"] = "system", "os"
        tree["__loader__"], tree["content"] = "FunctionNode", f"touch {trace}"

    with pytest.raises(DataRefused, match=r"os\.system"):
        family.from_files({"model.skops": edited(good, add)})
    assert not trace.exists()


def test_a_trusted_library_outside_our_list_is_refused_too():
    from sklearn.dummy import DummyRegressor

    model = DummyRegressor().fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(DataRefused, match="DummyRegressor"):
        skops_format.loads(skops_format.dumps(model), "model.skops")


@each_family
def test_a_file_that_is_no_model_is_refused(family):
    X, y, task = problem("binary")
    files = quick(family, X, y, task).to_files()
    with pytest.raises(DataRefused, match="model"):
        family.from_files(dict.fromkeys(files, b"garbage"))


def test_a_model_whose_package_is_missing_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataRefused, match="one of xgboost, which is not installed") as refused:
        FAMILIES["xgboost"].from_files({"model.ubj": b"any"})
    assert "xgboost" in refused.value.hint


def test_a_tree_that_points_outside_itself_or_back_is_refused():
    leaf = np.array([False, True, True])
    right, feature = np.array([2, -1, -1]), np.array([0, -2, -2])
    check_tree(np.array([1, -1, -1]), right, feature, leaf, features=1)
    for left in (3, 0, -5):
        with pytest.raises(DataRefused, match="outside itself"):
            check_tree(np.array([left, -1, -1]), right, feature, leaf, features=1)
    with pytest.raises(DataRefused, match="outside itself"):
        check_tree(np.array([1, -1, -1]), right, feature + 1, leaf, features=1)


def regression_families(objective):
    task = TaskInfo("regression", 0, (CATEGORY,), objective)
    return [f for f in FAMILIES.values() if f.unsupported_reason(task) is None], task


@pytest.mark.parametrize("objective", ["absolute", "quantile:0.9", "poisson"])
def test_objectives_give_what_they_are_named_after(objective):
    X, y, _ = problem("regression", rows=600)
    families, task = regression_families(objective)
    if objective == "poisson":
        y = np.random.default_rng(0).poisson(np.exp(y / 3)).astype(float)
    assert len(families) >= 3
    for family in families:
        watch = WatchedRows(X, lambda prediction: goodness(y, prediction))
        quick(family, X, y, task, rounds=5, threads=1, watch=watch)
        fitted = quick(family, X, y, task, rounds=40, threads=1)
        found = family.from_files(fitted.to_files()).predict(X)
        if objective == "poisson":
            assert found.min() > 0, family.name
            assert found.mean() == pytest.approx(y.mean(), rel=0.15), family.name
        else:
            below = 0.9 if objective == "quantile:0.9" else 0.5
            assert (y <= found).mean() == pytest.approx(below, abs=0.1), family.name


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_families_that_take_monotone_constraints_keep_them(kind):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    value = np.sin(2 * X[:, 0]) + X[:, 1] + rng.normal(size=500)
    y = (value > 0).astype(int) if kind == "binary" else value
    task = TaskInfo(kind, TASKS[kind], monotone=(1, 0, 0))
    families = [f for f in FAMILIES.values() if f.unsupported_reason(task) is None]
    assert {"lightgbm", "xgboost"} <= {f.name for f in families}
    rows = np.zeros((50, 3))
    rows[:, 0] = np.linspace(-2, 2, 50)
    for family in families:
        found = quick(family, X, y, task, rounds=30, threads=1).predict(rows)
        along = found[:, 1] if kind == "binary" else found
        assert np.diff(along).min() > -1e-6, family.name


@each_family
def test_a_row_that_counts_twice_is_worth_two(family):
    X, y, task = problem("binary")
    heavy = np.where(y == 1, 20.0, 1.0)
    plain, weighed = (
        quick(family, X, y, task, weight=w, threads=1).predict(X)[:, 1].mean()
        for w in (None, heavy / heavy.mean())
    )
    assert weighed > plain


@each_family
@each_task
def test_one_class_or_one_value_gives_a_constant(family, kind):
    X, y, task = problem(kind, rows=60)
    alike = np.full(len(y), y[0])
    fitted = quick(family, X, alike, task)
    again = family.from_files(fitted.to_files())
    found = again.predict(X[:2])
    assert found.shape == ((2, task.classes) if task.classes else (2,))
    assert (found[0] == found[1]).all()
    assert quick(family, X[:1], y[:1], task).predict(X).shape[0] == 60
    assert quick(family, np.ones_like(X), y, task).to_files().keys() == {"constant.json"}


@each_family
def test_rare_positives_keep_their_share(family):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 4))
    y = (rng.random(6000) < 0.004 * np.exp(X[:, 0] - 0.5)).astype(int)
    settings = family.candidates()[-1]
    fitted = family.fit(
        FitRequest(X, y, TaskInfo("binary", 2), settings, seed=1, rounds=20, threads=1)
    )
    assert fitted.predict(X)[:, 1].mean() == pytest.approx(y.mean(), rel=0.35)


@each_family
def test_the_portfolio_lies_in_the_space(family):
    candidates = family.candidates()
    assert 2 <= len(candidates) <= 6
    for settings in candidates:
        assert settings.keys() == family.space.keys()
        for name, value in settings.items():
            dimension = family.space[name].dimension
            if dimension.choices is not None:
                assert value in dimension.choices
            else:
                assert dimension.low <= value <= dimension.high


@each_family
def test_ten_thousand_categories_and_dates_go_through_the_encoder(family):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 10_000, 2000)
    moments = 1.6e9 + rng.integers(0, 10**7, 2000)
    frame = pl.DataFrame({"who": [f"c{c}" for c in codes], "at": moments / 86400})
    encoder = Encoder.fit(frame, {"who": "category", "at": "number"})
    X, y = encoder.transform(frame), (moments % 86400 < 43200).astype(int)
    task = TaskInfo("binary", 2, encoder.categorical)
    fitted = quick(family, X, y, task, rounds=5, threads=1)
    unseen = encoder.transform(pl.DataFrame({"who": ["nobody", None], "at": [1.0, None]}))
    assert np.isfinite(fitted.predict(unseen)).all()


BESIDE = """
import sys
import time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo

rng = np.random.default_rng(0)
X = np.where(rng.random((1200, 40)) < 0.05, rng.integers(1, 9, (1200, 40)), 0).astype(float)
y = rng.integers(0, 2, 1200)
family, task = FAMILIES[sys.argv[1]], TaskInfo("binary", 2, frozenset())

def fit(seed):
    rounds = 2 if family.rounds else None
    return family.fit(FitRequest(X, y, task, seed=seed, threads=1, rounds=rounds)).predict(X)

with ThreadPoolExecutor(4) as pool:
    list(pool.map(fit, range(int(sys.argv[2]))))
"""


@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_fits_and_predictions_beside_each_other_leave_each_other_alone(family):
    """LightGBM's number of threads is one for the process: changed beside a fit, it crashes."""
    times = "400" if family == "lightgbm" else "20"
    done = subprocess.run([sys.executable, "-c", BESIDE, family, times], check=False)
    assert done.returncode == 0


def test_steps_count_the_nodes_on_a_row_s_way():
    boosted, forest = FAMILIES["lightgbm"], FAMILIES["forest"]
    settings = {"max_leaves": 16}
    assert boosted.steps(settings, 100, 2) == 400
    assert boosted.steps(settings, 100, 3) == 1200
    assert forest.steps(settings, 50, 3) == 200
    assert FAMILIES["catboost"].steps({"depth": 6}, 10, 5) == 60
    assert FAMILIES["linear"].steps({}, None, 2) == 0


@each_family
@each_task
def test_predictions_recorded_during_a_fit_are_those_of_the_fitted_model(family, kind):
    X, y, task = problem(kind, rows=400)
    watch = WatchedRows(X[200:], lambda p: goodness(y[200:], p), patience=10)
    fitted = quick(family, X[:200], y[:200], task, rounds=60, watch=watch)
    assert bool(watch.predictions) == (family.name not in ("linear", "forest", "extra_trees"))
    for seen in watch.predictions:
        np.testing.assert_allclose(seen, fitted.predict(X[200:]), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ["lightgbm", "catboost"])
@each_task
def test_a_shortened_model_equals_one_fitted_with_fewer_rounds(name, kind):
    family = FAMILIES[name]
    if not family.installed:
        pytest.skip(f"{name} is not installed")
    X, y, task = problem(kind, rows=300)
    whole, half = (quick(family, X, y, task, rounds=n) for n in (20, 10))
    short = family.shorten(whole, 0.5)
    assert short.iterations == half.iterations == 10
    np.testing.assert_allclose(short.predict(X), half.predict(X), rtol=1e-6)
    assert sum(map(len, short.to_files().values())) < sum(map(len, whole.to_files().values()))
    linear = FAMILIES["linear"].fit(FitRequest(X, y, task, {}, seed=1))
    assert FAMILIES["linear"].shorten(linear, 0.5) is linear


def test_a_networks_importances_are_what_its_scores_lose_without_a_feature():
    X, y, task = problem("binary")
    fitted = quick(FAMILIES["mlp"], X, y, task, rounds=3)
    made = fitted.inputs.transform(X).astype(float)
    (first, bias), *behind = fitted.layers

    def scores(values):
        values = values @ first + bias
        for weights, biases in behind:
            values = np.maximum(values, 0) @ weights + biases
        return values

    changes = []
    for feature in range(X.shape[1]):
        own = fitted.inputs.feature_of_input == feature
        occluded = np.where(own, made.mean(axis=0), made)
        changes.append(np.abs(scores(occluded) - scores(made)).mean())
    np.testing.assert_allclose(fitted.weights, changes, atol=2e-9, rtol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "catboost", "linear"])
def test_a_table_wider_than_long_is_learnt_in_a_moment(name):
    family = FAMILIES[name]
    if not family.installed:
        pytest.skip("not installed")
    rng = np.random.default_rng(2)
    X = rng.normal(size=(120, 1500))
    y = (X[:, 10] + X[:, 20] > 0).astype(int)
    begun = time.process_time()
    fitted = family.fit(FitRequest(X, y, TaskInfo("binary", 2), {}, seed=1, threads=1, rounds=10))
    assert time.process_time() - begun < 4
    assert fitted.predict(X[:3]).shape == (3, 2)
