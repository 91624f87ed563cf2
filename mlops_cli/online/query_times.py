"""Prediction times of request rows, and the start of each look-back window."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.data.durations import microseconds
from mlops_cli.online.growable_array import Places

if TYPE_CHECKING:
    import polars as pl

__all__ = ["QueryTimes"]


class QueryTimes:
    """Prediction times of some rows, and the window starts for each time span.

    Parameters
    ----------
    rows
        Number of rows.
    at
        Datetime[us]: prediction time of each row; None if the features don't depend on it.
    many
        Whether to look up all rows at once, with NumPy. Needs a prediction time in each row.

    Attributes
    ----------
    moments
        The prediction times in microseconds since 1970.
    """

    def __init__(self, rows: int, at: pl.Series | None, *, many: bool = False) -> None:
        import polars as pl

        self._at = at
        self.moments: Sequence[int | None] = [None] * rows
        if at is not None:
            self.moments = at.cast(pl.Int64).to_list()
        self.many = many and at is not None and not at.null_count()
        self._begins: dict[str | None, Sequence[int | None]] = {None: [None] * rows}

    def begins(self, span: str | None) -> Sequence[int | None]:
        """Start of the window before each prediction time; all None if ``span`` is None."""
        if span not in self._begins:
            self._begins[span] = self._compute_begins(str(span))
        return self._begins[span]

    @cached_property
    def ends(self) -> Places:
        """Prediction times as an array, for many rows."""
        return np.array(self.moments, dtype=np.int64)

    def starts(self, span: str) -> Places:
        """Like ``begins``, as an array for many rows."""
        fixed = microseconds(span)
        if fixed is not None:
            return np.asarray(self.ends - fixed)
        return np.array(self.begins(span), dtype=np.int64)

    def _compute_begins(self, span: str) -> Sequence[int | None]:
        import polars as pl

        fixed = microseconds(span)
        if fixed is not None:
            return [None if moment is None else moment - fixed for moment in self.moments]
        if self._at is None:
            return self.moments
        return self._at.dt.offset_by(f"-{span}").cast(pl.Int64).to_list()
