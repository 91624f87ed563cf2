"""Names of a column in cells that are tested: chosen without a look at what is then tested.

A name that was frequent in the reference was so by chance too, and is rarer later on. Whoever
chooses the names to look at by the reference's counts finds this fall in each window. So the
choice goes by the rows that the reference and the window have of a name *together*: given that
sum, nothing but chance says which of them are the window's, as in Fisher's exact test. Names with
enough rows make a cell each. The rest are taken in the order of a hash, as many to a cell as a
test needs. A column with many names isn't counted by name at all, but by a hash of it
(``coding.GROUPS``), for the reference's frequent names are again chosen by its counts.
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

_LEAST_EXPECTED = 5.0
"""Rows of the smaller sample in a cell, without drift."""


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
        What is put together: names' codes, or hash groups, in an order that no count decides.
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
    def of(cls, reference: Sketch, window: Sketch, m: float, n: float) -> NameCells:
        """Choose the cells by the rows of both samples together."""
        coding = reference.coding
        if coding.grouped:
            units = np.arange(GROUPS)
        else:
            codes = [*range(len(coding.names)), OTHER]
            units = np.array(sorted(codes, key=lambda code: bin_group(coding.label(code))))
        ours, theirs = (_by_unit(s)[units] for s in (reference, window))
        pooled = (m * _shares(ours) + n * _shares(theirs)) / (m + n)
        return cls(reference, window, m, n, units, _cells(pooled * min(m, n)))

    @cached_property
    def rows(self) -> tuple[Counts, Counts]:
        """Rows of the reference and of the window, by cell."""
        ours, theirs = (_by_unit(s)[self.units] for s in (self.reference, self.window))
        size = int(self.cells.max(initial=-1)) + 1
        first, second = (
            np.bincount(self.cells, counts, size).astype(np.int64) for counts in (ours, theirs)
        )
        return first, second

    @cached_property
    def p_value(self) -> float:
        """Of the same distribution: by all cells together, or by the one that differs most."""
        p, q = map(_shares, self.rows)
        every = significance.chi_squared_p_value(p, q, self.m, self.n)
        if len(p) <= 2:  # noqa: PLR2004 - of two cells, one says it all
            return every
        return min(1.0, 2 * min(every, self._foremost[1]))

    def distance(self, measure: Callable[[Counts, Counts, float], float]) -> float:
        """A distance of the two, less what chance gives in 19 of 20 windows.

        Over all cells, or of the one that differs most against all others: in a small window the
        chance of hundreds of cells would hide it.

        Parameters
        ----------
        measure
            Of rows of the reference and of the window by cell, and what to take off.
        """
        p, q = self.rows
        cell, _ = self._foremost
        size = len(p)
        one, other = (np.array([rows[cell], rows.sum() - rows[cell]]) for rows in self.rows)
        return max(
            measure(p, q, significance.distance_by_chance(size, self.m, self.n)),
            measure(one, other, significance.distance_by_chance(2, self.m, self.n, of=size)),
        )

    def most(self) -> tuple[str, float, float]:
        """The cell that differs most surely in words, and its shares of the window, the reference.

        What is shown is what was tested.
        """
        p, q = map(_shares, self.rows)
        cell, _ = self._foremost
        return self._label(cell), float(q[cell]), float(p[cell])

    def tested(self) -> str:
        """What the cells are, in words."""
        size = int(np.count_nonzero(sum(self.rows)))
        names = np.count_nonzero(_by_unit(self.reference) + _by_unit(self.window))
        alone = size == names and not self.reference.coding.grouped
        return f"{size:,} {'names' if alone else 'groups of names'}"

    @cached_property
    def _foremost(self) -> tuple[int, float]:
        p, q = map(_shares, self.rows)
        return significance.most_changed_cell(p, q, self.m, self.n)

    def _label(self, cell: int) -> str:
        whole = (int(self.rows[0][cell]), int(self.rows[1][cell]))
        known = list(self._names(cell)) or [("", 0, 0)]
        name, *counts = max(known, key=lambda k: abs(self._gap(k[1], k[2])))
        if tuple(counts) == whole:
            return repr(name)
        if abs(self._gap(*counts)) < abs(self._gap(*whole)) / 2:
            return "a group of rare names"
        return f"the group of names with {name!r}"

    def _gap(self, ours: int, theirs: int) -> float:
        return theirs / max(self.window.present, 1) - ours / max(self.reference.present, 1)

    def _names(self, cell: int) -> Iterator[tuple[str, int, int]]:
        """Those of a cell's names whose rows are known, with the reference's and the window's."""
        coding, units = self.reference.coding, set(self.units[self.cells == cell].tolist())
        ours, theirs = self.reference.counts, self.window.counts
        for code, name in enumerate(coding.names):
            if (bin_group(name) if coding.grouped else code) in units:
                yield name, int(ours[code]), int(theirs[code])
        for name, count in self.window.others.items():
            if (bin_group(name) if coding.grouped else OTHER) in units:
                yield name, self.reference.others.get(name, 0), count


def _by_unit(sketch: Sketch) -> Counts:
    if sketch.groups is not None:
        return sketch.groups
    return sketch.counts[:MISSING]


def _shares(counts: Counts) -> npt.NDArray[np.float64]:
    shares: npt.NDArray[np.float64] = counts / max(counts.sum(), 1)
    return shares


def _cells(expected: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """The cell of each unit, by the rows that the smaller sample is expected to have of it."""
    cells = np.zeros(len(expected), dtype=np.intp)
    alone = expected >= _LEAST_EXPECTED
    cells[alone] = np.arange(alone.sum())
    rest = np.cumsum(expected[~alone])
    if len(rest) and rest[-1] > 0:
        groups = max(int(rest[-1] / _LEAST_EXPECTED), 1)
        place = (rest * (groups / rest[-1]) - 1e-9).astype(np.intp)
        cells[~alone] = alone.sum() + np.clip(place, 0, groups - 1)
    return np.unique(cells, return_inverse=True)[1].astype(np.intp)
