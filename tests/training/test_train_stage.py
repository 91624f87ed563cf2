"""The train stage: a bundle of the best settings, fitted on train plus validation."""

import json

import numpy as np
import polars as pl
import pytest
from split_projects import make_params, make_splits

from mlops_cli.errors import DataRefused, NotFound
from mlops_cli.metrics.catalog import lookup
from mlops_cli.models import bundle as bundles
from mlops_cli.models.families import FAMILIES
from mlops_cli.params.train import Train
from mlops_cli.reporting import Silent
from mlops_cli.training import train_stage, tune_stage

METRICS = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}


def choose(layout, family, kind, task=None, **tuning):
    """Let tune try a family's defaults."""
    given = {"trials": 1, "families": [family], **tuning}
    tune_stage.run(make_params(task or kind, tune=given), layout, Silent())


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", list(METRICS))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_bundle_loads_and_predicts(tmp_path, kind, family):
    layout = make_splits(tmp_path, kind)
    choose(layout, family, kind)
    train_stage.run(make_params(kind), layout, Silent())
    bundle = bundles.load(layout.fitted)
    frame = pl.read_parquet(layout.split("validation"))
    prediction = bundle.predict(frame)
    assert len(prediction) == len(frame)
    if kind != "regression":
        right = prediction.argmax(axis=1) == bundle.labels.encode(frame["_target"])
        assert right.mean() > 0.85
    assert (bundle.threshold is not None) == (kind == "binary")
    assert bundle.program["rules"] == "opaque"


def test_both_splits_are_learnt_from_and_the_facts_say_so(tmp_path):
    layout = make_splits(tmp_path, "regression")
    choose(layout, "lightgbm", "regression", folds=1)
    train_stage.run(make_params("regression"), layout, Silent())
    rows = {n: len(pl.read_parquet(layout.split(n))) for n in ("train", "validation")}
    facts = bundles.load(layout.fitted).facts
    assert facts["rows"] == rows
    first, last = facts["window"]
    assert first.startswith("1970-01-01T00:00:00")
    assert last > first
    assert facts["validation"]["metric"] == "rmse"
    assert facts["iterations"] == bundles.load(layout.fitted).members[0].iterations
    text = (layout.fitted / "members/0-lightgbm/model.txt").read_text()
    assert f"leaf_count={rows['train']}" not in text
    assert "lightgbm" in facts["versions"]


def test_the_signature_says_what_goes_in_and_out(tmp_path):
    layout = make_splits(tmp_path, "binary")
    params = make_params({"type": "binary", "positive": "0"})
    choose(layout, "linear", "binary", {"type": "binary", "positive": "0"})
    train_stage.run(params, layout, Silent())
    signature = json.loads((layout.fitted / "signature.json").read_text())
    both = pl.concat([pl.read_parquet(layout.split(n)) for n in ("train", "validation")])
    inputs = signature["inputs"]
    assert inputs["f1"]["min"] == both["f1"].min()
    assert inputs["f1"]["max"] == both["f1"].max()
    assert inputs["f0"]["missing"] == pytest.approx(1 / 7, abs=0.01)
    assert sorted(inputs["group"]["categories"]) == ["a", "b", "c"]
    assert inputs["flag"]["kind"] == "boolean"
    assert signature["output"] == {"type": "binary", "classes": ["1", "0"]}


def test_dearer_misses_lower_the_threshold(tmp_path):
    found = []
    for name, cost in (("a", 1.0), ("b", 50.0)):
        layout = make_splits(tmp_path / name, "binary")
        choose(layout, "forest", "binary")
        task = {"type": "binary", "cost": {"false_negative": cost}}
        train_stage.run(make_params(task), layout, Silent())
        found.append(bundles.load(layout.fitted).threshold)
    assert found[1] < found[0]


SEVERAL = {"families": ["linear", "forest", "lightgbm"], "trials": 4}
ROOM = {"ensemble": {"milliseconds": 50.0}}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A search over several families, by kind of task."""
    layouts = {}
    for kind in METRICS:
        layouts[kind] = make_splits(tmp_path_factory.mktemp(kind), kind)
        tune_stage.run(make_params(kind, tune=SEVERAL), layouts[kind], Silent())
    return layouts


def test_the_same_inputs_give_the_same_bytes(searched):
    results = []
    for _ in range(2):
        train_stage.run(make_params("multiclass", train=ROOM), searched["multiclass"], Silent())
        results.append(contents(searched["multiclass"].fitted))
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", list(METRICS))
def test_several_members_have_weights_that_sum_to_one(searched, kind):
    train_stage.run(make_params(kind, train=ROOM), searched[kind], Silent())
    bundle = bundles.load(searched[kind].fitted)
    assert sum(m.weight for m in bundle.members) == pytest.approx(1)
    assert all(m.weight > 0 for m in bundle.members)
    prediction = bundle.predict(pl.read_parquet(searched[kind].split("validation")))
    assert np.isfinite(prediction).all()


@pytest.mark.parametrize("kind", list(METRICS))
def test_together_they_are_no_worse_than_the_best_alone_on_rows_that_did_not_teach(searched, kind):
    found = []
    for ensemble in (False, ROOM["ensemble"]):
        given = {"ensemble": ensemble, "calibrate": False}
        train_stage.run(make_params(kind, train=given), searched[kind], Silent())
        found.append(bundles.load(searched[kind].fitted))
    alone, together = (b.facts["validation"]["score"] for b in found)
    assert lookup(METRICS[kind], kind).gain(together, alone) >= 0
    assert len(found[0].members) == 1


def test_an_ensemble_stays_within_its_bounds(searched):
    layout = searched["multiclass"]
    train_stage.run(make_params("multiclass", train={"ensemble": {"members": 1}}), layout, Silent())
    assert len({m.family for m in bundles.load(layout.fitted).members}) == 1
    small = {"ensemble": {"milliseconds": 50.0, "megabytes": 0.0001}}
    train_stage.run(make_params("multiclass", train=small), layout, Silent())
    assert len(bundles.load(layout.fitted).members) == 1


def test_a_single_model_that_is_too_large_ends_earlier(tmp_path):
    layout = make_splits(tmp_path, "multiclass")
    params = make_params("multiclass", tune={"families": ["lightgbm"], "trials": 1, "folds": 1})
    tune_stage.run(params, layout, Silent())
    sizes = []
    for megabytes in (15.0, 0.05):
        bounds = {"ensemble": {"megabytes": megabytes}}
        train_stage.run(params.model_copy(update={"train": Train(**bounds)}), layout, Silent())
        bundle = bundles.load(layout.fitted)
        (member,) = bundle.members
        assert member.iterations == member.fitted.iterations
        sizes.append(len(member.fitted.to_files()["model.txt"]))
    assert 25_000 < sizes[1] < 60_000 < sizes[0]


def test_a_model_that_learnt_nothing_is_no_worse_than_a_constant(tmp_path):
    layout = make_splits(tmp_path, "regression")
    for name in ("train", "validation"):
        frame = pl.read_parquet(layout.split(name))
        noise = np.random.default_rng(len(frame)).normal(size=len(frame))
        frame.with_columns(_target=pl.Series(noise)).write_parquet(layout.split(name))
    choose(layout, "lightgbm", "regression", spaces={"lightgbm": {"min_leaf": {"choices": [1]}}})
    train_stage.run(make_params("regression"), layout, Silent())
    bundle = bundles.load(layout.fitted)
    assert bundle.calibrator is not None
    y = np.concatenate(
        [pl.read_parquet(layout.split(n))["_target"] for n in ("train", "validation")]
    )
    assert bundle.facts["validation"]["score"] <= y.std() * 1.001


def test_one_class_is_refused_and_nothing_is_written(tmp_path):
    layout = make_splits(tmp_path, "binary")
    choose(layout, "linear", "binary")
    frame = pl.read_parquet(layout.split("train"))
    frame.with_columns(_target=pl.lit("1")).write_parquet(layout.split("train"))
    with pytest.raises(DataRefused, match="target has one class: '1'"):
        train_stage.run(make_params("binary"), layout, Silent())
    assert not layout.fitted.exists()


def test_a_class_only_in_validation_is_refused(tmp_path):
    layout = make_splits(tmp_path, "multiclass")
    choose(layout, "linear", "multiclass")
    frame = pl.read_parquet(layout.split("validation"))
    frame.with_columns(_target=pl.lit("new")).write_parquet(layout.split("validation"))
    with pytest.raises(DataRefused, match="class 'new' is in the validation split"):
        train_stage.run(make_params("multiclass"), layout, Silent())


def test_without_tuning_it_says_what_to_run(tmp_path):
    layout = make_splits(tmp_path, "binary")
    with pytest.raises(NotFound, match=r"best\.json"):
        train_stage.run(make_params("binary"), layout, Silent())


def test_infinite_and_empty_features_do_not_break_the_signature(tmp_path):
    layout = make_splits(tmp_path, "regression")
    choose(layout, "linear", "regression")
    for name in ("train", "validation"):
        frame = pl.read_parquet(layout.split(name))
        frame.with_columns(f1=pl.lit(np.inf), f2=pl.lit(None, pl.Float64)).write_parquet(
            layout.split(name)
        )
    train_stage.run(make_params("regression"), layout, Silent())
    inputs = bundles.load(layout.fitted).signature["inputs"]
    assert inputs["f1"]["min"] is None
    assert inputs["f2"]["missing"] == 1.0


def test_fold_models_of_tune_are_reused_or_fitted_identically(tmp_path):
    layout = make_splits(tmp_path, "binary")
    params = make_params("binary", tune={"families": ["mlp"], "trials": 2, "folds": 3})
    tune_stage.run(params, layout, Silent())
    train_stage.run(params, layout, Silent())
    fits, taken = layout.tuning / "fits", contents(layout.fitted)
    assert len(bundles.load(layout.fitted).members) % 3 == 0
    assert {path.name for path in fits.glob("*/*")} == {"0", "1", "2"}
    fits.rename(layout.tuning / "elsewhere")
    train_stage.run(params, layout, Silent())
    assert contents(layout.fitted) == taken


@pytest.mark.parametrize(
    ("rows", "models"), [({"low": 0.7, "high": 0.8}, 2), ({"choices": [1.0]}, 1)]
)
def test_boosting_is_fitted_on_all_rows_by_two_seeds_where_they_matter(tmp_path, rows, models):
    layout = make_splits(tmp_path, "regression")
    asked = {
        "families": ["lightgbm"],
        "trials": 1,
        "folds": 3,
        "spaces": {"lightgbm": {"rows": rows}},
    }
    params = make_params("regression", tune=asked)
    tune_stage.run(params, layout, Silent())
    train_stage.run(params, layout, Silent())
    members = bundles.load(layout.fitted).members
    assert [m.weight for m in members] == pytest.approx([1 / models] * models)
    assert not (layout.tuning / "fits").exists()
