"""The leading trial, and the fold models that are kept."""

import numpy as np
import pytest

from mlops_cli.metrics.catalog import lookup
from mlops_cli.models.families import FAMILIES
from mlops_cli.params.train import Ensemble
from mlops_cli.training.cv_scorer import CvScorer
from mlops_cli.training.model_selection import (
    CandidateModel,
    is_bagged,
    rank_candidates,
    seed_copies,
    select_ensemble,
    standard_error,
)
from mlops_cli.training.search.trials import Trial
from mlops_cli.training.time_budget import SearchPlan

ROWS = 2_000
RNG = np.random.default_rng(0)
Y = RNG.normal(size=ROWS)
NOISE = RNG.normal(size=ROWS)
JUDGE = CvScorer(lookup("rmse", "regression"), Y, (slice(None),))


def contender(number, spread, family="lightgbm", rounds=100, noise=NOISE):
    prediction = (Y + noise * spread).astype(np.float32)
    score = JUDGE(prediction.astype(float))
    trial = Trial(number, family, {"max_leaves": 32}, "complete", score, rounds)
    return CandidateModel(trial, prediction, 1.0)


def order(contenders, *, prefer_simplest):
    found = rank_candidates(contenders, JUDGE, seed=0, prefer_simplest=prefer_simplest)
    return [c.trial.number for c in found]


def test_the_best_leads():
    contenders = [contender(0, 1.0), contender(1, 0.5), contender(2, 0.7)]
    assert order(contenders, prefer_simplest=False) == [1, 2, 0]


def test_the_simplest_of_those_as_good_as_the_best_leads():
    best = contender(0, 0.500, rounds=400)
    as_good = contender(1, 0.502, rounds=40)
    as_good_and_larger = contender(2, 0.502, rounds=80)
    worse = contender(3, 0.7, family="linear", rounds=None)
    found = order([best, as_good, as_good_and_larger, worse], prefer_simplest=True)
    assert found[0] == 1
    assert sorted(found) == [0, 1, 2, 3]


def test_the_standard_error_is_that_of_the_metric():
    values = np.abs(RNG.normal(size=ROWS))
    mae = CvScorer(lookup("mae", "regression"), np.zeros(ROWS), (slice(None),))
    found = standard_error(mae, values, seed=1)
    assert found == pytest.approx(values.std() / np.sqrt(ROWS), rel=0.25)
    assert found == standard_error(mae, values, seed=1)


def test_after_a_cross_validation_a_member_is_several_models_by_its_family():
    folds, one = SearchPlan(8, 100), SearchPlan(1, 100)
    assert is_bagged("mlp", folds, Ensemble())
    assert seed_copies("lightgbm", folds, Ensemble()) == 2
    assert seed_copies("linear", folds, Ensemble()) == 1
    for family in ("mlp", "lightgbm"):
        assert seed_copies(family, folds, False) == seed_copies(family, one, Ensemble()) == 1
        assert not is_bagged(family, one, Ensemble())


def test_members_are_bounded_by_time_and_number():
    contenders = [contender(i, 0.6, noise=RNG.normal(size=ROWS)) for i in range(6)]
    predictions = [c.prediction for c in contenders]

    def members(bounds, most=None, family="lightgbm"):
        return select_ensemble(
            [family] * 6, predictions, JUDGE, SearchPlan(8, 100), bounds, most, seed=0
        )

    assert members(False) == {0: 1.0}
    assert len(members(Ensemble(members=3, milliseconds=100.0))) == 3
    assert len(members(Ensemble(members=6, milliseconds=100.0), most=2)) == 2
    for family, models in (("lightgbm", 2), ("mlp", 8), ("linear", 1)):
        one = models * FAMILIES[family].milliseconds
        assert len(members(Ensemble(members=6, milliseconds=2.5 * one), family=family)) == 2


@pytest.mark.parametrize("bounds", [False, Ensemble()])
def test_the_linear_model_is_taken_where_no_other_can_be_told_from_it(bounds):
    noise, own = RNG.normal(size=ROWS), RNG.normal(size=ROWS)

    def members(*spreads, linear=0.5):
        parts = [(Y + noise * s + own * 0.01).astype(np.float32) for s in spreads]
        parts.append((Y + noise * linear).astype(np.float32))
        families = ["lightgbm"] * len(spreads) + ["linear"]
        return select_ensemble(families, parts, JUDGE, SearchPlan(8, 100), bounds, seed=0)

    assert members(0.4) == {0: 1.0}, "it is clearly better"
    assert members(0.5) == {1: 1.0}
    assert members(0.51, 0.52) == {2: 1.0}


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_where_all_are_perfect_the_model_is_linear(kind):
    classes = 2 if kind == "binary" else 3
    y = np.arange(60) % classes
    sure = np.eye(classes, dtype=np.float32)[y]
    metric = lookup("roc_auc" if kind == "binary" else "accuracy", kind)
    scorer = CvScorer(metric, y, (slice(0, 30), slice(30, 60)))
    families = ["lightgbm", "linear", "catboost"]
    assert select_ensemble(families, [sure] * 3, scorer, SearchPlan(2, 30), Ensemble(), seed=0) == {
        1: 1.0
    }
    trials = [Trial(i, f, {"max_leaves": 32}, "complete", 1.0, 10) for i, f in enumerate(families)]
    found = rank_candidates(
        [CandidateModel(t, sure, 1.0) for t in trials], scorer, seed=0, prefer_simplest=False
    )
    assert [c.trial.family for c in found] == ["linear", "lightgbm", "catboost"]
