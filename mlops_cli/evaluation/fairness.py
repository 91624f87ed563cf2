"""Whether groups of people are treated alike: rates by group, and the largest gaps between them.

Demographic parity: the groups get a decision equally often. Equalised odds (M. Hardt, E. Price
and N. Srebro, "Equality of Opportunity in Supervised Learning", 2016): they do among those of
the same truth. Names and aggregates (largest difference, smallest ratio) are those of fairlearn.
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

__all__ = ["MEASURES", "of_decisions", "of_values"]

MEASURES = (
    "demographic_parity_difference",
    "demographic_parity_ratio",
    "equalised_odds_difference",
    "equalised_odds_ratio",
    "error_difference",
)
"""Gaps that a gate can limit; a ratio at least, a difference at most. For values there are the
first (of mean predictions) and the last (of mean absolute errors)."""

_Figures = dict[str, "Floats"]
_Counts = dict[str, "tuple[Floats, Floats]"]


def of_decisions(
    column: pl.Series,
    y: Truth,
    decided: Truth,
    classes: Sequence[str],
    *,
    least_rows: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Rates of decisions by the column's groups.

    Parameters
    ----------
    column
        Its values are the groups, (n,).
    y, decided
        Class codes (n,): the truth and the decision.
    classes
        Names by code. Of two, the rates are of the second; of more, the gaps are the largest
        over the classes, each against the rest.
    least_rows
        Smaller groups are counted only.
    bootstrap
        Of the intervals: Wilson's for rates, the bootstrap's for gaps. A group's resample of rows
        is a multinomial draw of its counts of truth and decision, so that no row is touched.

    Returns
    -------
    dict
        ``groups``: value, rows and each rate with its interval; ``gaps``: each of ``MEASURES``
        with its interval; ``too_small``: groups and rows left out.
    """
    k = len(classes)
    kept, small = _groups(column, least_rows)
    confidence = bootstrap.confidence
    joint = y.astype(np.intp) * k + decided.astype(np.intp)
    cells = np.array([np.bincount(joint[rows], minlength=k * k) for _, rows in kept])
    if not len(cells):
        return _report(kept, small, {}, {}, {}, confidence)
    rng = np.random.default_rng(bootstrap.seed)
    drawn = np.stack([rng.multinomial(n.sum(), n / n.sum(), bootstrap.resamples) for n in cells], 1)

    def counted(counts: NDArray[np.intp]) -> tuple[list[_Counts], _Counts]:
        """From (..., groups, k * k): counts of each class against the rest, and of errors."""
        table = counts.reshape(*counts.shape[:-1], k, k).astype(np.float64)
        which = [1] if k == 2 else list(range(k))  # noqa: PLR2004
        total = table.sum((-2, -1))
        wrong = {"error_rate": (total - np.trace(table, axis1=-2, axis2=-1), total)}
        return [_counts(table, c) for c in which], wrong

    rates, wrong = counted(cells)
    shown = (rates[0] if k == 2 else {}) | wrong  # noqa: PLR2004
    groups = {name: _wilson(above, below, confidence) for name, (above, below) in shown.items()}
    return _report(kept, small, groups, _gaps(rates, wrong), _gaps(*counted(drawn)), confidence)


def of_values(
    column: pl.Series,
    y: Floats,
    prediction: Floats,
    *,
    least_rows: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Mean prediction, mean error and mean absolute error by group; see ``of_decisions``.

    The error is prediction less truth: above 0 where the group is predicted too high.
    """
    kept, small = _groups(column, least_rows)
    confidence = bootstrap.confidence
    if not kept:
        return _report(kept, small, {}, {}, {}, confidence)
    rng = np.random.default_rng(bootstrap.seed)
    terms = np.stack([prediction, prediction - y, np.abs(prediction - y)], 1)
    means = np.array([terms[rows].mean(axis=0) for _, rows in kept])
    drawn = np.empty((bootstrap.resamples, len(kept), 3))
    for g, (_, rows) in enumerate(kept):
        for i in range(bootstrap.resamples):
            drawn[i, g] = terms[rows[rng.integers(0, len(rows), len(rows))]].mean(axis=0)

    def figures(found: Floats) -> tuple[_Figures, _Figures]:
        names = ("mean_prediction", "mean_error", "mean_absolute_error")
        by_group = {name: found[..., i] for i, name in enumerate(names)}
        gaps = {
            "demographic_parity_difference": _spread(by_group["mean_prediction"]),
            "error_difference": _spread(by_group["mean_absolute_error"]),
        }
        return by_group, gaps

    by_group, gaps = figures(means)
    drawn_groups, drawn_gaps = figures(drawn)
    groups = {
        name: [
            percentile_interval(float(value), drawn_groups[name][:, g], confidence)
            for g, value in enumerate(of)
        ]
        for name, of in by_group.items()
    }
    return _report(kept, small, groups, gaps, drawn_gaps, confidence)


def _groups(
    column: pl.Series, least_rows: int
) -> tuple[list[tuple[Any, NDArray[np.intp]]], dict[str, int]]:
    parts = slices(column)
    kept = [(part.value, part.rows) for part in parts if len(part.rows) >= least_rows]
    small = [len(part.rows) for part in parts if len(part.rows) < least_rows]
    return kept, {"groups": len(small), "rows": sum(small)}


def _share(above: Floats, below: Floats) -> Floats:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _counts(table: Floats, c: int) -> _Counts:
    """Rates of class ``c`` against the rest, from (..., groups, actual, decided)."""
    total, hit = table.sum((-2, -1)), table[..., c, c]
    actual, decided = table[..., c, :].sum(-1), table[..., c].sum(-1)
    return {
        "selection_rate": (decided, total),
        "true_positive_rate": (hit, actual),
        "false_positive_rate": (decided - hit, total - actual),
    }


def _wilson(above: Floats, below: Floats, confidence: float) -> list[Interval]:
    """Shares with E. Wilson's score interval (1927), which holds for few rows and at 0 and 1."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = _share(above, below)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = (share + z**2 / (2 * below)) / (1 + z**2 / below)
        wide = z / (1 + z**2 / below) * np.sqrt(share * (1 - share) / below + (z / below) ** 2 / 4)
    ends = zip(share, np.maximum(centre - wide, 0), np.minimum(centre + wide, 1), strict=True)
    # Rounding must not put the share outside.
    return [
        Interval(float(v), min(float(v), float(a)), max(float(v), float(b))) for v, a, b in ends
    ]


def _gaps(rates: Sequence[_Counts], wrong: _Counts) -> _Figures:
    def widest(names: Sequence[str], of: Callable[[Floats], Floats], last: Any) -> Floats:
        each = np.array([of(_share(*part[name])) for part in rates for name in names])
        found: Floats = last.reduce(each, axis=0)
        return found

    selected, odds = ("selection_rate",), ("true_positive_rate", "false_positive_rate")
    return {
        "demographic_parity_difference": widest(selected, _spread, np.fmax),
        "demographic_parity_ratio": widest(selected, _least_ratio, np.fmin),
        "equalised_odds_difference": widest(odds, _spread, np.fmax),
        "equalised_odds_ratio": widest(odds, _least_ratio, np.fmin),
        "error_difference": _spread(_share(*wrong["error_rate"])),
    }


def _spread(by_group: Floats) -> Floats:
    found: Floats = np.fmax.reduce(by_group, axis=-1) - np.fmin.reduce(by_group, axis=-1)
    return found


def _least_ratio(by_group: Floats) -> Floats:
    return _share(np.fmin.reduce(by_group, axis=-1), np.fmax.reduce(by_group, axis=-1))


def _report(
    kept: Sequence[tuple[Any, NDArray[np.intp]]],
    small: Mapping[str, int],
    by_group: Mapping[str, Sequence[Interval]],
    gaps: _Figures,
    drawn_gaps: _Figures,
    confidence: float,
) -> dict[str, Any]:
    def interval(value: Any, drawn: Floats) -> dict[str, float] | None:
        found = percentile_interval(float(value), drawn, confidence)
        return found.rounded() if found.defined else None

    groups = []
    for g, (value, rows) in enumerate(kept):
        each = {name: of[g].rounded() for name, of in by_group.items() if of[g].defined}
        groups.append({"value": value, "rows": len(rows)} | each)
    # A gap takes two groups.
    found = {name: interval(of, drawn_gaps[name]) for name, of in gaps.items() if len(kept) > 1}
    return {
        "groups": groups,
        "gaps": {name: gap for name, gap in found.items() if gap},
        "too_small": dict(small),
    }
