"""The worst segments of the rows, found by looking at every value and every pair of values.

The search of Y. Chung et al., "Slice Finder: Automated Data Slicing for Model Validation" (ICDE
2019), over segments of one or two features: the mean loss inside against that outside, by
Welch's t-test. As thousands of segments are tried, some are bad by chance; p-values are adjusted
by S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure" (1979), which holds however
the segments overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.metrics.slices import slices

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl
    from numpy.typing import NDArray

    from mlops_cli.metrics.weighted import Floats

    Value = str | int | float | bool | None

__all__ = ["LEAST", "PAIRED", "Segment", "SegmentSearch"]

ROWS = 50_000
"""At most so many rows are searched, drawn."""
LEAST = 30
"""Segments of fewer rows are not tried: a mean of so few says nothing."""
PAIRED = 60
"""Values of so many columns, the first ones, are tried in pairs: pairs grow with their square."""
_VALUES = 30
"""Of a column's values at most so many are tried, the most frequent."""
_LOOKED = 1000
"""So many of the worst are looked at; those after them are hardly worse than the rest."""
_SAME = 0.5
"""Segments that share more than this of the smaller one's rows say the same."""


@dataclass(frozen=True)
class Segment:
    """Rows where one column, or two, have a value or lie in a range.

    Attributes
    ----------
    where
        Column -> value; of a range its text, such as ``[3, 7)``; None where it is missing.
    rows
        Row numbers, rising, (n,).
    loss, elsewhere
        Mean loss inside and outside.
    p
        Adjusted for all segments that were tried: how likely so bad a one would be by chance.
    """

    where: Mapping[str, Value]
    rows: NDArray[np.intp]
    loss: float
    elsewhere: float
    p: float


@dataclass(frozen=True)
class _Cut:
    """A column as codes (n,), with the values they stand for; the last code is all else."""

    codes: NDArray[np.intp]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class _Tried:
    """Segments that were tried, a row each; a second code of -1: there is none.

    ``worse``: whether the loss is above that of either value alone.
    """

    columns: NDArray[np.intp]
    codes: NDArray[np.intp]
    inside: Floats
    outside: Floats
    t: Floats
    freedom: Floats
    worse: NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentSearch:
    """Finds segments whose loss is credibly above that of the other rows.

    Attributes
    ----------
    least_rows
        Smaller segments are not tried; never below ``LEAST``.
    most
        How many to give at most.
    confidence
        Such as 0.95: with this probability none of the segments given is there by chance.
    seed
        Decides which rows are searched, if there are more than ``ROWS``.
    """

    least_rows: int
    most: int
    confidence: float
    seed: int | Sequence[int]

    def run(
        self,
        columns: Mapping[str, pl.Series],
        loss: Floats,
        *,
        weights: Floats | None = None,
        accept: Callable[[NDArray[np.intp]], bool] | None = None,
    ) -> tuple[list[Segment], int]:
        """Find segments, and how many were tried.

        Those whose loss is above the others' by most for certain come first; those that mostly
        repeat an earlier one are left out.

        Parameters
        ----------
        columns
            Name -> values (n,); numeric ones of many values are cut at their quartiles. Of more
            than ``PAIRED``, those that matter most come first.
        loss
            Of each row, (n,): the more, the worse.
        weights
            What each row counts, (n,); by default 1.
        accept
            Whether to give a segment of these rows; by default any.
        """
        cuts = {name: _cut(column, self.least_rows) for name, column in columns.items()}
        tried = self._try(list(cuts.values()), loss, weights)
        if not len(tried.t):
            return [], 0
        p, sure = _test(tried, self.confidence)
        # Both values together say more only where that is worse than either alone.
        credible = (sure > 0) & (p <= 1 - self.confidence) & tried.worse
        order = np.lexsort((np.arange(len(sure)), -sure))[:_LOOKED]
        found: list[Segment] = []
        for i in order[credible[order]]:
            if len(found) == self.most:
                break
            segment = _segment(cuts, tried, i, float(p[i]))
            repeated = any(_overlap(segment.rows, other.rows) > _SAME for other in found)
            if not repeated and (accept is None or accept(segment.rows)):
                found.append(segment)
        return found, len(tried.t)

    def _try(self, cuts: Sequence[_Cut], loss: Floats, weights: Floats | None) -> _Tried:
        """All segments of one and two columns, over drawn rows where there are many."""
        drawn = np.arange(len(loss))
        if len(loss) > ROWS:
            generator = np.random.default_rng(self.seed)
            drawn = np.sort(generator.choice(len(loss), ROWS, replace=False))
        share = len(drawn) / len(loss) if len(loss) else 1.0
        return _try_all(
            [_Cut(cut.codes[drawn], cut.values) for cut in cuts],
            _Sums(loss[drawn], None if weights is None else weights[drawn]),
            max(LEAST, int(np.ceil(self.least_rows * share))),
        )


def _segment(cuts: Mapping[str, _Cut], tried: _Tried, i: int, p: float) -> Segment:
    """A segment that was tried, with all its rows."""
    names = list(cuts)
    codes = {names[c]: k for c, k in zip(tried.columns[i], tried.codes[i], strict=True) if c >= 0}
    inside = np.logical_and.reduce([cuts[name].codes == code for name, code in codes.items()])
    where = {name: cuts[name].values[code] for name, code in codes.items()}
    rows = np.flatnonzero(inside)
    return Segment(where, rows, float(tried.inside[i]), float(tried.outside[i]), p)


def _cut(column: pl.Series, least_rows: int) -> _Cut:
    """Number the column's slices; rare values share the last code, which is not tried."""
    frequent = _frequent(column)
    parts = slices(column.gather(frequent))
    parts = [part for part in parts if len(part.rows) >= min(least_rows, LEAST)]
    parts = sorted(parts, key=lambda part: -len(part.rows))[:_VALUES]
    codes = np.full(len(column), len(parts), dtype=np.intp)
    for code, part in enumerate(parts):
        codes[frequent[part.rows]] = code
    return _Cut(codes, tuple(part.value for part in parts))


def _frequent(column: pl.Series) -> NDArray[np.intp]:
    """Rows of the most frequent values: a column of names would be cut into one slice each."""
    if column.dtype.is_numeric() or column.dtype.is_temporal() or column.n_unique() <= _VALUES:
        return np.arange(len(column))
    held = column.alias("value").value_counts(sort=True, name="n")["value"].head(_VALUES)
    kept = column.is_in(held.implode(), nulls_equal=True)
    return np.flatnonzero(kept.to_numpy())


class _Sums:
    """Sums over rows by code: count, weight, weighted loss and its square, squared weight."""

    def __init__(self, loss: Floats, weights: Floats | None) -> None:
        self._terms: list[Floats | None] = [None, loss, loss**2]
        if weights is not None:
            self._terms = [None, weights * loss, weights * loss**2, weights, weights**2]
        self.whole = self.by(np.zeros(len(loss), dtype=np.intp), 1)[:, 0]

    def by(self, codes: NDArray[np.intp], number: int) -> Floats:
        """(5, number): count, Σwl, Σwl², Σw, Σw²."""
        each = [np.bincount(codes, term, number).astype(np.float64) for term in self._terms]
        return np.array(each if len(each) > 3 else [*each, each[0], each[0]])  # noqa: PLR2004


def _try_all(cuts: Sequence[_Cut], sums: _Sums, least: int) -> _Tried:
    tables, means = [], []
    for column, cut in enumerate(cuts):
        size = len(cut.values) + 1
        part = sums.by(cut.codes, size)
        means.append(_mean(part))
        codes = (np.arange(size - 1), np.full(size - 1, -1))
        every = np.ones(size - 1, dtype=bool)
        tables.append(_judged(part[:, :-1], sums.whole, least, (column, -1), codes, every))
    for a, b in combinations(range(min(len(cuts), PAIRED)), 2):
        wide, high = len(cuts[b].values) + 1, len(cuts[a].values) + 1
        part = sums.by(cuts[a].codes * wide + cuts[b].codes, high * wide)
        first, second = np.divmod(np.arange(high * wide), wide)
        kept = (first < high - 1) & (second < wide - 1)
        with np.errstate(invalid="ignore"):
            inside = _mean(part)
            worse = (inside > means[a][first]) & (inside > means[b][second])
        codes = (first[kept], second[kept])
        tables.append(_judged(part[:, kept], sums.whole, least, (a, b), codes, worse[kept]))
    if not tables:
        empty = np.empty(0)
        pairs = np.empty((0, 2), dtype=np.intp)
        return _Tried(pairs, pairs, empty, empty, empty, empty, empty.astype(bool))
    columns, codes_, *rest = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    return _Tried(columns, codes_, *rest)


def _judged(
    part: Floats,
    whole: Floats,
    least: int,
    columns: tuple[int, int],
    codes: tuple[NDArray[np.intp], NDArray[np.intp]],
    worse: NDArray[np.bool_],
) -> tuple[NDArray[np.generic], ...]:
    """Welch's t of the cells with enough rows inside and outside."""
    there = (part[0] >= least) & (whole[0] - part[0] >= LEAST)
    part = part[:, there]
    other = whole[:, None] - part
    (mean, error, size), (mean_out, error_out, size_out) = _moments(part), _moments(other)
    total = error + error_out
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(total > 0, (mean - mean_out) / np.sqrt(total), 0.0)
        freedom = total**2 / (error**2 / (size - 1) + error_out**2 / (size_out - 1))
    freedom = np.where(np.isfinite(freedom), freedom, 1.0)
    held = [np.full(len(t), columns[0]), np.full(len(t), columns[1])]
    numbers = [codes[0][there], codes[1][there]]
    return np.stack(held, 1), np.stack(numbers, 1), mean, mean_out, t, freedom, worse[there]


def _mean(part: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Floats = part[1] / part[3]
    return mean


def _moments(part: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, its squared standard error, and the effective number of rows (Kish 1965)."""
    mean = _mean(part)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.maximum(part[3] ** 2 / part[4], 2.0)
        variance = np.maximum(part[2] / part[3] - mean**2, 0.0) * size / (size - 1)
        error = variance / size
    return np.nan_to_num(mean), np.nan_to_num(error), np.nan_to_num(size, nan=2.0)


def _test(tried: _Tried, confidence: float) -> tuple[Floats, Floats]:
    """Holm's adjusted p-values, and by how much the loss is above the others' at the least."""
    from scipy.special import stdtr, stdtrit

    p = stdtr(tried.freedom, -tried.t)
    order = np.argsort(p, kind="stable")
    count = len(p)
    adjusted = np.empty(count)
    stepped = np.maximum.accumulate(p[order] * np.arange(count, 0, -1))
    adjusted[order] = np.minimum(stepped, 1.0)
    quantile = -stdtrit(tried.freedom, np.full(count, (1 - confidence) / count))
    gap = tried.inside - tried.outside
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(tried.t != 0, gap / tried.t, 0.0)
    # Ends of Bonferroni's simultaneous intervals; with few rows in them they are wide.
    sure = np.where(adjusted <= 1 - confidence, np.maximum(gap - quantile * error, 1e-300), -1.0)
    return adjusted, sure


def _overlap(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / min(len(a), len(b))
