"""A bounded sample of rows that adds up: of any split of a stream, the same rows are kept."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mlops_cli.drift.binning import MISSING, Binning

if TYPE_CHECKING:
    import numpy.typing as npt
    import polars as pl

__all__ = ["Sample"]

_CELLS = 200_000
_MOST, _LEAST = 5_000, 500
"""Rows; between them, so many that the cells are not exceeded."""


@dataclass(frozen=True)
class Sample:
    """Some rows of a stream, each with the same chance to be among them.

    A row's rank is a hash of its number in the stream; the rows with the least ranks stay. What is
    kept of two parts thus holds all that is kept of both together.

    Parameters
    ----------
    codings
        Column -> how it is coded.
    numbers
        The rows' numbers in the stream, rising, (rows,).
    codes
        (rows, columns).
    values
        The numbers themselves, (rows, number columns), NaN where there is none; none of a profile
        that was read from a file.
    ranks
        (rows,).
    seen
        Rows of the stream.
    """

    codings: Mapping[str, Binning]
    numbers: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.uint64]
    seen: int

    @classmethod
    def none(cls, codings: Mapping[str, Binning]) -> Sample:
        """Of no rows."""
        return cls(
            codings,
            np.zeros(0, np.int64),
            np.zeros((0, len(codings)), np.uint8),
            np.zeros((0, len(_numeric(codings)))),
            np.zeros(0, np.uint64),
            0,
        )

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        codings: Mapping[str, Binning],
        *,
        start: int,
        seed: int,
        below: int | None = None,
    ) -> Sample:
        """Of a part of a stream that begins with row number ``start``.

        Only rows of a rank less than ``below`` are looked at: others have no chance any more.
        """
        if not frame.height:
            return cls.none(codings)
        ranks = _ranks(start, frame.height, seed)
        if below is None:
            chosen = _least(ranks, _size(codings))
        else:
            chosen = np.flatnonzero(ranks < np.uint64(below))
        rows = frame[chosen]
        codes = np.full((len(chosen), len(codings)), MISSING, np.uint8)
        numeric = _numeric(codings)
        values = np.full((len(chosen), len(numeric)), math.nan)
        for place, (name, coding) in enumerate(codings.items()):
            if name in frame.columns:
                codes[:, place] = coding.codes(rows[name])
        for place, name in enumerate(numeric):
            if name in frame.columns:
                values[:, place] = codings[name].numbers(rows[name])
        return cls(codings, chosen + start, codes, values, ranks[chosen], frame.height)

    def merge(self, other: Sample) -> Sample:
        """Of both; of rows that the other one numbered on."""
        numbers = np.concatenate([self.numbers, other.numbers])
        ranks = np.concatenate([self.ranks, other.ranks])
        kept = _least(ranks, _size(self.codings))
        kept = kept[np.argsort(numbers[kept], kind="stable")]
        return Sample(
            self.codings,
            numbers[kept],
            np.concatenate([self.codes, other.codes])[kept],
            np.concatenate([self.values, other.values])[kept],
            ranks[kept],
            self.seen + other.seen,
        )

    @property
    def bar(self) -> int | None:
        """The rank that a further row must stay below; None: there is room for any."""
        return int(self.ranks.max()) if len(self.ranks) == _size(self.codings) else None

    def column(self, name: str) -> npt.NDArray[np.uint8]:
        """A column's codes, in the rows' order."""
        return self.codes[:, list(self.codings).index(name)]

    def numbers_of(self, name: str) -> npt.NDArray[np.float64]:
        """A number column's values where there are any."""
        if not len(self.values):
            return np.zeros(0)
        found = self.values[:, _numeric(self.codings).index(name)]
        return found[~np.isnan(found)]

    def to_json(self) -> dict[str, Any]:
        """As plain values: the codes, row by row, as base64."""
        return {
            "seen": self.seen,
            "rows": len(self.codes),
            "codes": base64.b64encode(self.codes.tobytes()).decode("ascii"),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any], codings: Mapping[str, Binning]) -> Sample:
        """From what ``to_json`` gave: to compare with, no longer to merge."""
        codes = np.frombuffer(base64.b64decode(tree["codes"]), np.uint8)
        rows = tree["rows"]
        return cls(
            codings,
            np.arange(rows),
            codes.reshape(rows, len(codings)),
            np.zeros((0, len(_numeric(codings)))),
            np.zeros(rows, np.uint64),
            tree["seen"],
        )


def _numeric(codings: Mapping[str, Binning]) -> list[str]:
    return [name for name, coding in codings.items() if coding.kind == "number"]


def _size(codings: Mapping[str, Binning]) -> int:
    return min(_MOST, max(_LEAST, _CELLS // max(len(codings), 1)))


def _least(ranks: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.int64]:
    """Where the least ranks are, in the rows' order."""
    if len(ranks) <= size:
        return np.arange(len(ranks))
    return np.sort(np.argpartition(ranks, size - 1)[:size])


def _ranks(start: int, rows: int, seed: int) -> npt.NDArray[np.uint64]:
    """A hash of each row's number: the steps of SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        # One is to one, so that no two rows have the same rank.
        first = np.uint64((start + 1 + seed * 0x1_0000_0000) % 2**64)
        z = (first + np.arange(rows, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
