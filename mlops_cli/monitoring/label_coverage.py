"""How far the labels of a window have come in, and whether those without one are like the others.

Labels come late. At a window's end there are predictions whose outcome nobody can know yet, and
what is known early isn't like the rest (a flight that lands on time is known before a late one).
Performance is therefore measured up to where labels are complete.
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
_LATE = 0.8
"""The end of a window, where labels cover less than this of what is usual, isn't complete."""
_GAP = 1.95
"""Kolmogorov and Smirnov's limit for one in a thousand."""


@dataclass(frozen=True)
class LabelCoverage:
    """What share of the rows has labels.

    Attributes
    ----------
    rows, labelled
        Of the whole window.
    complete
        How many of the first rows make the part in which labels are complete.
    share
        Of that part, how much has labels.
    different
        Whether predictions without label differ there from those with one; then the ones that
        are missing aren't missing by chance, and performance may be another on the whole.
    """

    rows: int
    labelled: int
    complete: int
    share: float
    different: bool

    def used(self, labelled: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The labelled rows of the complete part."""
        return np.flatnonzero(labelled[: self.complete])


def measure_coverage(window: Window) -> LabelCoverage:
    """Find the part of a window, whose rows are in order of time, in which labels are complete."""
    labelled = window.labelled
    rows, count = len(labelled), int(labelled.sum())
    if not count:
        return LabelCoverage(rows, 0, 0, 0.0, different=False)
    complete = _complete(labelled)
    part = labelled[:complete]
    share = float(part.mean())
    score = window.output[:complete]
    if score.ndim > 1:
        score = score[:, 1] if score.shape[1] == 2 else score.max(axis=1)  # noqa: PLR2004
    return LabelCoverage(rows, count, complete, share, different=_differ(score[part], score[~part]))


def _complete(labelled: NDArray[np.bool_]) -> int:
    edges = np.unique(np.linspace(0, len(labelled), _PARTS + 1).astype(np.intp))
    shares = np.add.reduceat(labelled.astype(np.float64), edges[:-1]) / np.diff(edges)
    usual = float(np.quantile(shares, 0.9))
    last = len(shares)
    while last > 1 and shares[last - 1] < _LATE * usual:
        last -= 1
    return int(edges[last])


def _differ(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    least = 30
    if min(len(one), len(other)) < least:
        return False
    at = np.concatenate([one, other])
    gap = np.abs(
        np.searchsorted(np.sort(one), at, side="right") / len(one)
        - np.searchsorted(np.sort(other), at, side="right") / len(other)
    ).max()
    scale = np.sqrt((len(one) + len(other)) / (len(one) * len(other)))
    # More than by chance, and more than what hardly matters.
    return bool(gap > max(_GAP * scale, 0.1))
