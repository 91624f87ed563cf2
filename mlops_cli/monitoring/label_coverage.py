"""Label coverage of a window, and whether rows without a label differ from those with one.

Labels arrive late. At a window's end there are predictions whose outcome isn't known yet. Outcomes
that are known early differ from the rest (a flight that lands on time is known before a late one).
So performance is measured up to the row where labels stop being complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mlops_cli.monitoring.window import Window

__all__ = ["LabelCoverage", "measure_coverage"]

_PARTS = 20
"""Parts of a window whose coverage is compared."""
_MIN_COVERAGE = 0.8
"""Minimum coverage at a window's end, relative to the usual coverage, of complete labels."""
_CRITICAL_VALUE = 1.95
"""Critical value of the Kolmogorov-Smirnov test at 0.1%."""


@dataclass(frozen=True)
class LabelCoverage:
    """Share of a window's rows that have labels.

    Attributes
    ----------
    rows, labelled_rows
        Rows of the whole window, and those of them with a label.
    complete_rows
        Number of rows, from the window's start, up to which labels are complete.
    complete_share
        Share of the complete part that has labels.
    is_biased
        Whether predictions without a label differ there from those with one. If so, labels aren't
        missing at random, and performance on all rows may be different.
    """

    rows: int
    labelled_rows: int
    complete_rows: int
    complete_share: float
    is_biased: bool

    def usable_rows(self, has_label: NDArray[np.bool_]) -> NDArray[np.intp]:
        """Positions of the labelled rows in the complete part."""
        return np.flatnonzero(has_label[: self.complete_rows])


def measure_coverage(window: Window) -> LabelCoverage:
    """Find the first part of a window, in order of time, in which labels are complete."""
    labelled = window.has_label
    rows, count = len(labelled), int(labelled.sum())
    if not count:
        return LabelCoverage(rows, 0, 0, 0.0, is_biased=False)
    complete = _count_complete(labelled)
    part = labelled[:complete]
    share = float(part.mean())
    score = window.output[:complete]
    if score.ndim > 1:
        score = score[:, 1] if score.shape[1] == 2 else score.max(axis=1)  # noqa: PLR2004
    return LabelCoverage(rows, count, complete, share, is_biased=_differ(score[part], score[~part]))


def _count_complete(labelled: NDArray[np.bool_]) -> int:
    edges = np.unique(np.linspace(0, len(labelled), _PARTS + 1).astype(np.intp))
    shares = np.add.reduceat(labelled.astype(np.float64), edges[:-1]) / np.diff(edges)
    usual = float(np.quantile(shares, 0.9))
    last = len(shares)
    while last > 1 and shares[last - 1] < _MIN_COVERAGE * usual:
        last -= 1
    return int(edges[last])


def _differ(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    least = 30
    if min(len(one), len(other)) < least:
        return False
    values = np.concatenate([one, other])
    gap = np.abs(
        np.searchsorted(np.sort(one), values, side="right") / len(one)
        - np.searchsorted(np.sort(other), values, side="right") / len(other)
    ).max()
    scale = np.sqrt((len(one) + len(other)) / (len(one) * len(other)))
    # More than by chance, and more than an irrelevant difference.
    return bool(gap > max(_CRITICAL_VALUE * scale, 0.1))
