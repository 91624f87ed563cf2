"""The time budget: folds and rows by size, and time reserved for the last fits."""

import math
import time

import pytest

from mlops_cli.training.search.trials import Trial
from mlops_cli.training.time_budget import Budget, SearchPlan, SearchShape, plan

SMALL, LARGE = SearchShape(800, 200, 10), SearchShape(300_000, 60_000, 20)


def planned(shape, **given):
    asked = {"ordered": False, "folds": None, "rows": 50_000, "seconds": None, "cores": 2}
    return plan(shape, **(asked | given))


def test_few_rows_are_cross_validated_and_many_are_not():
    assert planned(SMALL).folds == 5
    assert planned(SearchShape(8_000, 2_000, 10)).folds == 5
    assert planned(LARGE) == SearchPlan(1, 50_000)


def test_splits_in_time_are_judged_by_the_later_one():
    assert planned(SMALL, ordered=True) == SearchPlan(1, 800)


def test_explicit_numbers_of_folds_and_rows_are_used():
    assert planned(LARGE, folds=3).folds == 3
    assert planned(SMALL, folds=1) == SearchPlan(1, 800)
    assert planned(SMALL, rows=100) == SearchPlan(1, 100)


def test_little_time_means_fewer_folds_and_rows():
    wide = SearchShape(4_000, 1_000, 300)
    assert planned(wide, seconds=600).folds == 5
    assert planned(wide, seconds=5).folds == 1
    assert planned(LARGE, seconds=5).rows < planned(LARGE, seconds=60).rows <= 50_000


def test_few_rows_are_cross_validated_however_short_the_time():
    classes = {"columns": 60, "outputs": 50}
    assert planned(SearchShape(800, 200, **classes), seconds=5).folds == 3
    assert planned(SearchShape(2_400, 600, **classes), seconds=5).folds == 1
    assert planned(SearchShape(800, 200, **classes), seconds=5, ordered=True).folds == 1
    assert planned(SearchShape(800, 200, **classes), seconds=5, rows=500) == SearchPlan(1, 500)


def test_time_for_the_last_fits_is_reserved():
    trials = [Trial(i, "lightgbm", {}, "complete", 1.0, seconds=2.0) for i in range(9)]
    crossed = Budget(100.0, SMALL, SearchPlan(8, 875))
    assert 3.0 < crossed.reserve(trials) < 5.0
    kept = Budget(100.0, SMALL, SearchPlan(8, 875), frozenset({"lightgbm"}))
    assert kept.reserve(trials) < 3.0
    large = Budget(100.0, LARGE, SearchPlan(1, 50_000))
    # More rows take longer, but not in proportion: 13 ms a round become 61 and 73.
    assert large.reserve(trials) > 2.0 * (5 + 6)
    assert Budget(10.0, LARGE, SearchPlan(1, 50_000)).reserve(trials) == 5.0
    assert Budget(math.inf, SMALL, SearchPlan(8, 875)).reserve(trials) == 0.0


def test_time_is_kept_for_the_best_of_another_family_than_the_first():
    kept = Budget(100.0, SMALL, SearchPlan(8, 875), frozenset({"mlp"}))
    trials = [Trial(i, "mlp", {}, "complete", 1.0, seconds=9.0) for i in range(5)]
    assert kept.reserve(trials) == 2.0
    other = Trial(5, "lightgbm", {}, "complete", 0.9, seconds=9.0)
    assert kept.reserve([*trials, other]) == kept.reserve([other]) > 3.0


def test_so_many_models_are_fitted_as_there_is_time_for():
    budget = Budget(10.0, SMALL, SearchPlan(8, 875))
    one = ("lightgbm", 2.0 / budget.final_fit_factor("lightgbm"))
    assert budget.affordable_fits([one] * 5) == 3
    assert budget.affordable_fits([("lightgbm", 100.0), one]) == 1


def test_kept_models_are_there_however_late_it_is():
    late = Budget(
        10.0, SMALL, SearchPlan(8, 875), frozenset({"mlp"}), start_time=time.monotonic() - 20.0
    )
    assert late.affordable_fits([("linear", 0.1), ("mlp", 5.0), ("lightgbm", 5.0)]) == 2


def test_a_library_starts_once_and_only_for_what_is_fitted():
    starting = {"scikit-learn": 1.5}
    budget = Budget(10.0, SMALL, SearchPlan(8, 875), frozenset({"mlp"}), starting)
    trials = [("mlp", 1.0), ("linear", 0.0), ("extra_trees", 0.0), ("lightgbm", 0.0)]
    assert budget.final_fit_seconds(trials) == [0.0, 1.5, 0.0, 0.0]


def test_a_fit_on_all_rows_gets_what_time_there_is():
    budget = Budget(20.0, LARGE, SearchPlan(1, 50_000))
    assert budget.refits_finalists
    enough, short = budget.finalist_time_limit(1.0, []), budget.finalist_time_limit(2.0, [])
    assert enough is not None
    assert enough == pytest.approx(short, rel=0.01)
    assert 6 < enough < 9
    assert budget.finalist_time_limit(1.0, [10.0]) is None
    assert budget.finalist_time_limit(20.0, []) is None
