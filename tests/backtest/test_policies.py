"""Policies on given results: which model is used when, costs, and the cheapest policy."""

import datetime as dt
from itertools import pairwise

import pytest

from mlops_cli.backtest.costs import compare_costs
from mlops_cli.backtest.html_report import page
from mlops_cli.backtest.policies import (
    ChampionContest,
    Period,
    PeriodScore,
    TrainedModel,
    policy_of,
    simulate,
)
from mlops_cli.errors import Usage

MONTHS = [dt.datetime(2024, month, 1, tzinfo=dt.UTC) for month in range(1, 8)]
STEPS = [Period(a, b) for a, b in pairwise(MONTHS)]


class World:
    """A model errs 10 a period, and 50 from the change in March on, unless it was trained later."""

    def __init__(self, change=2, refuses=(), fails=()):
        self.change, self.refuses, self.fails = change, refuses, fails
        self.asked = []

    def model(self, step):
        """Training comes to what was said."""
        self.asked.append(("model", step))
        return (
            TrainedModel("failed", "cut off")
            if step in self.fails
            else TrainedModel("approved", "", 100 + step)
        )

    def score(self, model, step):
        """Drift in February, and worse after the change."""
        self.asked.append(("score", model, step))
        bad = step >= self.change > model
        error = 50.0 if bad else 10.0
        day = STEPS[step].start.date().isoformat()
        found = ("degraded",) if bad else ("drift",) if step == 1 else ()
        figure = {"value": 0.5 if bad else 0.9, "low": 0.4, "high": 0.95}
        return PeriodScore(100, 90, 80, figure, error, {day: error}, found, bad)

    def contest(self, candidate, champion):
        """As was said."""
        return ChampionContest(candidate not in self.refuses, "no better")


class Unknowing(World):
    """Nothing is known yet."""

    def model(self, step):
        """Asked for."""
        super().model(step)

    def score(self, model, step):
        """Asked for."""
        super().score(model, step)


def course(name, world=None):
    return simulate(policy_of(name), STEPS, world or World())


def test_each_policy_trains_when_it_says() -> None:
    trained = {
        name: [r.step for r in course(name).outcomes if r.training_reason]
        for name in ("never", "monthly", "2mo", "drift", "performance", "drift+performance")
    }
    assert trained == {
        "never": [],
        "monthly": [1, 2, 3, 4, 5],
        "2mo": [2, 4],
        "drift": [2],  # found in February, acted on in March
        "performance": [3],  # seen at the end of March
        "drift+performance": [2],
    }


def test_a_new_model_serves_from_its_training_on() -> None:
    found = course("performance")
    assert [r.model for r in found.outcomes] == [0, 0, 0, 3, 3, 3]
    assert (found.total_error, found.trainings, found.deployments) == (100.0, 1, 1)
    assert found.outcomes[3].error_saved == 40.0
    assert found.outcomes[3].training_reason == "degraded"


def test_alarms_are_judged_by_what_happened() -> None:
    assert course("performance").count_alarms() == {"true": 1, "false": 0, "missed": 0}
    assert course("drift").count_alarms() == {"true": 0, "false": 1, "missed": 0}
    assert course("drift", World(refuses={2})).count_alarms() == {
        "true": 0,
        "false": 1,
        "missed": 4,
    }


def test_a_model_that_is_refused_or_fails_changes_nothing_and_is_tried_again() -> None:
    found = course("performance", World(refuses={3}, fails={4}))
    assert [r.outcome for r in found.outcomes] == ["", "", "", "refused", "failed", "deployed"]
    assert [r.model for r in found.outcomes] == [0, 0, 0, 0, 0, 5]
    assert (found.trainings, found.deployments) == (3, 1)
    assert found.outcomes[4].detail == "cut off"


def test_with_too_few_new_rows_nothing_is_trained() -> None:
    found = simulate(policy_of("monthly"), STEPS, World(), min_rows=2)
    assert {r.outcome for r in found.outcomes[1:]} == {"too few rows"}
    assert found.trainings == 0


def test_trainings_that_are_certain_to_be_needed_are_requested_at_once() -> None:
    world = Unknowing()
    assert simulate(policy_of("monthly"), STEPS, world) is None
    assert {a for a in world.asked if a[0] == "model"} == {("model", i) for i in range(6)}


def test_the_best_policy_follows_from_the_prices() -> None:
    courses = [course(name) for name in ("never", "monthly", "performance")]
    free = compare_costs(courses, STEPS, error_cost=1, retrain_cost=0)
    dear = compare_costs(courses, STEPS, error_cost=1, retrain_cost=1000)
    assert (free["best"], dear["best"]) == ("monthly", "never")
    assert [(e["from"], e["to"], e["policy"]) for e in free["best_by_retrain_cost"]] == [
        (0, 10, "monthly"),
        (10, 120, "performance"),
        (120, None, "never"),
    ]
    never = free["policies"][0]
    assert never["cost"] == {"errors": 220.0, "training": 0.0, "total": 220.0}
    over = never["over_best"]
    assert over["low"] < over["value"] == 160.0 < over["high"]
    assert "over_best" not in free["policies"][1]


def test_where_nothing_changes_and_training_costs_never_is_best() -> None:
    courses = [course(name, World(change=99)) for name in ("monthly", "performance", "never")]
    found = compare_costs(courses, STEPS, error_cost=1, retrain_cost=1)
    # Performance trains as little, and comes first.
    assert found["best"] == "performance"
    assert compare_costs(courses[::2], STEPS, error_cost=1, retrain_cost=1)["best"] == "never"


def test_on_the_page_no_name_or_finding_becomes_markup() -> None:
    evil = "<svg onload=x>&'\""
    courses = [course("never"), course("drift+performance")]
    report = compare_costs(courses, STEPS, error_cost=1, retrain_cost=1)
    for policy in report["policies"]:
        policy["name"] += evil
        policy["rounds"][1] |= {"findings": [evil], "found": [evil], "detail": evil}
    report |= {"best": report["best"] + evil, "metric": evil, "project": evil, "notes": [evil]}
    report |= {"from": evil, "to": evil, "every": evil, "label_delay": evil}
    text = page(report | {"error_cost": 1.0, "retrain_cost": 1.0, "search_trials": 0})
    assert text.count("<svg") == 2
    assert text.count("&lt;svg onload=x&gt;&amp;&#39;&#34;") > 20


@pytest.mark.parametrize("name", ["often", "never+drift", "1", "drift+", ""])
def test_what_is_no_policy_is_refused(name) -> None:
    with pytest.raises(Usage, match="is no policy"):
        policy_of(name)
