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
    binnings
        Column -> binning.
    row_numbers
        The rows' numbers in the stream, rising, (rows,).
    codes
        The rows' values as codes, (rows, columns).
    values
        The values of number columns, (rows, number columns), NaN where there is none; empty in a
        profile that was read from a file.
    ranks
        The rows' hashes, (rows,).
    stream_rows
        Number of rows in the stream.
    """

    binnings: Mapping[str, Binning]
    row_numbers: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint8]
    values: npt.NDArray[np.float64]
    ranks: npt.NDArray[np.uint64]
    stream_rows: int

    @classmethod
    def empty(cls, binnings: Mapping[str, Binning]) -> Sample:
        """Sample of no rows."""
        return cls(
            binnings,
            np.zeros(0, np.int64),
            np.zeros((0, len(binnings)), np.uint8),
            np.zeros((0, len(_number_columns(binnings)))),
            np.zeros(0, np.uint64),
            0,
        )

    @classmethod
    def draw(
        cls,
        frame: pl.DataFrame,
        binnings: Mapping[str, Binning],
        *,
        start: int,
        seed: int,
        rank_limit: int | None = None,
    ) -> Sample:
        """Sample a part of a stream that begins with row number ``start``.

        Only rows with a rank less than ``rank_limit`` are considered: others can't be kept.
        """
        if not frame.height:
            return cls.empty(binnings)
        ranks = _hash_ranks(start, frame.height, seed)
        if rank_limit is None:
            positions = _select_least(ranks, _sample_size(binnings))
        else:
            positions = np.flatnonzero(ranks < np.uint64(rank_limit))
        rows = frame[positions]
        codes = np.full((len(positions), len(binnings)), MISSING, np.uint8)
        number_columns = _number_columns(binnings)
        values = np.full((len(positions), len(number_columns)), math.nan)
        for column, (name, binning) in enumerate(binnings.items()):
            if name in frame.columns:
                codes[:, column] = binning.codes(rows[name])
        for column, name in enumerate(number_columns):
            if name in frame.columns:
                values[:, column] = binnings[name].to_numbers(rows[name])
        return cls(binnings, positions + start, codes, values, ranks[positions], frame.height)

    def merge(self, other: Sample) -> Sample:
        """Sample both parts; the other one continues the row numbers."""
        numbers = np.concatenate([self.row_numbers, other.row_numbers])
        ranks = np.concatenate([self.ranks, other.ranks])
        positions = _select_least(ranks, _sample_size(self.binnings))
        positions = positions[np.argsort(numbers[positions], kind="stable")]
        return Sample(
            self.binnings,
            numbers[positions],
            np.concatenate([self.codes, other.codes])[positions],
            np.concatenate([self.values, other.values])[positions],
            ranks[positions],
            self.stream_rows + other.stream_rows,
        )

    @property
    def rank_limit(self) -> int | None:
        """Rank that a further row must stay below; None while there is room for any row."""
        return int(self.ranks.max()) if len(self.ranks) == _sample_size(self.binnings) else None

    def column_codes(self, name: str) -> npt.NDArray[np.uint8]:
        """Codes of a column, in the rows' order."""
        return self.codes[:, list(self.binnings).index(name)]

    def column_values(self, name: str) -> npt.NDArray[np.float64]:
        """Values of a number column, without missing ones."""
        if not len(self.values):
            return np.zeros(0)
        values = self.values[:, _number_columns(self.binnings).index(name)]
        return values[~np.isnan(values)]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values for JSON: the codes, row by row, as base64."""
        return {
            "seen": self.stream_rows,
            "rows": len(self.codes),
            "codes": base64.b64encode(self.codes.tobytes()).decode("ascii"),
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any], binnings: Mapping[str, Binning]) -> Sample:
        """Restore from the result of ``to_json``, for comparison but not for merging."""
        codes = np.frombuffer(base64.b64decode(tree["codes"]), np.uint8)
        rows = tree["rows"]
        return cls(
            binnings,
            np.arange(rows),
            codes.reshape(rows, len(binnings)),
            np.zeros((0, len(_number_columns(binnings)))),
            np.zeros(rows, np.uint64),
            tree["seen"],
        )


def _number_columns(binnings: Mapping[str, Binning]) -> list[str]:
    return [name for name, binning in binnings.items() if binning.kind == "number"]


def _sample_size(binnings: Mapping[str, Binning]) -> int:
    return min(_MAX_ROWS, max(_MIN_ROWS, _CELLS // max(len(binnings), 1)))


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
