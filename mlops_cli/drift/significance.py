"""Tests of whether a window may be of the reference's distribution, at effective numbers of rows.

Each takes shares rather than counts, as rows that hang together count for fewer
(``drift.effective_sample_size``), and each is at most as sure as its textbook form with as many
independent rows.
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

_ROWS = 20_000
"""With more rows, a share is as good as known."""


def effective_n(m: float, n: float) -> float:
    """The number of rows by which a difference of two samples varies: ``m n / (m + n)``."""
    return m * n / (m + n) if m + n else 0.0


def ks_p_value(distance: float, m: float, n: float) -> float:
    """Two-sample Kolmogorov-Smirnov, asymptotic with Stephens' (1970) correction."""
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
        Shares by cell; each is to have some five rows of the smaller sample.
    m, n
        The samples' rows.
    """
    from scipy.special import chdtrc

    mean = (m * p + n * q) / (m + n)
    there = mean > 0
    if there.sum() < 2:  # noqa: PLR2004 - one cell can't differ
        return 1.0
    statistic = effective_n(m, n) * float(np.sum((p - q)[there] ** 2 / mean[there]))
    return float(chdtrc(int(there.sum()) - 1, statistic))


def most_changed_cell(
    p: npt.NDArray[np.float64], q: npt.NDArray[np.float64], m: float, n: float
) -> tuple[int, float]:
    """The cell that differs most surely, and the p-value that any of them does so by chance.

    Of the rows that both samples have in a cell, each is of the second one by a chance of
    ``n / (m + n)``: a binomial law. It is two-sided, and counts once for each cell (Bonferroni). It
    finds one name among hundreds, which the chi-squared test of all of them doesn't.

    Parameters
    ----------
    p, q
        Shares by cell.
    m, n
        The samples' rows.
    """
    from scipy.special import betainc

    ours, theirs, chance = m * p, n * q, n / (m + n)
    more, fewer = np.ones(len(p)), np.ones(len(p))
    there, here = theirs > 0, ours > 0
    more[there] = betainc(theirs[there], ours[there] + 1, chance)
    fewer[here] = betainc(ours[here], theirs[here] + 1, 1 - chance)
    each = np.minimum(more, fewer)
    cell = int(np.argmin(each))
    return cell, min(1.0, 2 * len(p) * float(each[cell]))


def distance_by_chance(cells: int, m: float, n: float, *, of: int = 1) -> float:
    """How far shares of so many cells are apart in all but one of twenty samples without drift.

    The widest of ``of`` such differences, if there are several.

    As the sum of ``(p - q)^2 / mean`` over the cells: the chi-squared statistic over
    ``effective_n`` rows. The stability index is about this sum, the Jensen-Shannon divergence in
    bits is it over ``8 ln 2``.
    """
    from scipy.special import chdtri

    return float(chdtri(cells - 1, 0.05 / of)) / effective_n(m, n) if cells > 1 else 0.0


def cohen_h(p: float, q: float) -> float:
    """Cohen's effect size of two shares: the difference of ``2 arcsin(sqrt(share))``."""
    return 2 * math.asin(math.sqrt(min(q, 1.0))) - 2 * math.asin(math.sqrt(min(p, 1.0)))


def shifted_share(p: float, least: float) -> float:
    """The share that is as far above ``p`` as ``least`` is above 0, by Cohen's h."""
    angle = math.asin(math.sqrt(p)) + math.asin(math.sqrt(least))
    return math.sin(min(angle, math.pi / 2)) ** 2


def proportions_p_value(p: float, q: float, m: float, n: float) -> float:
    """Two-sided p-value that two shares are the same, by the normal law of Cohen's h."""
    return math.erfc(abs(cohen_h(p, q)) * math.sqrt(effective_n(m, n)) / math.sqrt(2))


def outside_range_p_value(share: float, rows: float, known: float, of: float) -> float:
    """P-value of so large a share of rows outside what a reference has shown.

    Were all rows drawn alike, the part of the distribution that the reference has not shown has a
    Beta distribution, and the number of later rows in it a beta-binomial one. For the two ends of a
    range that is exact with ``known`` 2; for categories ``known`` is the number of rows whose
    category occurred once (Good 1953).

    Parameters
    ----------
    share
        Of the window's rows, that lie outside.
    rows
        The window's.
    known
        Rows of the reference as good as outside.
    of
        The reference's rows.
    """
    from scipy.special import betaln, gammaln

    n = int(min(rows, _ROWS))
    hits = round(share * n)
    if hits < 1:
        return 1.0
    known = min(max(known, 1e-9), of)
    rest = max(of - known + 1, 1e-9)
    k = np.arange(hits, n + 1)
    logs = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    logs += betaln(known + k, rest + n - k) - betaln(known, rest)
    return float(min(np.exp(logs).sum(), 1.0))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values by Benjamini and Hochberg (1995): the false discovery rate at which each counts."""
    p = np.asarray(p_values, dtype=np.float64)
    if not len(p):
        return []
    order = np.argsort(p, kind="stable")
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    lowest = np.minimum.accumulate(ranked[::-1])[::-1]
    found = np.empty(len(p))
    found[order] = np.minimum(lowest, 1.0)
    return [float(v) for v in found]
