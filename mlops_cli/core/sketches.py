"""One column in a few hundred numbers: counts by code, that add up over any split of the rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.core.coding import ABOVE, BELOW, GROUPS, MISSING, OTHER, Coding

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.core.coding import Read

__all__ = ["Sketch"]

_EXAMPLES = 100
"""So many names outside the coding are kept, the most frequent of each part."""


@dataclass(frozen=True)
class Sketch:
    """What is known of a column.

    Parameters
    ----------
    coding
        What the codes mean.
    counts
        Rows by code, (256,).
    misfits
        Values that can't be read as the column's kind; they count as missing too.
    total, squares
        Sums of ``x - coding.centre`` and of its square over the finite numbers.
    low, high
        Least and greatest number; None without any.
    others
        Category -> rows, of categories outside the coding: the most frequent ones, in the parts
        of the rows where they were among them.
    dtype
        The type that the values had.
    absent
        Whether the rows lacked the column.
    groups
        Rows by group of names (``coding.group_of``), where the coding has groups.
    """

    coding: Coding
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
    def of(cls, coding: Coding, read: Read) -> Sketch:
        """The sketch of values that were read by a coding."""
        counts = np.zeros(256, dtype=np.int64)
        counts[: len(read.counts)] = read.counts
        others = _most_frequent(read.others)
        if coding.kind != "number" or not len(read.values):
            return cls(
                coding, counts, read.misfits, others=others, dtype=read.dtype, groups=read.groups
            )
        with np.errstate(over="ignore", invalid="ignore"):
            apart = read.values - coding.centre
            total, squares = _finite(apart.sum()), _finite((apart * apart).sum())
        return cls(
            coding,
            counts,
            read.misfits,
            total,
            squares,
            float(read.values.min()),
            float(read.values.max()),
            dtype=read.dtype,
        )

    @classmethod
    def nothing(cls, coding: Coding, rows: int = 0) -> Sketch:
        """Of rows that lack the column."""
        counts = np.zeros(256, dtype=np.int64)
        counts[MISSING] = rows
        groups = np.zeros(GROUPS, dtype=np.int64) if coding.grouped else None
        return cls(coding, counts, absent=True, groups=groups)

    def merge(self, other: Sketch) -> Sketch:
        """The sketch of the rows of both."""
        if self.coding != other.coding:
            msg = "sketches of different codings can't be merged"
            raise ValueError(msg)
        names = {*self.others, *other.others}
        lows = [v for v in (self.low, other.low) if v is not None]
        highs = [v for v in (self.high, other.high) if v is not None]
        return Sketch(
            self.coding,
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
        """All rows."""
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        """Rows without a value that can be read."""
        return int(self.counts[MISSING])

    @property
    def present(self) -> int:
        """Rows with one."""
        return self.rows - self.missing

    @property
    def outside(self) -> int:
        """Rows below or above the reference's range, or of a category without a code."""
        if self.coding.kind == "number":
            return int(self.counts[BELOW] + self.counts[ABOVE])
        return int(self.counts[OTHER])

    @property
    def distinct(self) -> int:
        """Codes that occur, missing aside."""
        return int(np.count_nonzero(self.counts[:MISSING]))

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Share of the present rows by code, in order, (255,); zeros if there are none."""
        return self.counts[:MISSING] / max(self.present, 1)

    @property
    def mean(self) -> float:
        """Of the numbers; NaN without any."""
        return self.coding.centre + self.total / self.present if self.present else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the numbers; NaN without any."""
        if not self.present:
            return math.nan
        mean = self.total / self.present
        return math.sqrt(max(self.squares / self.present - mean * mean, 0.0))

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        tree: dict[str, Any] = {"coding": self.coding.to_json()}
        codes = np.flatnonzero(self.counts)
        tree["counts"] = {str(code): int(self.counts[code]) for code in codes}
        tree |= {"misfits": self.misfits, "dtype": self.dtype, "absent": self.absent}
        if self.coding.kind == "number":
            tree |= {"total": self.total, "squares": self.squares}
            tree |= {"low": self.low, "high": self.high}
        else:
            tree["others"] = dict(self.others)
        if self.groups is not None:
            tree["groups"] = self.groups.tolist()
        return tree

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Sketch:
        """From what ``to_json`` gave."""
        counts = np.zeros(256, dtype=np.int64)
        for code, n in tree["counts"].items():
            counts[int(code)] = n
        return cls(
            Coding.from_json(tree["coding"]),
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
    """Sums of the hugest numbers overflow, and JSON has no word for that: the largest float."""
    return float(np.nan_to_num(total))


def _most_frequent(others: Mapping[str, int]) -> dict[str, int]:
    ranked = sorted(others.items(), key=lambda entry: (-entry[1], entry[0]))
    return dict(sorted(ranked[:_EXAMPLES]))
