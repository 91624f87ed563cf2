"""A column's values as codes of one byte: bins of a number, ranks of a category.

The codes are fixed by reference rows. Any other rows, read by the same coding, can then be counted,
added up and compared without their values.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from mlops_cli.drift.bins import Grid, breaks_of

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = [
    "ABOVE",
    "BELOW",
    "GROUPS",
    "MISSING",
    "MOST_NAMES",
    "OTHER",
    "BinnedColumn",
    "Binning",
    "bin_group",
]

MOST_NAMES = 250
"""Categories with a code of their own; rarer ones share ``OTHER``."""
BELOW, ABOVE, OTHER, MISSING = 0, 253, 254, 255
"""Bins are 1 to 64, between the two; categories count from 0."""
GROUPS = 1000
"""Names of a column that has many are counted by so many groups, which a hash of them decides."""
_BLOCKS = 16
"""The reference is cut into so many, to see how many names of a part are new to the others."""
_LONGEST = 200
"""Characters of a category that are kept."""


class BinnedColumn(NamedTuple):
    """Values as a coding understands them: counts by code, and what the codes leave out."""

    counts: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    misfits: int
    others: Mapping[str, int]
    dtype: str
    groups: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Binning:
    """How a column is coded.

    Parameters
    ----------
    kind
        number, boolean or category.
    breaks
        Where a number's bins begin, rising, and the greatest number; it belongs to the last bin.
    names
        Categories by falling frequency, ties by spelling.
    complete
        Whether no category of the reference lacks a code.
    strangers
        Share of later rows without a code that is to be expected.
    grouped
        Whether names are counted by their hash as well: where later rows will have others, which
        names have a code is chance.
    """

    kind: str
    breaks: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    complete: bool = True
    strangers: float = 0.0
    grouped: bool = False

    @classmethod
    def fit(cls, column: pl.Series, kind: str) -> Binning:
        """The coding that reference rows suggest."""
        if kind == "number":
            values, _ = _numbers(column)
            return cls(kind, breaks_of(values.drop_nulls().to_numpy()))
        if kind == "boolean":
            return cls(kind, names=("false", "true"))
        text = _texts(column)[0].drop_nulls()
        ranked = _ranked(text)
        names, complete = tuple(ranked[:MOST_NAMES]), len(ranked) <= MOST_NAMES
        strangers = _strangers(text)
        grouped = not complete or strangers > 0
        return cls(kind, names=names, complete=complete, strangers=strangers, grouped=grouped)

    @property
    def bins(self) -> int:
        """How many bins a number has."""
        return max(len(self.breaks) - 1, 0)

    @property
    def discrete(self) -> bool:
        """Whether each number of the reference has a bin of its own."""
        return len(self.breaks) > 1 and self.breaks[-1] == self.breaks[-2]

    @property
    def untested(self) -> bool:
        """Whether it is of a version that knew no groups, so that its names can't be tested."""
        return not self.grouped and (not self.complete or self.strangers > 0)

    @property
    def centre(self) -> float:
        """What sums are taken about, so that they don't lose digits."""
        return self.breaks[len(self.breaks) // 2] if self.breaks else 0.0

    def read(self, column: pl.Series) -> BinnedColumn:
        """Count a column's values; values that aren't of its kind are misfits."""
        dtype = str(column.dtype)
        if self.kind == "number":
            series, misfits = _numbers(column)
            values = series.drop_nulls().to_numpy()
            return BinnedColumn(self._counted(values, len(column)), values, misfits, {}, dtype)
        text, misfits = _booleans(column) if self.kind == "boolean" else _texts(column)
        counts, others, groups = self._named(text)
        return BinnedColumn(counts, np.empty(0), misfits, others, dtype, groups)

    def codes(self, column: pl.Series) -> npt.NDArray[np.uint8]:
        """The code of each row."""
        if self.kind != "number":
            return self._ranks(column).to_numpy().astype(np.uint8)
        series, _ = _numbers(column)
        values = series.fill_null(math.nan).to_numpy()
        found = np.searchsorted(self._limits, values, side="right")
        if self.breaks:
            found[values > self.breaks[-1]] = ABOVE
        else:
            found[:] = ABOVE
        found[np.isnan(values)] = MISSING
        return found.astype(np.uint8)

    def numbers(self, column: pl.Series) -> npt.NDArray[np.float64]:
        """A number's values, NaN where there is none."""
        return _numbers(column)[0].fill_null(math.nan).to_numpy()

    def label(self, code: int) -> str:
        """What a code means, in words."""
        if code == MISSING:
            return "missing"
        if self.kind != "number":
            return "other" if code == OTHER else self.names[code]
        if not self.bins:
            return "any"
        if code == BELOW:
            return f"below {self.breaks[0]:g}"
        if code == ABOVE:
            return f"above {self.breaks[-1]:g}"
        return self.span(code, code)

    def span(self, first: int, last: int) -> str:
        """What a number's bins, from one to another, hold."""
        low, high = self.breaks[first - 1], self.breaks[last - 1 if self.discrete else last]
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        if self.kind == "number":
            return {"kind": self.kind, "breaks": list(self.breaks)}
        return {
            "kind": self.kind,
            "names": list(self.names),
            "complete": self.complete,
            "strangers": self.strangers,
            **({"grouped": True} if self.grouped else {}),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Binning:
        """From what ``to_json`` gave."""
        return cls(
            tree["kind"],
            tuple(float(b) for b in tree.get("breaks", ())),
            tuple(tree.get("names", ())),
            tree.get("complete", True),
            tree.get("strangers", 0.0),
            tree.get("grouped", False),
        )

    @cached_property
    def _limits(self) -> npt.NDArray[np.float64]:
        """Where bins begin: ``searchsorted`` (right) gives the code, but for ``ABOVE``."""
        return np.array(self.breaks[:-1])

    @cached_property
    def _grid(self) -> Grid:
        return Grid.over(self._limits)

    def _counted(self, values: npt.NDArray[np.float64], rows: int) -> npt.NDArray[np.int64]:
        counts = np.zeros(256, dtype=np.int64)
        counts[MISSING] = rows - len(values)
        if not len(self._limits):
            counts[ABOVE] = len(values)
            return counts
        counts[: self.bins + 1] = self._grid.counts(values)
        counts[ABOVE] = np.count_nonzero(values > self.breaks[-1])
        counts[self.bins] -= counts[ABOVE]
        return counts

    def _named(
        self, text: pl.Series
    ) -> tuple[npt.NDArray[np.int64], dict[str, int], npt.NDArray[np.int64] | None]:
        """Counts by code, those of names without one, and those by group."""
        counts = np.zeros(256, dtype=np.int64)
        groups = np.zeros(GROUPS, dtype=np.int64) if self.grouped else None
        others: dict[str, int] = {}
        for name, n in text.alias("name").value_counts(name="n").iter_rows():
            # A boolean is its own code.
            code = self._codes.get(name) if isinstance(name, str) else name
            if name is None:
                counts[MISSING] += n
                continue
            if groups is not None:
                groups[bin_group(name)] += n
            if code is None:
                others[name] = n
            else:
                counts[int(code)] += n
        counts[OTHER] = sum(others.values())
        return counts, others, groups

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names)}

    def _ranks(self, column: pl.Series) -> pl.Series:
        """Codes, UInt8.

        Where later rows will have other names, a code of its own would tell them from the
        reference: such names have the code of another one, by their hash.
        """
        text, _ = _booleans(column) if self.kind == "boolean" else _texts(column)
        text = text.cast(pl.String)
        if not self.complete:
            return self._hashed(text, MOST_NAMES)
        known = text.cast(pl.Enum(self.names), strict=False).to_physical().cast(pl.UInt8)
        if known.null_count():
            strange = self._hashed(text, len(self.names)) if self.grouped else OTHER
            known = known.fill_null(strange)
            if text.null_count():
                known = known.zip_with(text.is_not_null(), _constant(MISSING, len(text)))
        return known

    @staticmethod
    def _hashed(text: pl.Series, codes: int) -> pl.Series:
        names = text.drop_nulls().unique()
        found = pl.Series([bin_group(name) % codes for name in names], dtype=pl.UInt8)
        return text.replace_strict(names, found, default=MISSING, return_dtype=pl.UInt8)


def _ranked(text: pl.Series) -> list[str]:
    """Names by falling frequency, ties by spelling."""
    counts = text.alias("name").value_counts(name="n")
    return list(counts.sort(["n", "name"], descending=[True, False])["name"])


def bin_group(name: str) -> int:
    """The group of a name: the same on every machine, and whatever its frequency is."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % GROUPS


def _strangers(text: pl.Series) -> float:
    """Share of rows whose name would have no code, had other rows chosen the names.

    The rows that choose the names are no measure of it: what they have is chosen. So the rows,
    which are in order, are cut into parts, and each is judged by the names of all others but its
    neighbours: rows of one entity that follow each other are not to know each other. The last part
    counts by itself too, as names may be coming in all the time.
    """
    if not len(text):
        return 0.0
    parts = min(_BLOCKS, len(text))
    block = pl.Series("block", np.arange(len(text)) * parts // len(text))
    rows = pl.DataFrame([text.alias("name"), block]).group_by("name", "block").len("n")
    strange = 0
    for part in range(parts):
        apart = (pl.col("block") < part - 1) | (pl.col("block") > part + 1)
        chosen = rows.filter(apart).group_by("name").agg(pl.col("n").sum())
        names = chosen.sort(["n", "name"], descending=[True, False])["name"].head(MOST_NAMES)
        judged = rows.filter(block=part)
        last = int(judged.filter(~pl.col("name").is_in(names.implode()))["n"].sum())
        strange += last
    return round(max(strange / len(text), last / int(judged["n"].sum())), 6)


def _numbers(column: pl.Series) -> tuple[pl.Series, int]:
    """Finite numbers (Float64), and how many values are none."""
    filled = len(column) - column.null_count()
    try:
        values = column.cast(pl.Float64, strict=False)
    except pl.exceptions.PolarsError:
        return _constant(None, len(column), pl.Float64), filled
    misfits = filled - (len(values) - values.null_count())
    if column.dtype.is_integer():
        return values, misfits
    finite = values.is_finite()
    if not finite.all():
        values = values.zip_with(finite.fill_null(value=False), _constant(None, 1, pl.Float64))
    return values, misfits


def _texts(column: pl.Series) -> tuple[pl.Series, int]:
    """Categories as text, and how many values can't be."""
    filled = len(column) - column.null_count()
    try:
        text = column.cast(pl.String, strict=False)
    except pl.exceptions.PolarsError:
        return _constant(None, len(column), pl.String), filled
    longest = text.str.len_bytes().max()
    if isinstance(longest, int) and longest > _LONGEST:
        text = text.str.slice(0, _LONGEST)
    return text, filled - (len(text) - text.null_count())


def _booleans(column: pl.Series) -> tuple[pl.Series, int]:
    """As Boolean, and how many values are neither."""
    filled = len(column) - column.null_count()
    if column.dtype == pl.Boolean:
        return column, 0
    if column.dtype.is_numeric():
        found = column.cast(pl.Float64)
        found = pl.select(
            pl.when(found == 0).then(pl.lit(value=False)).when(found == 1).then(pl.lit(value=True))
        ).to_series()
    else:
        text, _ = _texts(column)
        words = {"false": False, "true": True}
        found = text.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
    return found, filled - (len(found) - found.null_count())


def _constant(value: Any, rows: int, dtype: Any = pl.UInt8) -> pl.Series:
    return pl.repeat(value, rows, dtype=dtype, eager=True)
