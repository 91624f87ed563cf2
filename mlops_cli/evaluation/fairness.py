"""Group fairness: rates by group, and the largest gaps between groups.

Demographic parity: a decision is equally frequent in all groups. Equalised odds (M. Hardt, E.
Price and N. Srebro, "Equality of Opportunity in Supervised Learning", 2016): it is so among rows
with the same label. Names and aggregates (largest difference, smallest ratio) are fairlearn's.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.metrics.bootstrap import Interval, percentile_interval
from mlops_cli.metrics.slices import slices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from mlops_cli.metrics.bootstrap import Bootstrap
    from mlops_cli.metrics.weighted import Floats, Truth

__all__ = ["MEASURES", "measure_decision_fairness", "measure_value_fairness"]

MEASURES = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalised_odds_difference",
    "equalised_odds_ratio",
    "error_difference",
)
"""Gaps that a gate can limit: ratios from below, differences from above. Regression has only the
first (of mean predictions) and the last (of mean absolute errors)."""

_Figures = dict[str, "Floats"]
_Counts = dict[str, "tuple[Floats, Floats]"]
"""Rate -> numerator and denominator."""


def measure_decision_fairness(
    column: pl.Series,
    y: Truth,
    decisions: Truth,
    classes: Sequence[str],
    *,
    min_rows: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Compute rates of decisions by the column's groups, and the gaps between groups.

    Parameters
    ----------
    column
        Its values are the groups, (n,).
    y, decisions
        Class codes (n,): the label and the decision.
    classes
        Names by code. With two classes, rates are of the second one. With more, a gap is the
        largest over the classes, each against the rest.
    min_rows
        Minimum rows of a group; smaller groups are only counted.
    bootstrap
        Settings of the intervals: Wilson's for rates, the bootstrap's for gaps. Resampling the
        rows of a group is a multinomial draw of its confusion matrix, so no row is touched.

    Returns
    -------
    dict
        ``groups``: value, rows and each rate with its interval; ``gaps``: each of ``MEASURES``
        with its interval; ``too_small``: number of groups and rows left out.
    """
    k = len(classes)
    groups, small = _split_by_group(column, min_rows)
    confidence = bootstrap.confidence
    joint = y.astype(np.intp) * k + decisions.astype(np.intp)
    cells = np.array([np.bincount(joint[rows], minlength=k * k) for _, rows in groups])
    if not len(cells):
        return _report(groups, small, {}, {}, {}, confidence)
    rng = np.random.default_rng(bootstrap.seed)
    resampled = np.stack(
        [rng.multinomial(n.sum(), n / n.sum(), bootstrap.resamples) for n in cells], 1
    )
    rates, errors = _count_by_class(cells, k)
    reported = (rates[0] if k == 2 else {}) | errors  # noqa: PLR2004
    rate_intervals = {
        name: _wilson_intervals(numerator, denominator, confidence)
        for name, (numerator, denominator) in reported.items()
    }
    return _report(
        groups,
        small,
        rate_intervals,
        _gaps(rates, errors),
        _gaps(*_count_by_class(resampled, k)),
        confidence,
    )


def measure_value_fairness(
    column: pl.Series,
    y: Floats,
    prediction: Floats,
    *,
    min_rows: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Compute mean prediction, mean error and mean absolute error by group.

    The error is prediction minus label: above 0 where predictions for the group are too high.
    """
    groups, small = _split_by_group(column, min_rows)
    confidence = bootstrap.confidence
    if not groups:
        return _report(groups, small, {}, {}, {}, confidence)
    rng = np.random.default_rng(bootstrap.seed)
    terms = np.stack([prediction, prediction - y, np.abs(prediction - y)], 1)
    means = np.array([terms[rows].mean(axis=0) for _, rows in groups])
    resampled = np.empty((bootstrap.resamples, len(groups), 3))
    for g, (_, rows) in enumerate(groups):
        for i in range(bootstrap.resamples):
            resampled[i, g] = terms[rows[rng.integers(0, len(rows), len(rows))]].mean(axis=0)

    def figures(averages: Floats) -> tuple[_Figures, _Figures]:
        names = ("mean_prediction", "mean_error", "mean_absolute_error")
        by_group = {name: averages[..., i] for i, name in enumerate(names)}
        gaps = {
            "demographic_parity_difference": _largest_difference(by_group["mean_prediction"]),
            "error_difference": _largest_difference(by_group["mean_absolute_error"]),
        }
        return by_group, gaps

    by_group, gaps = figures(means)
    resampled_groups, resampled_gaps = figures(resampled)
    intervals = {
        name: [
            percentile_interval(float(value), resampled_groups[name][:, g], confidence)
            for g, value in enumerate(values)
        ]
        for name, values in by_group.items()
    }
    return _report(groups, small, intervals, gaps, resampled_gaps, confidence)


def _split_by_group(
    column: pl.Series, min_rows: int
) -> tuple[list[tuple[Any, NDArray[np.intp]]], dict[str, int]]:
    parts = slices(column)
    groups = [(part.value, part.rows) for part in parts if len(part.rows) >= min_rows]
    small = [len(part.rows) for part in parts if len(part.rows) < min_rows]
    return groups, {"groups": len(small), "rows": sum(small)}


def _divide(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(
        numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0
    )


def _count_by_class(counts: NDArray[np.intp], k: int) -> tuple[list[_Counts], _Counts]:
    """Turn (..., groups, k * k) into counts of each class against the rest, and of errors."""
    table = counts.reshape(*counts.shape[:-1], k, k).astype(np.float64)
    codes = [1] if k == 2 else list(range(k))  # noqa: PLR2004
    total = table.sum((-2, -1))
    errors = {"error_rate": (total - np.trace(table, axis1=-2, axis2=-1), total)}
    return [_class_counts(table, c) for c in codes], errors


def _class_counts(table: Floats, code: int) -> _Counts:
    """Count class ``code`` against the rest, from (..., groups, actual, decided)."""
    total, right = table.sum((-2, -1)), table[..., code, code]
    actual, decided = table[..., code, :].sum(-1), table[..., code].sum(-1)
    return {
        "selection_rate": (decided, total),
        "true_positive_rate": (right, actual),
        "false_positive_rate": (decided - right, total - actual),
    }


def _wilson_intervals(numerator: Floats, denominator: Floats, confidence: float) -> list[Interval]:
    """Compute shares with Wilson score intervals (1927), valid for few rows and at 0 and 1."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = _divide(numerator, denominator)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (share + z**2 / (2 * denominator)) / (1 + z**2 / denominator)
        margin = (
            z
            / (1 + z**2 / denominator)
            * np.sqrt(share * (1 - share) / denominator + (z / denominator) ** 2 / 4)
        )
    intervals = zip(
        share, np.maximum(centre - margin, 0), np.minimum(centre + margin, 1), strict=True
    )
    # Rounding must not put the share outside of its interval.
    return [
        Interval(float(value), min(float(value), float(low)), max(float(value), float(high)))
        for value, low, high in intervals
    ]


def _gaps(rates: Sequence[_Counts], errors: _Counts) -> _Figures:
    def extreme(names: Sequence[str], gap: Callable[[Floats], Floats], reduction: Any) -> Floats:
        gaps = np.array([gap(_divide(*counts[name])) for counts in rates for name in names])
        extremes: Floats = reduction.reduce(gaps, axis=0)
        return extremes

    selected, odds = ("selection_rate",), ("true_positive_rate", "false_positive_rate")
    return {
        "demographic_parity_difference": extreme(selected, _largest_difference, np.fmax),
        "demographic_parity_ratio": extreme(selected, _smallest_ratio, np.fmin),
        "equalised_odds_difference": extreme(odds, _largest_difference, np.fmax),
        "equalised_odds_ratio": extreme(odds, _smallest_ratio, np.fmin),
        "error_difference": _largest_difference(_divide(*errors["error_rate"])),
    }


def _largest_difference(by_group: Floats) -> Floats:
    difference: Floats = np.fmax.reduce(by_group, axis=-1) - np.fmin.reduce(by_group, axis=-1)
    return difference


def _smallest_ratio(by_group: Floats) -> Floats:
    return _divide(np.fmin.reduce(by_group, axis=-1), np.fmax.reduce(by_group, axis=-1))


def _report(
    groups: Sequence[tuple[Any, NDArray[np.intp]]],
    small: Mapping[str, int],
    by_group: Mapping[str, Sequence[Interval]],
    gaps: _Figures,
    resampled_gaps: _Figures,
    confidence: float,
) -> dict[str, Any]:
    def make_interval(value: Any, resampled: Floats) -> dict[str, float] | None:
        interval = percentile_interval(float(value), resampled, confidence)
        return interval.to_json() if interval.defined else None

    entries = []
    for g, (value, rows) in enumerate(groups):
        rates = {name: each[g].to_json() for name, each in by_group.items() if each[g].defined}
        entries.append({"value": value, "rows": len(rows)} | rates)
    # A gap needs two groups.
    intervals = {
        name: make_interval(gap, resampled_gaps[name])
        for name, gap in gaps.items()
        if len(groups) > 1
    }
    return {
        "groups": entries,
        "gaps": {name: gap for name, gap in intervals.items() if gap},
        "too_small": dict(small),
    }
