"""When the rows of a request are predicted, and how far back each look counts."""

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
    """When some rows are predicted, and from when on each look back counts.

    Parameters
    ----------
    at
        Datetime[us]: each row's moment; None where time plays no part.
    many
        Whether they are to be answered together; a row without a moment can't be.

    Attributes
    ----------
    moments
        The same as ``at`` in microseconds since 1970.
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
        """A span before each moment; None: as far as there is anything."""
        if span not in self._begins:
            self._begins[span] = self._before(str(span))
        return self._begins[span]

    @cached_property
    def ends(self) -> Places:
        """The moments of many rows."""
        return np.array(self.moments, dtype=np.int64)

    def starts(self, span: str) -> Places:
        """``begins`` for many rows."""
        fixed = microseconds(span)
        if fixed is not None:
            return np.asarray(self.ends - fixed)
        return np.array(self.begins(span), dtype=np.int64)

    def _before(self, span: str) -> Sequence[int | None]:
        import polars as pl

        fixed = microseconds(span)
        if fixed is not None:
            return [None if moment is None else moment - fixed for moment in self.moments]
        if self._at is None:
            return self.moments
        return self._at.dt.offset_by(f"-{span}").cast(pl.Int64).to_list()
