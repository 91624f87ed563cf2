"""Mergeable random sample of rows: the same rows for any split of a stream into batches."""

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
_MAX_ROWS, _MIN_ROWS = 5_000, 500
"""Maximum and minimum rows; between them, ``_CELLS`` limits rows times columns."""


@dataclass(frozen=True)
class Sample:
    """Random rows of a stream, each with the same probability.

    A row's rank is a hash of its number in the stream. The rows with the least ranks are kept. So
    the samples of two parts contain the sample of both together.

    Parameters
    ----------
    codings
        Column -> binning.
    numbers
        The rows' numbers in the stream, rising, (rows,).
    codes
        The rows' values as codes, (rows, columns).
    values
        The values of number columns, (rows, number columns), NaN where there is none; empty in a
        profile that was read from a file.
    ranks
        The rows' hashes, (rows,).
    seen
        Number of rows in the stream.
    """

    codings: Mapping[str, Binning]
    numbers: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.uint64]
    seen: int

    @classmethod
    def none(cls, codings: Mapping[str, Binning]) -> Sample:
        """Sample of no rows."""
        return cls(
            codings,
            np.zeros(0, np.int64),
            np.zeros((0, len(codings)), np.uint8),
            np.zeros((0, len(_number_columns(codings)))),
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
        """Sample a part of a stream that begins with row number ``start``.

        Only rows with a rank less than ``below`` are considered: others can't be kept any more.
        """
        if not frame.height:
            return cls.none(codings)
        ranks = _hash_ranks(start, frame.height, seed)
        if below is None:
            positions = _select_least(ranks, _sample_size(codings))
        else:
            positions = np.flatnonzero(ranks < np.uint64(below))
        rows = frame[positions]
        codes = np.full((len(positions), len(codings)), MISSING, np.uint8)
        number_columns = _number_columns(codings)
        values = np.full((len(positions), len(number_columns)), math.nan)
        for column, (name, coding) in enumerate(codings.items()):
            if name in frame.columns:
                codes[:, column] = coding.codes(rows[name])
        for column, name in enumerate(number_columns):
            if name in frame.columns:
                values[:, column] = codings[name].numbers(rows[name])
        return cls(codings, positions + start, codes, values, ranks[positions], frame.height)

    def merge(self, other: Sample) -> Sample:
        """Sample both parts; the other one continues the row numbers."""
        numbers = np.concatenate([self.numbers, other.numbers])
        ranks = np.concatenate([self.ranks, other.ranks])
        positions = _select_least(ranks, _sample_size(self.codings))
        positions = positions[np.argsort(numbers[positions], kind="stable")]
        return Sample(
            self.codings,
            numbers[positions],
            np.concatenate([self.codes, other.codes])[positions],
            np.concatenate([self.values, other.values])[positions],
            ranks[positions],
            self.seen + other.seen,
        )

    @property
    def bar(self) -> int | None:
        """Rank that a further row must stay below; None while there is room for any row."""
        return int(self.ranks.max()) if len(self.ranks) == _sample_size(self.codings) else None

    def column(self, name: str) -> npt.NDArray[np.uint8]:
        """Codes of a column, in the rows' order."""
        return self.codes[:, list(self.codings).index(name)]

    def numbers_of(self, name: str) -> npt.NDArray[np.float64]:
        """Values of a number column, without missing ones."""
        if not len(self.values):
            return np.zeros(0)
        values = self.values[:, _number_columns(self.codings).index(name)]
        return values[~np.isnan(values)]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON: the codes, row by row, as base64."""
        return {
            "seen": self.seen,
            "rows": len(self.codes),
            "codes": base64.b64encode(self.codes.tobytes()).decode("ascii"),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any], codings: Mapping[str, Binning]) -> Sample:
        """Restore from the result of ``to_json``, for comparison but not for merging."""
        codes = np.frombuffer(base64.b64decode(tree["codes"]), np.uint8)
        rows = tree["rows"]
        return cls(
            codings,
            np.arange(rows),
            codes.reshape(rows, len(codings)),
            np.zeros((0, len(_number_columns(codings)))),
            np.zeros(rows, np.uint64),
            tree["seen"],
        )


def _number_columns(codings: Mapping[str, Binning]) -> list[str]:
    return [name for name, coding in codings.items() if coding.kind == "number"]


def _sample_size(codings: Mapping[str, Binning]) -> int:
    return min(_MAX_ROWS, max(_MIN_ROWS, _CELLS // max(len(codings), 1)))


def _select_least(ranks: npt.NDArray[np.uint64], size: int) -> npt.NDArray[np.int64]:
    """Positions of the least ranks, in the rows' order."""
    if len(ranks) <= size:
        return np.arange(len(ranks))
    return np.sort(np.argpartition(ranks, size - 1)[:size])


def _hash_ranks(start: int, rows: int, seed: int) -> npt.NDArray[np.uint64]:
    """A hash of each row's number: the steps of SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        # The hash is one-to-one, so no two rows have the same rank.
        first = np.uint64((start + 1 + seed * 0x1_0000_0000) % 2**64)
        z = (first + np.arange(rows, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
