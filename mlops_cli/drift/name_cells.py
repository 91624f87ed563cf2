"""Cells of a column's names for drift tests, chosen independently of what is tested.

A name that was frequent in the reference was so partly by chance, and is rarer later on. Cells that
are chosen by the reference's counts would show this fall in each window. So the choice depends on
the rows that the reference and the window have of a name *together*. Given that sum, only chance
decides which of the rows are the window's, as in Fisher's exact test. Names with enough rows get a
cell each. The rest are taken in the order of a hash, as many to a cell as a test needs. A column
with many names isn't counted by name at all, but by a hash of it (``binning.GROUPS``), because the
reference's frequent names are also chosen by its counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.drift import significance
from mlops_cli.drift.binning import GROUPS, MISSING, OTHER, bin_group

if TYPE_CHECKING:
    import numpy.typing as npt

    from mlops_cli.drift.column_sketch import Sketch

    Counts = npt.NDArray[np.int64]

__all__ = ["NameCells"]

_MIN_EXPECTED = 5.0
"""Minimum expected rows of the smaller sample in a cell, without drift."""


@dataclass(frozen=True)
class NameCells:
    """Two samples of names, counted in the same cells.

    Parameters
    ----------
    reference, window
        The column on both sides.
    m, n
        Effective rows with a value.
    units
        Codes of names, or hash groups, in an order that doesn't depend on counts.
    cells
        The cell of each unit.
    """

    reference: Sketch
    window: Sketch
    m: float
    n: float
    units: npt.NDArray[np.intp]
    cells: npt.NDArray[np.intp]

    @classmethod
    def choose(cls, reference: Sketch, window: Sketch, m: float, n: float) -> NameCells:
        """Choose the cells by the rows of both samples together."""
        binning = reference.binning
        if binning.has_groups:
            units = np.arange(GROUPS)
        else:
            codes = [*range(len(binning.names)), OTHER]
            units = np.array(sorted(codes, key=lambda code: bin_group(binning.label(code))))
        ours, theirs = (_unit_counts(s)[units] for s in (reference, window))
        pooled = (m * _shares(ours) + n * _shares(theirs)) / (m + n)
        return cls(reference, window, m, n, units, _assign_cells(pooled * min(m, n)))

    @cached_property
    def rows(self) -> tuple[Counts, Counts]:
        """Rows of the reference and of the window, by cell."""
        ours, theirs = (_unit_counts(s)[self.units] for s in (self.reference, self.window))
        size = int(self.cells.max(initial=-1)) + 1
        first, second = (
            np.bincount(self.cells, counts, size).astype(np.int64) for counts in (ours, theirs)
        )
        return first, second

    @cached_property
    def p_value(self) -> float:
        """P-value of equal distributions, by all cells together or the most significant one."""
        p, q = map(_shares, self.rows)
        overall = significance.chi_squared_p_value(p, q, self.m, self.n)
        if len(p) <= 2:  # noqa: PLR2004 - two cells differ by the same amount
            return overall
        return min(1.0, 2 * min(overall, self._most_changed[1]))

    def distance(self, measure: Callable[[Counts, Counts, float], float]) -> float:
        """Distance between the two, less what chance stays below in 19 of 20 windows.

        It is the greater of two distances: over all cells, and of the most significant
        cell against all others. In a small window, the chance of hundreds of cells would hide the
        latter.

        Parameters
        ----------
        measure
            Distance as a function of the reference's rows by cell, the window's, and the amount to
            subtract.
        """
        p, q = self.rows
        cell, _ = self._most_changed
        size = len(p)
        one, other = (np.array([rows[cell], rows.sum() - rows[cell]]) for rows in self.rows)
        return max(
            measure(p, q, significance.distance_by_chance(size, self.m, self.n)),
            measure(
                one, other, significance.distance_by_chance(2, self.m, self.n, comparisons=size)
            ),
        )

    def most_changed(self) -> tuple[str, float, float]:
        """Label of the most significant cell, and its shares in the window and the reference.

        These are the shares that were tested.
        """
        p, q = map(_shares, self.rows)
        cell, _ = self._most_changed
        return self._label_cell(cell), float(q[cell]), float(p[cell])

    def describe_cells(self) -> str:
        """Number and kind of the cells, in words."""
        size = int(np.count_nonzero(sum(self.rows)))
        names = np.count_nonzero(_unit_counts(self.reference) + _unit_counts(self.window))
        one_per_name = size == names and not self.reference.binning.has_groups
        return f"{size:,} {'names' if one_per_name else 'groups of names'}"

    @cached_property
    def _most_changed(self) -> tuple[int, float]:
        p, q = map(_shares, self.rows)
        return significance.most_changed_cell(p, q, self.m, self.n)

    def _label_cell(self, cell: int) -> str:
        cell_counts = (int(self.rows[0][cell]), int(self.rows[1][cell]))
        names = list(self._names(cell)) or [("", 0, 0)]
        name, *counts = max(names, key=lambda k: abs(self._gap(k[1], k[2])))
        if tuple(counts) == cell_counts:
            return repr(name)
        if abs(self._gap(*counts)) < abs(self._gap(*cell_counts)) / 2:
            return "a group of rare names"
        return f"the group of names with {name!r}"

    def _gap(self, ours: int, theirs: int) -> float:
        return theirs / max(self.window.present, 1) - ours / max(self.reference.present, 1)

    def _names(self, cell: int) -> Iterator[tuple[str, int, int]]:
        """Names of a cell with known counts, and their rows in the reference and the window."""
        binning, units = self.reference.binning, set(self.units[self.cells == cell].tolist())
        ours, theirs = self.reference.counts, self.window.counts
        for code, name in enumerate(binning.names):
            if (bin_group(name) if binning.has_groups else code) in units:
                yield name, int(ours[code]), int(theirs[code])
        for name, count in self.window.others.items():
            if (bin_group(name) if binning.has_groups else OTHER) in units:
                yield name, self.reference.others.get(name, 0), count


def _unit_counts(sketch: Sketch) -> Counts:
    if sketch.groups is not None:
        return sketch.groups
    return sketch.counts[:MISSING]


def _shares(counts: Counts) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = counts / max(counts.sum(), 1)
    return shares


def _assign_cells(expected: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Assign a cell to each unit, by its expected rows in the smaller sample."""
    cells = np.zeros(len(expected), dtype=np.intp)
    separate = expected >= _MIN_EXPECTED
    cells[separate] = np.arange(separate.sum())
    rest = np.cumsum(expected[~separate])
    if len(rest) and rest[-1] > 0:
        groups = max(int(rest[-1] / _MIN_EXPECTED), 1)
        position = (rest * (groups / rest[-1]) - 1e-9).astype(np.intp)
        cells[~separate] = separate.sum() + np.clip(position, 0, groups - 1)
    return np.unique(cells, return_inverse=True)[1].astype(np.intp)
