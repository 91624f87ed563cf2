"""Which rows a model has learnt from: it can't be judged on them.

A row counts as unseen only where that is certain: it is later than every row that the model was
fitted or tuned on, or those rows can be read, and it is none of them.
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
    """What train and validation rows are recognised by.

    Attributes
    ----------
    contents
        Hashes of their features; see ``content_of``.
    moments
        Their times; None where they have none.
    numbers
        Their numbers in the validated base source.
    """

    contents: pl.Series
    moments: pl.Series | None
    numbers: pl.Series


@dataclass(frozen=True)
class TrainingRows:
    """The rows that a version was fitted and tuned on: train and validation, never test.

    Attributes
    ----------
    version
        Such as v0.2.0.
    until
        The latest time among them; None where they have no time.
    ordered
        Whether the split goes by time, so that all rows up to ``until`` count as learnt.
    kinds
        Its features: name -> kind.
    read
        Reads the rows; None where they aren't here.
    """

    version: str
    until: dt.datetime | None
    ordered: bool
    kinds: Mapping[str, str]
    read: Callable[[], RowKeys | None]

    @cached_property
    def rows(self) -> RowKeys | None:
        """The rows, read when they are needed."""
        return self.read()

    def unseen(
        self,
        moments: pl.Series,
        features: Callable[[], pl.DataFrame],
        numbers: Callable[[], pl.Series | None] | None = None,
    ) -> pl.Series:
        """Whether each row is certain not to be among them, (n,).

        Parameters
        ----------
        moments
            The rows' times, (n,); null where they have none.
        features
            Gives their features as the version's own program makes them. Like ``numbers``, it is
            asked only where times don't decide.
        numbers
            Gives their numbers in the table that the version learnt from; None: it is another.
        """
        moments = moments.cast(_MOMENT)
        none = pl.repeat(value=False, n=len(moments), eager=True)
        later = none if self.until is None else (moments > self.until).fill_null(value=False)
        if later.all():
            return later
        known = None if numbers is None else numbers()
        if known is not None and self.rows is not None:
            return ~known.cast(pl.UInt64).is_in(self.rows.numbers.implode())
        if self.ordered or self.rows is None:
            return later
        other = ~content_of(features(), self.kinds).is_in(self.rows.contents.implode())
        if self.rows.moments is not None:
            # A row whose features have changed since is still of its time.
            of_a_time = moments.is_in(self.rows.moments.implode())
            other &= ~of_a_time.fill_null(value=True)
        return later | other

    @property
    def reason(self) -> str:
        """Why a row that isn't unseen is left out."""
        if self.until is not None and (self.ordered or self.rows is None):
            ends = f"{self.until:%Y-%m-%d %H:%M}"
            return f"not later than {ends}, where the rows end that {self.version} has learnt from"
        if self.rows is None:
            return f"the rows that {self.version} has learnt from can't be read here"
        return f"{self.version} has learnt from them, or from rows of equal features or time"


def unknown_training_rows(version: str) -> TrainingRows:
    """What an unknown version has learnt from: perhaps any row."""
    return TrainingRows(version, None, ordered=False, kinds={}, read=lambda: None)


def content_of(features: pl.DataFrame, kinds: Mapping[str, str]) -> pl.Series:
    """A hash of each row's features (name -> kind), (n,), whichever types they have come in."""
    columns = []
    for name, kind in kinds.items():
        if kind == "number":
            # A log in JSON has neither NaN nor infinity.
            number = pl.col(name).cast(pl.Float64)
            columns.append(pl.when(number.is_finite()).then(number).alias(name))
        else:
            columns.append(pl.col(name).cast(pl.Boolean if kind == "boolean" else pl.String))
    return features.select(pl.struct(columns).hash(seed=0).alias("content")).to_series()
