"""Policies side by side: what each would have cost, and which is best at which price."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlops_cli.backtest.policies import Period, PeriodOutcome, PolicyRun

__all__ = ["compare_costs"]

_Z = 1.96
"""Standard errors to either side: an interval of 95%."""


def compare_costs(
    courses: Sequence[PolicyRun],
    steps: Sequence[Period],
    *,
    error_cost: float,
    retrain_cost: float,
) -> dict[str, Any]:
    """Give plain figures of every policy, ordered as they came, and which costs least.

    The interval of the difference to the best one treats days as independent, not rows: those of
    one day have much in common.
    """
    costs = {c.policy.name: _cost(c, error_cost, retrain_cost) for c in courses}
    order = [c.policy.name for c in courses]
    # Of equally cheap ones the one that trains least, then the one named first.
    trained = {c.policy.name: c.trained for c in courses}
    best = min(order, key=lambda n: (costs[n]["total"], trained[n], order.index(n)))
    days = {c.policy.name: _by_day(c) for c in courses}
    policies = []
    for course in courses:
        name = course.policy.name
        rounds = [_round(r, course, steps) for r in course.rounds]
        entry: dict[str, Any] = {
            "name": name,
            "metric": _mean_metric(course),
            "cost": costs[name],
            "trained": course.trained,
            "deployed": course.deployed,
            "rows": sum(r.score.labelled for r in course.rounds),
            "alarms": course.alarms() if course.policy.watches else None,
            "rounds": rounds,
        }
        if name != best:
            fixed = retrain_cost * (course.trained - trained[best])
            entry["over_best"] = _difference(days[name], days[best], error_cost, fixed)
        policies.append(entry)
    return {
        "best": best,
        "best_by_retrain_cost": _best_by_price(courses, error_cost),
        "policies": policies,
    }


def _cost(course: PolicyRun, error_cost: float, retrain_cost: float) -> dict[str, float]:
    errors, training = error_cost * course.error, retrain_cost * course.trained
    parts = {"errors": errors, "training": training, "total": errors + training}
    return {name: _rounded(value) for name, value in parts.items()}


def _mean_metric(course: PolicyRun) -> float | None:
    """Mean over periods, each by its labelled rows."""
    told = [(r.score.metric["value"], r.score.labelled) for r in course.rounds if r.score.metric]
    rows = sum(n for _, n in told)
    return _rounded(sum(v * n for v, n in told) / rows) if rows else None


def _by_day(course: PolicyRun) -> dict[str, float]:
    found: dict[str, float] = {}
    for r in course.rounds:
        for day, value in r.score.by_day.items():
            found[day] = found.get(day, 0.0) + value
    return found


def _difference(
    ours: Mapping[str, float], best: Mapping[str, float], error_cost: float, fixed: float
) -> dict[str, float]:
    days = sorted(ours)
    gaps = error_cost * np.array([ours[d] - best.get(d, 0.0) for d in days])
    value = float(gaps.sum()) + fixed
    spread = float(gaps.std(ddof=1)) * math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    half = _Z * spread
    return {
        k: _rounded(v) for k, v in (("value", value), ("low", value - half), ("high", value + half))
    }


def _best_by_price(courses: Sequence[PolicyRun], error_cost: float) -> list[dict[str, Any]]:
    """Which policy is best at which price of a training: the lower envelope of lines.

    Costs are ``errors + price * trained``, so each policy is a straight line over the price.
    """
    lines = {c.policy.name: (error_cost * c.error, c.trained) for c in courses}
    order = list(lines)
    price, found = 0.0, []
    now = min(order, key=lambda n: (*lines[n], order.index(n)))
    while True:
        errors, slope = lines[now]
        # The next line to cross from above has a smaller slope.
        crossings = [
            ((e - errors) / (slope - s), s, order.index(name), name)
            for name, (e, s) in lines.items()
            if s < slope
        ]
        if not crossings:
            found.append({"from": _rounded(price), "to": None, "policy": now})
            return found
        at, *_, nearest = min(crossings)
        found.append({"from": _rounded(price), "to": _rounded(at), "policy": now})
        price, now = at, nearest


def _round(found: PeriodOutcome, course: PolicyRun, steps: Sequence[Period]) -> dict[str, Any]:
    score, step, model = found.score, steps[found.step], steps[found.model]
    return {
        "from": _iso(step.start),
        "to": _iso(step.end),
        "model_of": _iso(model.start),
        "rows": score.rows,
        "labelled": score.labelled,
        "labels_in_time": score.arrived,
        "metric": score.metric or None,
        "error": score.error,
        "found": list(score.found),
        "alarm": bool(course.policy.watches & {*score.found}),
        "degraded": score.degraded,
        "findings": list(score.findings),
        "trained_because": found.why or None,
        "outcome": found.outcome or None,
        "detail": found.detail or None,
        "error_saved": None if found.saved is None else _rounded(found.saved),
    }


def _iso(moment: Any) -> str:
    return str(moment.isoformat().replace("+00:00", "Z"))


def _rounded(value: float) -> float:
    return round(value, 6) + 0.0
