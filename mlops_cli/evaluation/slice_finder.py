"""Slice Finder: search for the worst segments, defined by one or two feature values.

The search of Y. Chung et al., "Slice Finder: Automated Data Slicing for Model Validation" (ICDE
2019), over segments of one or two features. The mean loss inside a segment is compared with the
mean loss outside by Welch's t-test. As thousands of segments are tried, some are bad by chance.
P-values are therefore adjusted by S. Holm, "A Simple Sequentially Rejective Multiple Test
Procedure" (1979), which is valid for overlapping segments, too.
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

__all__ = ["MAX_PAIRED_COLUMNS", "MIN_SEGMENT_ROWS", "Segment", "SegmentSearch"]

MAX_SEARCH_ROWS = 50_000
"""Maximum rows of the search; more are sampled."""
MIN_SEGMENT_ROWS = 30
"""Minimum rows of a segment: a mean of fewer is too noisy."""
MAX_PAIRED_COLUMNS = 60
"""Number of columns, the first ones, whose values are paired: pairs grow quadratically."""
_MAX_VALUES = 30
"""Maximum values of a column that are tried, the most frequent ones."""
_MAX_EXAMINED = 1000
"""Maximum segments to choose from, worst first; later ones are hardly worse than the rest."""
_MAX_OVERLAP = 0.5
"""Segments that share more than this part of the smaller one's rows are duplicates."""


@dataclass(frozen=True)
class Segment:
    """Rows in which one or two columns have a certain value, or lie in a range.

    Attributes
    ----------
    where
        Column -> value; a range is a text such as ``[3, 7)``; a missing value is None.
    rows
        Row numbers, ascending, (n,).
    loss, loss_elsewhere
        Mean loss inside and outside of the segment.
    p
        P-value, adjusted for the number of segments that were tried.
    """

    where: Mapping[str, Value]
    rows: NDArray[np.intp]
    loss: float
    loss_elsewhere: float
    p: float


@dataclass(frozen=True)
class _CodedColumn:
    """A column as codes (n,), and the value of each code; the last code is for other values."""

    codes: NDArray[np.intp]
    values: tuple[Value, ...]


@dataclass(frozen=True)
class _TestedSegments:
    """Test statistics of all tried segments; a second code of -1 means a single column.

    ``worse``: whether the loss is above that of either value alone.
    """

    columns: NDArray[np.intp]
    codes: NDArray[np.intp]
    inside: Floats
    outside: Floats
    t: Floats
    degrees_of_freedom: Floats
    worse: NDArray[np.bool_]


@dataclass(frozen=True)
class SegmentSearch:
    """Search for segments whose loss is significantly above that of the other rows.

    Attributes
    ----------
    min_rows
        Minimum rows of a segment; at least ``MIN_SEGMENT_ROWS``.
    max_segments
        Maximum segments to return.
    confidence
        Such as 0.95: the probability that none of the returned segments is due to chance.
    seed
        Random seed of the sample, if there are more than ``MAX_SEARCH_ROWS`` rows.
    """

    min_rows: int
    max_segments: int
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
        """Find the worst segments, and count the segments that were tried.

        Segments are ordered by the lower confidence limit of their excess loss, highest first.
        Those that share most of their rows with an earlier one are left out.

        Parameters
        ----------
        columns
            Name -> values (n,); numeric columns with many values are cut at their quartiles.
            If there are more than ``MAX_PAIRED_COLUMNS``, the most important ones come first.
        loss
            Loss of each row, (n,): the higher, the worse.
        weights
            Weight of each row, (n,); by default 1.
        accept
            Whether to return a segment with these rows; by default every segment is returned.
        """
        coded = {name: _encode(column, self.min_rows) for name, column in columns.items()}
        tested = self._test_sample(list(coded.values()), loss, weights)
        if not len(tested.t):
            return [], 0
        p, excess = _adjust(tested, self.confidence)
        # A pair of values is reported only if it is worse than either value alone.
        significant = (excess > 0) & (p <= 1 - self.confidence) & tested.worse
        order = np.lexsort((np.arange(len(excess)), -excess))[:_MAX_EXAMINED]
        segments: list[Segment] = []
        for i in order[significant[order]]:
            if len(segments) == self.max_segments:
                break
            segment = _build_segment(coded, tested, i, float(p[i]))
            duplicate = any(_overlap(segment.rows, other.rows) > _MAX_OVERLAP for other in segments)
            if not duplicate and (accept is None or accept(segment.rows)):
                segments.append(segment)
        return segments, len(tested.t)

    def _test_sample(
        self, coded: Sequence[_CodedColumn], loss: Floats, weights: Floats | None
    ) -> _TestedSegments:
        """Test all segments of one and two columns, on a sample if there are many rows."""
        sample = np.arange(len(loss))
        if len(loss) > MAX_SEARCH_ROWS:
            generator = np.random.default_rng(self.seed)
            sample = np.sort(generator.choice(len(loss), MAX_SEARCH_ROWS, replace=False))
        share = len(sample) / len(loss) if len(loss) else 1.0
        return _test_all(
            [_CodedColumn(column.codes[sample], column.values) for column in coded],
            _Sums(loss[sample], None if weights is None else weights[sample]),
            max(MIN_SEGMENT_ROWS, int(np.ceil(self.min_rows * share))),
        )


def _build_segment(
    coded: Mapping[str, _CodedColumn], tested: _TestedSegments, i: int, p: float
) -> Segment:
    """Build the segment of a test, with all of its rows (tests may use a sample)."""
    names = list(coded)
    codes = {names[c]: k for c, k in zip(tested.columns[i], tested.codes[i], strict=True) if c >= 0}
    inside = np.logical_and.reduce([coded[name].codes == code for name, code in codes.items()])
    where = {name: coded[name].values[code] for name, code in codes.items()}
    rows = np.flatnonzero(inside)
    return Segment(where, rows, float(tested.inside[i]), float(tested.outside[i]), p)


def _encode(column: pl.Series, min_rows: int) -> _CodedColumn:
    """Encode the column's slices; rare values share the last code, which is not tried."""
    frequent = _rows_of_frequent_values(column)
    parts = slices(column.gather(frequent))
    parts = [part for part in parts if len(part.rows) >= min(min_rows, MIN_SEGMENT_ROWS)]
    parts = sorted(parts, key=lambda part: -len(part.rows))[:_MAX_VALUES]
    codes = np.full(len(column), len(parts), dtype=np.intp)
    for code, part in enumerate(parts):
        codes[frequent[part.rows]] = code
    return _CodedColumn(codes, tuple(part.value for part in parts))


def _rows_of_frequent_values(column: pl.Series) -> NDArray[np.intp]:
    """Find rows of the most frequent values, so that names don't become one slice each."""
    if column.dtype.is_numeric() or column.dtype.is_temporal() or column.n_unique() <= _MAX_VALUES:
        return np.arange(len(column))
    values = column.alias("value").value_counts(sort=True, name="n")["value"].head(_MAX_VALUES)
    is_frequent = column.is_in(values.implode(), nulls_equal=True)
    return np.flatnonzero(is_frequent.to_numpy())


class _Sums:
    """Sums over rows by code: count, weighted loss and squared loss, weight, squared weight."""

    def __init__(self, loss: Floats, weights: Floats | None) -> None:
        self._terms: list[Floats | None] = [None, loss, loss**2]
        if weights is not None:
            self._terms = [None, weights * loss, weights * loss**2, weights, weights**2]
        self.totals = self.sum_by_code(np.zeros(len(loss), dtype=np.intp), 1)[:, 0]

    def sum_by_code(self, codes: NDArray[np.intp], size: int) -> Floats:
        """Sum the rows of each code: (5, size) with count, Σwl, Σwl², Σw, Σw²."""
        sums = [np.bincount(codes, term, size).astype(np.float64) for term in self._terms]
        return np.array(sums if len(sums) > 3 else [*sums, sums[0], sums[0]])  # noqa: PLR2004


def _test_all(coded: Sequence[_CodedColumn], sums: _Sums, min_rows: int) -> _TestedSegments:
    tables, means = [], []
    for column, encoded in enumerate(coded):
        size = len(encoded.values) + 1
        cells = sums.sum_by_code(encoded.codes, size)
        means.append(_mean(cells))
        codes = (np.arange(size - 1), np.full(size - 1, -1))
        always = np.ones(size - 1, dtype=bool)
        tables.append(
            _welch_test(cells[:, :-1], sums.totals, min_rows, (column, -1), codes, always)
        )
    for a, b in combinations(range(min(len(coded), MAX_PAIRED_COLUMNS)), 2):
        width, height = len(coded[b].values) + 1, len(coded[a].values) + 1
        cells = sums.sum_by_code(coded[a].codes * width + coded[b].codes, height * width)
        first, second = np.divmod(np.arange(height * width), width)
        valid = (first < height - 1) & (second < width - 1)
        with np.errstate(invalid="ignore"):
            inside = _mean(cells)
            worse = (inside > means[a][first]) & (inside > means[b][second])
        codes = (first[valid], second[valid])
        tables.append(
            _welch_test(cells[:, valid], sums.totals, min_rows, (a, b), codes, worse[valid])
        )
    if not tables:
        empty = np.empty(0)
        no_pairs = np.empty((0, 2), dtype=np.intp)
        return _TestedSegments(no_pairs, no_pairs, empty, empty, empty, empty, empty.astype(bool))
    columns, codes_, *rest = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    return _TestedSegments(columns, codes_, *rest)


def _welch_test(
    cells: Floats,
    totals: Floats,
    min_rows: int,
    columns: tuple[int, int],
    codes: tuple[NDArray[np.intp], NDArray[np.intp]],
    worse: NDArray[np.bool_],
) -> tuple[NDArray[np.generic], ...]:
    """Compute Welch's t of the cells that have enough rows inside and outside."""
    enough = (cells[0] >= min_rows) & (totals[0] - cells[0] >= MIN_SEGMENT_ROWS)
    cells = cells[:, enough]
    rest = totals[:, None] - cells
    (mean, error, size), (mean_out, error_out, size_out) = _moments(cells), _moments(rest)
    variance = error + error_out
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(variance > 0, (mean - mean_out) / np.sqrt(variance), 0.0)
        degrees_of_freedom = variance**2 / (error**2 / (size - 1) + error_out**2 / (size_out - 1))
    degrees_of_freedom = np.where(np.isfinite(degrees_of_freedom), degrees_of_freedom, 1.0)
    column_pair = [np.full(len(t), columns[0]), np.full(len(t), columns[1])]
    code_pair = [codes[0][enough], codes[1][enough]]
    return (
        np.stack(column_pair, 1),
        np.stack(code_pair, 1),
        mean,
        mean_out,
        t,
        degrees_of_freedom,
        worse[enough],
    )


def _mean(cells: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: Floats = cells[1] / cells[3]
    return mean


def _moments(cells: Floats) -> tuple[Floats, Floats, Floats]:
    """Compute the mean, its squared standard error, and the effective sample size (Kish 1965)."""
    mean = _mean(cells)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.maximum(cells[3] ** 2 / cells[4], 2.0)
        variance = np.maximum(cells[2] / cells[3] - mean**2, 0.0) * size / (size - 1)
        error = variance / size
    return np.nan_to_num(mean), np.nan_to_num(error), np.nan_to_num(size, nan=2.0)


def _adjust(tested: _TestedSegments, confidence: float) -> tuple[Floats, Floats]:
    """Compute Holm's adjusted p-values, and a lower confidence limit of the excess loss."""
    from scipy.special import stdtr, stdtrit

    p = stdtr(tested.degrees_of_freedom, -tested.t)
    order = np.argsort(p, kind="stable")
    count = len(p)
    adjusted = np.empty(count)
    stepwise = np.maximum.accumulate(p[order] * np.arange(count, 0, -1))
    adjusted[order] = np.minimum(stepwise, 1.0)
    quantile = -stdtrit(tested.degrees_of_freedom, np.full(count, (1 - confidence) / count))
    gap = tested.inside - tested.outside
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.where(tested.t != 0, gap / tested.t, 0.0)
    # Lower ends of Bonferroni's simultaneous intervals, which are wide for small segments.
    excess = np.where(adjusted <= 1 - confidence, np.maximum(gap - quantile * error, 1e-300), -1.0)
    return adjusted, excess


def _overlap(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / min(len(a), len(b))
