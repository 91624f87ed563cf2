"""Mergeable sketch of one column: counts by code, sums and extremes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.drift.binning import ABOVE, BELOW, GROUPS, MISSING, OTHER, Binning

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.drift.binning import BinnedColumn

__all__ = ["Sketch"]

_EXAMPLES = 100
"""Maximum names without a code that are kept: the most frequent of each part of the rows."""


@dataclass(frozen=True)
class Sketch:
    """Summary of a column's values.

    Parameters
    ----------
    binning
        The binning, which defines the codes.
    counts
        Rows by code, (256,).
    misfits
        Values that can't be read as the column's kind; they also count as missing.
    total, squares
        Sums of ``x - binning.centre`` and of its square, over the finite numbers.
    low, high
        Minimum and maximum of the numbers; None if there is none.
    others
        Category -> rows, of the most frequent categories without a code. Of merged sketches, only
        those rows count in whose part the category was among the most frequent.
    dtype
        The data type of the values.
    absent
        Whether the rows lacked the column.
    groups
        Rows by hash group of the name (``binning.bin_group``), where the binning has groups.
    """

    binning: Binning
    counts: npt.NDArray[np.int64]
    misfits: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float | None = None
    high: float | None = None
    others: Mapping[str, int] = field(default_factory=dict)
    dtype: str = ""
    absent: bool = False
    groups: npt.NDArray[np.int64] | None = None

    @classmethod
    def from_binned(cls, binning: Binning, binned: BinnedColumn) -> Sketch:
        """Sketch values that a binning has counted."""
        counts = np.zeros(256, dtype=np.int64)
        counts[: len(binned.counts)] = binned.counts
        others = _most_frequent(binned.others)
        if binning.kind != "number" or not len(binned.values):
            return cls(
                binning,
                counts,
                binned.misfits,
                others=others,
                dtype=binned.dtype,
                groups=binned.groups,
            )
        with np.errstate(over="ignore", invalid="ignore"):
            centred = binned.values - binning.centre
            total, squares = _finite(centred.sum()), _finite((centred * centred).sum())
        return cls(
            binning,
            counts,
            binned.misfits,
            total,
            squares,
            float(binned.values.min()),
            float(binned.values.max()),
            dtype=binned.dtype,
        )

    @classmethod
    def from_absent_column(cls, binning: Binning, rows: int = 0) -> Sketch:
        """Sketch rows that lack the column."""
        counts = np.zeros(256, dtype=np.int64)
        counts[MISSING] = rows
        groups = np.zeros(GROUPS, dtype=np.int64) if binning.has_groups else None
        return cls(binning, counts, absent=True, groups=groups)

    def merge(self, other: Sketch) -> Sketch:
        """Sketch the rows of both."""
        if self.binning != other.binning:
            msg = "sketches of different codings can't be merged"
            raise ValueError(msg)
        names = {*self.others, *other.others}
        lows = [v for v in (self.low, other.low) if v is not None]
        highs = [v for v in (self.high, other.high) if v is not None]
        return Sketch(
            self.binning,
            self.counts + other.counts,
            self.misfits + other.misfits,
            _finite(self.total + other.total),
            _finite(self.squares + other.squares),
            min(lows, default=None),
            max(highs, default=None),
            _most_frequent({n: self.others.get(n, 0) + other.others.get(n, 0) for n in names}),
            " or ".join(dict.fromkeys(filter(None, (self.dtype, other.dtype)))),
            self.absent and other.absent,
            None if self.groups is None or other.groups is None else self.groups + other.groups,
        )

    @cached_property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        """Number of rows without a value that can be read."""
        return int(self.counts[MISSING])

    @property
    def present(self) -> int:
        """Number of rows with a value."""
        return self.rows - self.missing

    @property
    def outside(self) -> int:
        """Number of rows outside the reference's range, or with a category without a code."""
        if self.binning.kind == "number":
            return int(self.counts[BELOW] + self.counts[ABOVE])
        return int(self.counts[OTHER])

    @property
    def distinct(self) -> int:
        """Number of codes that occur, except for missing values."""
        return int(np.count_nonzero(self.counts[:MISSING]))

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Share of the rows with a value by code, (255,); zeros if there is no such row."""
        return self.counts[:MISSING] / max(self.present, 1)

    @property
    def mean(self) -> float:
        """Mean of the numbers; NaN if there is none."""
        return self.binning.centre + self.total / self.present if self.present else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers; NaN if there is none."""
        if not self.present:
            return math.nan
        mean = self.total / self.present
        return math.sqrt(max(self.squares / self.present - mean * mean, 0.0))

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        tree: dict[str, Any] = {"coding": self.binning.to_json()}
        codes = np.flatnonzero(self.counts)
        tree["counts"] = {str(code): int(self.counts[code]) for code in codes}
        tree |= {"misfits": self.misfits, "dtype": self.dtype, "absent": self.absent}
        if self.binning.kind == "number":
            tree |= {"total": self.total, "squares": self.squares}
            tree |= {"low": self.low, "high": self.high}
        else:
            tree["others"] = dict(self.others)
        if self.groups is not None:
            tree["groups"] = self.groups.tolist()
        return tree

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Sketch:
        """Restore from the result of ``to_json``."""
        counts = np.zeros(256, dtype=np.int64)
        for code, n in tree["counts"].items():
            counts[int(code)] = n
        return cls(
            Binning.from_json(tree["coding"]),
            counts,
            tree["misfits"],
            tree.get("total", 0.0),
            tree.get("squares", 0.0),
            tree.get("low"),
            tree.get("high"),
            tree.get("others", {}),
            tree["dtype"],
            tree["absent"],
            np.array(tree["groups"], dtype=np.int64) if "groups" in tree else None,
        )


def _finite(total: float) -> float:
    """Sums of huge numbers overflow to infinity, which JSON can't represent."""
    return float(np.nan_to_num(total))


def _most_frequent(others: Mapping[str, int]) -> dict[str, int]:
    ranked = sorted(others.items(), key=lambda entry: (-entry[1], entry[0]))
    return dict(sorted(ranked[:_EXAMPLES]))
