"""Training rows of a model, to exclude them when the model is evaluated.

A row counts as unseen only if that is certain: it is later than every row that the model was
fitted or tuned on, or those rows can be read and it is none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    import datetime as dt

__all__ = ["RowKeys", "TrainingRows", "content_of", "unknown_training_rows"]

_MOMENT = pl.Datetime("us", "UTC")


@dataclass(frozen=True)
class RowKeys:
    """Keys that identify train and validation rows.

    Attributes
    ----------
    feature_hashes
        Hashes of their features; see ``content_of``.
    times
        Their times; None if they have none.
    row_numbers
        Their numbers in the validated base source.
    """

    feature_hashes: pl.Series
    times: pl.Series | None
    row_numbers: pl.Series


@dataclass(frozen=True)
class TrainingRows:
    """The train and validation rows that a version was fitted and tuned on.

    Attributes
    ----------
    version
        Such as v0.2.0.
    last_time
        The latest time among them; None if they have no time.
    split_by_time
        Whether the split goes by time, so that all rows up to ``last_time`` count as training rows.
    kinds
        Its features: name -> kind.
    read_keys
        Reads the rows; returns None if they aren't available.
    """

    version: str
    last_time: dt.datetime | None
    split_by_time: bool
    kinds: Mapping[str, str]
    read_keys: Callable[[], RowKeys | None]

    @cached_property
    def keys(self) -> RowKeys | None:
        """The keys of the rows, read on first use."""
        return self.read_keys()

    def unseen_mask(
        self,
        times: pl.Series,
        features: Callable[[], pl.DataFrame],
        numbers: Callable[[], pl.Series | None] | None = None,
    ) -> pl.Series:
        """Whether each row is certainly not a training row, (n,).

        Parameters
        ----------
        times
            The rows' times, (n,); null where they have none.
        features
            Returns the rows' features, computed by the version's own program. Like ``numbers``,
            it is called only if the times don't decide.
        numbers
            Returns the rows' numbers in the table that the version was trained on; None if the
            rows are of another table.
        """
        times = times.cast(_MOMENT)
        unknown = pl.repeat(value=False, n=len(times), eager=True)
        later = (
            unknown if self.last_time is None else (times > self.last_time).fill_null(value=False)
        )
        if later.all():
            return later
        row_numbers = None if numbers is None else numbers()
        if row_numbers is not None and self.keys is not None:
            return ~row_numbers.cast(pl.UInt64).is_in(self.keys.row_numbers.implode())
        if self.split_by_time or self.keys is None:
            return later
        new_content = ~content_of(features(), self.kinds).is_in(self.keys.feature_hashes.implode())
        if self.keys.times is not None:
            # The features of a training row may have changed since, but not its time.
            same_time = times.is_in(self.keys.times.implode())
            new_content &= ~same_time.fill_null(value=True)
        return later | new_content

    @property
    def exclusion_reason(self) -> str:
        """Why rows that aren't certainly unseen are excluded."""
        if self.last_time is not None and (self.split_by_time or self.keys is None):
            ends = f"{self.last_time:%Y-%m-%d %H:%M}"
            return f"not later than {ends}, where the rows end that {self.version} has learnt from"
        if self.keys is None:
            return f"the rows that {self.version} has learnt from can't be read here"
        return f"{self.version} has learnt from them, or from rows of equal features or time"


def unknown_training_rows(version: str) -> TrainingRows:
    """Training rows of an unknown version: any row may be one."""
    return TrainingRows(version, None, split_by_time=False, kinds={}, read_keys=lambda: None)


def content_of(features: pl.DataFrame, kinds: Mapping[str, str]) -> pl.Series:
    """Hash each row's features (name -> kind), (n,), independent of their column types."""
    columns = []
    for name, kind in kinds.items():
        if kind == "number":
            # JSON logs hold neither NaN nor infinity, so both count as missing.
            number = pl.col(name).cast(pl.Float64)
            columns.append(pl.when(number.is_finite()).then(number).alias(name))
        else:
            columns.append(pl.col(name).cast(pl.Boolean if kind == "boolean" else pl.String))
    return features.select(pl.struct(columns).hash(seed=0).alias("content")).to_series()
