"""Cost comparison of retraining policies, and the best policy by the price of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from mlops_cli.backtest.policies import Period, PeriodOutcome, PolicyRun

__all__ = ["compare_costs", "costs_so_far"]

_Z = 1.96
"""Half width of a 95% interval, in standard errors."""


def compare_costs(
    runs: Sequence[PolicyRun],
    steps: Sequence[Period],
    *,
    error_cost: float,
    retrain_cost: float,
) -> dict[str, Any]:
    """Compare costs of all policies, in their order, and find the one that costs least.

    The interval of the difference to the best policy treats days, not rows, as independent: rows
    of a day have much in common.
    """
    costs = {c.policy.name: _cost(c, error_cost, retrain_cost) for c in runs}
    names = [c.policy.name for c in runs]
    # Among equally cheap policies, the one that trains least, then the first one.
    trainings = {c.policy.name: c.trainings for c in runs}
    best = min(names, key=lambda n: (costs[n]["total"], trainings[n], names.index(n)))
    errors_by_day = {c.policy.name: _errors_by_day(c) for c in runs}
    policies = []
    for run in runs:
        name = run.policy.name
        periods = [_report_period(r, run, steps) for r in run.outcomes]
        entry: dict[str, Any] = {
            "name": name,
            "metric": _mean_metric(run),
            "cost": costs[name],
            "trained": run.trainings,
            "deployed": run.deployments,
            "rows": sum(r.score.labelled for r in run.outcomes),
            "alarms": run.count_alarms() if run.policy.triggers else None,
            "rounds": periods,
        }
        if name != best:
            training_cost = retrain_cost * (run.trainings - trainings[best])
            entry["over_best"] = _difference(
                errors_by_day[name], errors_by_day[best], error_cost, training_cost
            )
        policies.append(entry)
    return {
        "best": best,
        "best_by_retrain_cost": _best_by_price(runs, error_cost),
        "policies": policies,
    }


def costs_so_far(report: Mapping[str, Any], policy: Mapping[str, Any]) -> list[float]:
    """Sum up what a policy of a report has cost up to the end of each period."""
    return list(
        accumulate(
            report["error_cost"] * r["error"]
            + report["retrain_cost"] * (r["outcome"] not in {None, "too few rows"})
            for r in policy["rounds"]
        )
    )


def _cost(run: PolicyRun, error_cost: float, retrain_cost: float) -> dict[str, float]:
    errors, training = error_cost * run.total_error, retrain_cost * run.trainings
    parts = {"errors": errors, "training": training, "total": errors + training}
    return {name: _round(value) for name, value in parts.items()}


def _mean_metric(run: PolicyRun) -> float | None:
    """Compute the mean metric over periods, weighted by their labelled rows."""
    values = [(r.score.metric["value"], r.score.labelled) for r in run.outcomes if r.score.metric]
    rows = sum(n for _, n in values)
    return _round(sum(v * n for v, n in values) / rows) if rows else None


def _errors_by_day(run: PolicyRun) -> dict[str, float]:
    errors: dict[str, float] = {}
    for r in run.outcomes:
        for day, value in r.score.by_day.items():
            errors[day] = errors.get(day, 0.0) + value
    return errors


def _difference(
    ours: Mapping[str, float], best: Mapping[str, float], error_cost: float, training_cost: float
) -> dict[str, float]:
    days = sorted(ours)
    gaps = error_cost * np.array([ours[d] - best.get(d, 0.0) for d in days])
    value = float(gaps.sum()) + training_cost
    spread = float(gaps.std(ddof=1)) * math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    half_width = _Z * spread
    return {
        k: _round(v)
        for k, v in (("value", value), ("low", value - half_width), ("high", value + half_width))
    }


def _best_by_price(runs: Sequence[PolicyRun], error_cost: float) -> list[dict[str, Any]]:
    """Find the best policy for each price of a training: the lower envelope of lines.

    Costs are ``errors + price * trained``, so each policy is a straight line over the price.
    """
    lines = {c.policy.name: (error_cost * c.total_error, c.trainings) for c in runs}
    names = list(lines)
    price, ranges = 0.0, []
    best = min(names, key=lambda n: (*lines[n], names.index(n)))
    while True:
        errors, slope = lines[best]
        # The next line that becomes the lowest has a smaller slope.
        crossings = [
            ((e - errors) / (slope - s), s, names.index(name), name)
            for name, (e, s) in lines.items()
            if s < slope
        ]
        if not crossings:
            ranges.append({"from": _round(price), "to": None, "policy": best})
            return ranges
        crossing, *_, next_best = min(crossings)
        ranges.append({"from": _round(price), "to": _round(crossing), "policy": best})
        price, best = crossing, next_best


def _report_period(
    outcome: PeriodOutcome, run: PolicyRun, steps: Sequence[Period]
) -> dict[str, Any]:
    score, step, model = outcome.score, steps[outcome.step], steps[outcome.model]
    return {
        "from": _format_iso(step.start),
        "to": _format_iso(step.end),
        "model_of": _format_iso(model.start),
        "rows": score.rows,
        "labelled": score.labelled,
        "labels_in_time": score.arrived,
        "metric": score.metric or None,
        "error": score.error,
        "found": list(score.found),
        "alarm": bool(run.policy.triggers & {*score.found}),
        "degraded": score.degraded,
        "findings": list(score.findings),
        "trained_because": outcome.training_reason or None,
        "outcome": outcome.outcome or None,
        "detail": outcome.detail or None,
        "error_saved": None if outcome.error_saved is None else _round(outcome.error_saved),
    }


def _format_iso(moment: Any) -> str:
    return str(moment.isoformat().replace("+00:00", "Z"))


def _round(value: float) -> float:
    return round(value, 6) + 0.0
