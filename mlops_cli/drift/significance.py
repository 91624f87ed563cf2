"""Significance tests of a window against the reference, with effective numbers of rows.

The tests take shares rather than counts, because dependent rows count for fewer
(``drift.effective_sample_size``). Each test is at most as significant as its textbook form with as
many independent rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "benjamini_hochberg",
    "chi_squared_p_value",
    "cohen_h",
    "distance_by_chance",
    "effective_n",
    "ks_p_value",
    "most_changed_cell",
    "outside_range_p_value",
    "proportions_p_value",
    "shifted_share",
]

_MAX_ROWS = 20_000
"""Maximum rows of the beta-binomial test; a share of more rows is hardly uncertain."""


def effective_n(m: float, n: float) -> float:
    """Effective number of rows of a difference between two samples: ``m n / (m + n)``."""
    return m * n / (m + n) if m + n else 0.0


def ks_p_value(distance: float, m: float, n: float) -> float:
    """P-value of two-sample Kolmogorov-Smirnov, asymptotic, with Stephens' (1970) correction."""
    from scipy.special import kolmogorov

    root = math.sqrt(effective_n(m, n))
    if not root:
        return 1.0
    return float(kolmogorov((root + 0.12 + 0.11 / root) * distance))


def chi_squared_p_value(
    p: npt.NDArray[np.float64], q: npt.NDArray[np.float64], m: float, n: float
) -> float:
    """P-value of the chi-squared test that two samples have the same shares.

    Parameters
    ----------
    p, q
        Shares by cell; each cell should have about five rows of the smaller sample.
    m, n
        Effective rows of the samples.
    """
    from scipy.special import chdtrc

    mean = (m * p + n * q) / (m + n)
    occupied = mean > 0
    if occupied.sum() < 2:  # noqa: PLR2004 - one cell can't differ
        return 1.0
    statistic = effective_n(m, n) * float(np.sum((p - q)[occupied] ** 2 / mean[occupied]))
    return float(chdtrc(int(occupied.sum()) - 1, statistic))


def most_changed_cell(
    p: npt.NDArray[np.float64], q: npt.NDArray[np.float64], m: float, n: float
) -> tuple[int, float]:
    """The cell with the most significant difference, and its p-value corrected for all cells.

    Of the rows that both samples have in a cell, each is of the second sample with a probability of
    ``n / (m + n)``. So their number is binomial. The test is two-sided, with Bonferroni's
    correction for the number of cells. It finds one name among hundreds, which the chi-squared test
    over all of them doesn't.

    Parameters
    ----------
    p, q
        Shares by cell.
    m, n
        Effective rows of the samples.
    """
    from scipy.special import betainc

    ours, theirs, chance = m * p, n * q, n / (m + n)
    more, fewer = np.ones(len(p)), np.ones(len(p))
    in_window, in_reference = theirs > 0, ours > 0
    more[in_window] = betainc(theirs[in_window], ours[in_window] + 1, chance)
    fewer[in_reference] = betainc(ours[in_reference], theirs[in_reference] + 1, 1 - chance)
    p_values = np.minimum(more, fewer)
    cell = int(np.argmin(p_values))
    return cell, min(1.0, 2 * len(p) * float(p_values[cell]))


def distance_by_chance(cells: int, m: float, n: float, *, comparisons: int = 1) -> float:
    """Distance of shares that 19 of 20 samples without drift stay below.

    It is in the unit of the sum of ``(p - q)^2 / mean`` over the cells: the chi-squared statistic
    over ``effective_n`` rows. The population stability index is about this sum. The Jensen-Shannon
    divergence in bits is about this sum over ``8 ln 2``.

    Parameters
    ----------
    cells
        Number of cells.
    m, n
        Effective rows of the samples.
    comparisons
        Number of such distances, of which the greatest stays below.
    """
    from scipy.special import chdtri

    return float(chdtri(cells - 1, 0.05 / comparisons)) / effective_n(m, n) if cells > 1 else 0.0


def cohen_h(p: float, q: float) -> float:
    """Cohen's effect size of two shares: the difference of ``2 arcsin(sqrt(share))``."""
    return 2 * math.asin(math.sqrt(min(q, 1.0))) - 2 * math.asin(math.sqrt(min(p, 1.0)))


def shifted_share(p: float, min_share: float) -> float:
    """Share that is as far above ``p`` as ``min_share`` is above 0, by Cohen's h."""
    angle = math.asin(math.sqrt(p)) + math.asin(math.sqrt(min_share))
    return math.sin(min(angle, math.pi / 2)) ** 2


def proportions_p_value(p: float, q: float, m: float, n: float) -> float:
    """Two-sided p-value of equal shares, by the normal approximation of Cohen's h."""
    return math.erfc(abs(cohen_h(p, q)) * math.sqrt(effective_n(m, n)) / math.sqrt(2))


def outside_range_p_value(
    share: float, rows: float, unseen_rows: float, reference_rows: float
) -> float:
    """P-value of a share of rows outside of what the reference has shown.

    If all rows have one distribution, the part of it that the reference hasn't shown has a Beta
    distribution, and the number of later rows in that part a beta-binomial one. For the two ends of
    a range this is exact with ``unseen_rows`` 2. For categories ``unseen_rows`` is the number of
    rows whose category occurred once (Good 1953).

    Parameters
    ----------
    share
        Share of the window's rows that are outside.
    rows
        Effective rows of the window.
    unseen_rows
        Rows of the reference that are as good as outside.
    reference_rows
        Effective rows of the reference.
    """
    from scipy.special import betaln, gammaln

    n = int(min(rows, _MAX_ROWS))
    hits = round(share * n)
    if hits < 1:
        return 1.0
    unseen_rows = min(max(unseen_rows, 1e-9), reference_rows)
    rest = max(reference_rows - unseen_rows + 1, 1e-9)
    k = np.arange(hits, n + 1)
    logs = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    logs += betaln(unseen_rows + k, rest + n - k) - betaln(unseen_rows, rest)
    return float(min(np.exp(logs).sum(), 1.0))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for the false discovery rate (Benjamini and Hochberg 1995)."""
    p = np.asarray(p_values, dtype=np.float64)
    if not len(p):
        return []
    order = np.argsort(p, kind="stable")
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    lowest = np.minimum.accumulate(ranked[::-1])[::-1]
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(lowest, 1.0)
    return [float(v) for v in adjusted]
