"""Binning of a column: values as codes of one byte, by a number's bin or a category's rank.

Reference rows fix the codes. Any other rows in the same binning can then be counted, added up and
compared without their values.
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
    "MAX_NAMES",
    "MISSING",
    "OTHER",
    "BinnedColumn",
    "Binning",
    "bin_group",
]

MAX_NAMES = 250
"""Categories with a code of their own; rarer ones share ``OTHER``."""
BELOW, ABOVE, OTHER, MISSING = 0, 253, 254, 255
"""Codes outside of a number's bins (1 to 64) and of the categories (from 0)."""
GROUPS = 1000
"""Number of groups, by hash, in which the names of a column with many names are counted."""
_BLOCKS = 16
"""Blocks of the reference, to measure how many names of a block the other blocks lack."""
_LONGEST = 200
"""Characters of a category that are kept."""


class BinnedColumn(NamedTuple):
    """A column's values, counted by code, and what the codes leave out.

    Attributes
    ----------
    counts
        Rows by code.
    values
        The finite numbers; empty for other kinds.
    misfits
        How many values can't be read as the column's kind.
    others
        Category -> rows, of categories without a code.
    dtype
        The column's data type.
    groups
        Rows by hash group of the name, where the binning has groups.
    """

    counts: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    misfits: int
    others: Mapping[str, int]
    dtype: str
    groups: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Binning:
    """The mapping of a column's values to codes.

    Parameters
    ----------
    kind
        number, boolean or category.
    breaks
        Where a number's bins begin, rising, and then the greatest number, which is in the last bin.
    names
        Categories by falling frequency, ties by spelling.
    complete
        Whether every category of the reference has a code.
    unseen_rate
        Expected share of later rows whose category has no code.
    has_groups
        Whether names are also counted by hash group. That is done where later rows will have other
        names, because it is then chance which names have a code.
    """

    kind: str
    breaks: tuple[float, ...] = ()
    names: tuple[str, ...] = ()
    complete: bool = True
    unseen_rate: float = 0.0
    has_groups: bool = False

    @classmethod
    def fit(cls, column: pl.Series, kind: str) -> Binning:
        """Fit a binning to reference rows."""
        if kind == "number":
            values, _ = _to_numbers(column)
            return cls(kind, breaks_of(values.drop_nulls().to_numpy()))
        if kind == "boolean":
            return cls(kind, names=("false", "true"))
        text = _to_texts(column)[0].drop_nulls()
        ranked = _rank_names(text)
        names, complete = tuple(ranked[:MAX_NAMES]), len(ranked) <= MAX_NAMES
        unseen_rate = _unseen_rate(text)
        has_groups = not complete or unseen_rate > 0
        return cls(
            kind, names=names, complete=complete, unseen_rate=unseen_rate, has_groups=has_groups
        )

    @property
    def bins(self) -> int:
        """How many bins a number has."""
        return max(len(self.breaks) - 1, 0)

    @property
    def discrete(self) -> bool:
        """Whether each number of the reference has a bin of its own."""
        return len(self.breaks) > 1 and self.breaks[-1] == self.breaks[-2]

    @property
    def untestable(self) -> bool:
        """Whether names can't be tested, because an older version didn't count them by group."""
        return not self.has_groups and (not self.complete or self.unseen_rate > 0)

    @property
    def centre(self) -> float:
        """The value that is subtracted before summing, so that sums don't lose digits."""
        return self.breaks[len(self.breaks) // 2] if self.breaks else 0.0

    def count_values(self, column: pl.Series) -> BinnedColumn:
        """Count a column's values; values that aren't of its kind are misfits."""
        dtype = str(column.dtype)
        if self.kind == "number":
            series, misfits = _to_numbers(column)
            values = series.drop_nulls().to_numpy()
            return BinnedColumn(
                self._count_numbers(values, len(column)), values, misfits, {}, dtype
            )
        text, misfits = _to_booleans(column) if self.kind == "boolean" else _to_texts(column)
        counts, others, groups = self._count_names(text)
        return BinnedColumn(counts, np.empty(0), misfits, others, dtype, groups)

    def codes(self, column: pl.Series) -> npt.NDArray[np.uint8]:
        """The code of each row, (rows,)."""
        if self.kind != "number":
            return self._category_codes(column).to_numpy().astype(np.uint8)
        series, _ = _to_numbers(column)
        values = series.fill_null(math.nan).to_numpy()
        codes = np.searchsorted(self._limits, values, side="right")
        if self.breaks:
            codes[values > self.breaks[-1]] = ABOVE
        else:
            codes[:] = ABOVE
        codes[np.isnan(values)] = MISSING
        return codes.astype(np.uint8)

    def to_numbers(self, column: pl.Series) -> npt.NDArray[np.float64]:
        """The numbers of a column, NaN where there is none, (rows,)."""
        return _to_numbers(column)[0].fill_null(math.nan).to_numpy()

    def label(self, code: int) -> str:
        """The meaning of a code, in words."""
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
        return self.range_label(code, code)

    def range_label(self, first: int, last: int) -> str:
        """The range of a number's bins from ``first`` to ``last``, in words."""
        low, high = self.breaks[first - 1], self.breaks[last - 1 if self.discrete else last]
        return f"{low:g}" if low == high else f"{low:g} to {high:g}"

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON."""
        if self.kind == "number":
            return {"kind": self.kind, "breaks": list(self.breaks)}
        return {
            "kind": self.kind,
            "names": list(self.names),
            "complete": self.complete,
            "strangers": self.unseen_rate,
            **({"grouped": True} if self.has_groups else {}),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Binning:
        """Restore from the result of ``to_json``."""
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
        """Where bins begin; ``searchsorted`` (right) gives every code except ``ABOVE``."""
        return np.array(self.breaks[:-1])

    @cached_property
    def _grid(self) -> Grid:
        return Grid.from_limits(self._limits)

    def _count_numbers(self, values: npt.NDArray[np.float64], rows: int) -> npt.NDArray[np.int64]:
        counts = np.zeros(256, dtype=np.int64)
        counts[MISSING] = rows - len(values)
        if not len(self._limits):
            counts[ABOVE] = len(values)
            return counts
        counts[: self.bins + 1] = self._grid.counts(values)
        counts[ABOVE] = np.count_nonzero(values > self.breaks[-1])
        counts[self.bins] -= counts[ABOVE]
        return counts

    def _count_names(
        self, text: pl.Series
    ) -> tuple[npt.NDArray[np.int64], dict[str, int], npt.NDArray[np.int64] | None]:
        """Count names: by code, by name for those without a code, and by group."""
        counts = np.zeros(256, dtype=np.int64)
        groups = np.zeros(GROUPS, dtype=np.int64) if self.has_groups else None
        others: dict[str, int] = {}
        for name, n in text.alias("name").value_counts(name="n").iter_rows():
            # A boolean is its own code.
            code = self._code_by_name.get(name) if isinstance(name, str) else name
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
    def _code_by_name(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names)}

    def _category_codes(self, column: pl.Series) -> pl.Series:
        """Codes of categories, UInt8.

        Where later rows will have other names, a code for new names would by itself distinguish
        these rows from the reference. So a new name gets the code of another name, by its hash.
        """
        text, _ = _to_booleans(column) if self.kind == "boolean" else _to_texts(column)
        text = text.cast(pl.String)
        if not self.complete:
            return self._hash_codes(text, MAX_NAMES)
        codes = text.cast(pl.Enum(self.names), strict=False).to_physical().cast(pl.UInt8)
        if codes.null_count():
            filler = self._hash_codes(text, len(self.names)) if self.has_groups else OTHER
            codes = codes.fill_null(filler)
            if text.null_count():
                codes = codes.zip_with(text.is_not_null(), _repeat(MISSING, len(text)))
        return codes

    @staticmethod
    def _hash_codes(text: pl.Series, codes: int) -> pl.Series:
        names = text.drop_nulls().unique()
        hashes = pl.Series([bin_group(name) % codes for name in names], dtype=pl.UInt8)
        return text.replace_strict(names, hashes, default=MISSING, return_dtype=pl.UInt8)


def _rank_names(text: pl.Series) -> list[str]:
    """Names by falling frequency, ties by spelling."""
    counts = text.alias("name").value_counts(name="n")
    return list(counts.sort(["n", "name"], descending=[True, False])["name"])


def bin_group(name: str) -> int:
    """The hash group of a name: the same on every machine, and independent of its frequency."""
    return zlib.crc32(name.encode("utf-8", "surrogatepass")) % GROUPS


def _unseen_rate(text: pl.Series) -> float:
    """Share of rows whose name would have no code, had other rows chosen the names.

    The rows that choose the names can't measure this, because their own names get the codes. So the
    rows, which are in order, are cut into blocks. Each block is checked against the names of all
    other blocks except its neighbours, because consecutive rows of one entity share names. The last
    block also counts by itself, because new names may keep arriving.
    """
    if not len(text):
        return 0.0
    blocks = min(_BLOCKS, len(text))
    block = pl.Series("block", np.arange(len(text)) * blocks // len(text))
    rows = pl.DataFrame([text.alias("name"), block]).group_by("name", "block").len("n")
    unseen = 0
    for number in range(blocks):
        distant = (pl.col("block") < number - 1) | (pl.col("block") > number + 1)
        totals = rows.filter(distant).group_by("name").agg(pl.col("n").sum())
        names = totals.sort(["n", "name"], descending=[True, False])["name"].head(MAX_NAMES)
        held_out = rows.filter(block=number)
        last = int(held_out.filter(~pl.col("name").is_in(names.implode()))["n"].sum())
        unseen += last
    return round(max(unseen / len(text), last / int(held_out["n"].sum())), 6)


def _to_numbers(column: pl.Series) -> tuple[pl.Series, int]:
    """Convert to finite numbers (Float64), and count the values that are none."""
    present = len(column) - column.null_count()
    try:
        values = column.cast(pl.Float64, strict=False)
    except pl.exceptions.PolarsError:
        return _repeat(None, len(column), pl.Float64), present
    misfits = present - (len(values) - values.null_count())
    if column.dtype.is_integer():
        return values, misfits
    finite = values.is_finite()
    if not finite.all():
        values = values.zip_with(finite.fill_null(value=False), _repeat(None, 1, pl.Float64))
    return values, misfits


def _to_texts(column: pl.Series) -> tuple[pl.Series, int]:
    """Convert categories to text, and count the values that can't be converted."""
    present = len(column) - column.null_count()
    try:
        text = column.cast(pl.String, strict=False)
    except pl.exceptions.PolarsError:
        return _repeat(None, len(column), pl.String), present
    longest = text.str.len_bytes().max()
    if isinstance(longest, int) and longest > _LONGEST:
        text = text.str.slice(0, _LONGEST)
    return text, present - (len(text) - text.null_count())


def _to_booleans(column: pl.Series) -> tuple[pl.Series, int]:
    """Convert to Boolean, and count the values that are neither true nor false."""
    present = len(column) - column.null_count()
    if column.dtype == pl.Boolean:
        return column, 0
    if column.dtype.is_numeric():
        flags = column.cast(pl.Float64)
        flags = pl.select(
            pl.when(flags == 0).then(pl.lit(value=False)).when(flags == 1).then(pl.lit(value=True))
        ).to_series()
    else:
        text, _ = _to_texts(column)
        words = {"false": False, "true": True}
        flags = text.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
    return flags, present - (len(flags) - flags.null_count())


def _repeat(value: Any, rows: int, dtype: Any = pl.UInt8) -> pl.Series:
    return pl.repeat(value, rows, dtype=dtype, eager=True)
