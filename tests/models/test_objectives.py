"""Objectives, monotone features and weights: refusals, and what families get."""

import numpy as np
import polars as pl
import pytest

from mlops_cli.errors import BadParams, DataRefused
from mlops_cli.models.encoder import Encoder
from mlops_cli.models.families import FAMILIES, TaskInfo, choose_families
from mlops_cli.models.objectives import check_target, fit_weights, search_metric, task_info
from mlops_cli.params.train import Train

ENCODER = Encoder({"price": "number", "shop": "category"}, {"shop": ("a",)})


def test_monotone_features_become_signs_in_the_matrix_order():
    task = task_info("binary", 2, Train(monotone={"price": -1}), ENCODER)
    assert task.monotone == (-1, 0)
    assert task.categorical == (1,)
    assert task_info("binary", 2, Train(), ENCODER).monotone == ()


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("binary", {"objective": "poisson"}, "the task is binary"),
        ("multiclass", {"monotone": {"price": 1}}, "the task is multiclass"),
        ("binary", {"monotone": {"prise": 1}}, "'prise', which is not a feature"),
        ("binary", {"monotone": {"shop": 1}}, "'shop', which is a category"),
    ],
)
def test_what_doesnt_fit_the_task_is_refused(kind, given, words):
    with pytest.raises(BadParams, match=words):
        task_info(kind, 2, Train(**given), ENCODER)


def test_the_search_goes_by_the_objectives_own_loss():
    assert search_metric("regression", "quantile:0.9") == "pinball_90"
    assert search_metric("regression", "poisson") == "poisson_deviance"
    assert search_metric("binary", "squared") == "roc_auc"


def test_a_negative_count_is_refused():
    with pytest.raises(DataRefused, match="-1 in a row of the train split"):
        check_target(np.array([1.0, -1.0]), "poisson", "the train split")
    check_target(np.array([1.0, -1.0]), "squared", "the train split")


def test_weights_are_1_on_average_and_bad_ones_are_refused():
    frame = pl.DataFrame({"w": [1, 3], "bad": [1.0, -1.0]})
    assert fit_weights(frame, "w").tolist() == [0.5, 1.5]
    assert fit_weights(frame, None) is None
    with pytest.raises(BadParams, match="'v', which is no column"):
        fit_weights(frame, "v")
    with pytest.raises(DataRefused, match=r"negative.*train\.weight"):
        fit_weights(frame, "bad")


def test_families_that_cant_learn_this_are_left_out_with_a_note():
    able, notes = choose_families(None, TaskInfo("regression", 0, (), "quantile:0.9"))
    assert "linear" not in able
    assert "lightgbm" in able
    assert "linear is left out: it has no objective quantile:0.9" in notes
    able, notes = choose_families(["linear", "lightgbm"], TaskInfo("binary", 2, (), monotone=(1,)))
    assert list(able) == ["lightgbm"]
    assert notes == ["linear is left out: it takes no monotone constraints"]
    with pytest.raises(BadParams, match="none of the families can learn this"):
        choose_families(["forest"], TaskInfo("regression", 0, (), "absolute"))


def test_a_family_that_isnt_installed_is_left_out_unless_it_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    able, _ = choose_families(None, TaskInfo("binary", 2))
    assert set(able) == {f.name for f in FAMILIES.values() if f.package is None}
    with pytest.raises(BadParams, match="'catboost', and the package catboost is not installed"):
        choose_families(["catboost"], TaskInfo("binary", 2))
