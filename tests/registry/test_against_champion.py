"""Comparison of a candidate with the champion on the same test rows."""

from dataclasses import replace

import pytest
from trained_projects import make_params, make_table, train_project

from mlops_cli.errors import BadParams
from mlops_cli.layout import TIME
from mlops_cli.models import bundle
from mlops_cli.registry.champion import compare_to_champion
from mlops_cli.registry.gates import GateResult

GATE = {"metric": "log_loss", "margin": 0.02}


def gate(task, **settings):
    return make_params(task, register={"name": "model", "champion": {**GATE, **settings}})


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def two(request, tmp_path_factory):
    """A layout whose model was fitted long, and a bundle that was hardly fitted."""
    task = request.param
    good = train_project(tmp_path_factory.mktemp("good"), task, rounds=60)
    poor = train_project(tmp_path_factory.mktemp("poor"), task, rounds=1)
    for layout in (good, poor):
        bundle.save(bundle.load(layout.fitted), layout.model)
    return task, good, poor


def metric(task):
    return "rmse" if task == "regression" else "log_loss"


def test_a_model_is_not_worse_than_itself(two):
    task, good, _ = two
    (verdict,) = compare_to_champion(gate(task, metric=metric(task), margin=0.0), good, good.model)
    assert verdict == GateResult("champion", 0.0, -0.0, passed=True, reason=verdict.reason)


def test_a_poor_candidate_is_refused_overall_and_by_slice(two):
    task, good, poor = two
    settings = gate(task, metric=metric(task), slices=["site"], slice_margin=0.01)
    overall, *by_slice = compare_to_champion(settings, poor, good.model)
    assert not overall.passed
    assert overall.figure < -0.02
    assert {v.name for v in by_slice} == {"champion.site"}
    assert not all(v.passed for v in by_slice)
    assert "where site is" in " ".join(v.reason for v in by_slice)


def test_a_better_candidate_passes(two):
    task, good, poor = two
    (verdict,) = compare_to_champion(gate(task, metric=metric(task)), good, poor.model)
    assert verdict.passed
    assert verdict.figure > 0


def test_a_margin_says_how_much_worse_is_accepted(two):
    task, good, poor = two
    (verdict,) = compare_to_champion(gate(task, metric=metric(task), margin=1e6), poor, good.model)
    assert verdict.passed


def test_without_the_gate_nobody_is_compared(two):
    task, good, _ = two
    assert compare_to_champion(make_params(task), good, good.model) == ()


def test_a_slice_column_that_is_not_there_is_named(two):
    task, good, poor = two
    with pytest.raises(BadParams, match=r"register.champion.slices names 'sight'"):
        compare_to_champion(gate(task, metric=metric(task), slices=["sight"]), good, poor.model)


def test_a_champion_over_other_classes_cannot_be_compared(tmp_path):
    one = train_project(tmp_path / "one", "binary")
    bundle.save(bundle.load(one.fitted), one.model)
    other = train_project(tmp_path / "other", "multiclass")
    (verdict,) = compare_to_champion(gate("binary"), one, other.fitted)
    assert not verdict.passed
    assert "no comparison" in verdict.reason


def test_a_champion_that_lacks_a_source_is_refused_with_the_reason(tmp_path):
    one = train_project(tmp_path / "one", "binary")
    loaded = bundle.load(one.fitted)
    bundle.save(loaded, one.model)
    rules = {**loaded.program["rules"], "base": "elsewhere"}
    bundle.save(replace(loaded, program={**loaded.program, "rules": rules}), tmp_path / "other")
    (verdict,) = compare_to_champion(gate("binary"), one, tmp_path / "other")
    assert not verdict.passed
    assert "cannot score these rows" in verdict.reason


def test_a_champion_is_not_judged_on_rows_that_it_has_learnt_from(two, tmp_path):
    """The clock went back: the champion has learnt from most of the candidate's test rows."""
    task, good, poor = two
    learnt = bundle.load(good.model)
    window = [*learnt.facts["window"][:1], make_table(task)[TIME][-6].isoformat()]
    bundle.save(replace(learnt, facts={**learnt.facts, "window": window}), tmp_path / "later")
    (verdict,) = compare_to_champion(
        gate(task, metric=metric(task), margin=1e6), poor, tmp_path / "later"
    )
    assert not verdict.passed
    assert verdict.figure is None
    assert verdict.reason.startswith("5 test rows are left to judge by, which are too few; ")
    assert "where the rows end that the champion has learnt from" in verdict.reason


def test_the_test_rows_that_the_champion_has_not_learnt_from_are_enough(two, tmp_path):
    task, good, poor = two
    learnt = bundle.load(poor.model)
    window = [*learnt.facts["window"][:1], make_table(task)[TIME][-40].isoformat()]
    bundle.save(replace(learnt, facts={**learnt.facts, "window": window}), tmp_path / "later")
    verdict, *_ = compare_to_champion(
        gate(task, metric=metric(task), margin=1e6), good, tmp_path / "later"
    )
    assert verdict.passed
    rows = len(make_table(task)) - len(make_table(task)) * 7 // 10
    assert f"; {rows - 39} of {rows} test rows are left out: not later than " in verdict.reason
