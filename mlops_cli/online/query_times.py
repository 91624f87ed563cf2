"""Prediction times of request rows, and the start of each look-back window."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlops_cli.data.durations import microseconds
from mlops_cli.online.growable_array import Positions

if TYPE_CHECKING:
    import polars as pl

__all__ = ["QueryTimes"]


class QueryTimes:
    """Prediction times of some rows, and the window starts for each time span.

    Parameters
    ----------
    rows
        Number of rows.
    prediction_times
        Datetime[us]: prediction time of each row; None if the features don't depend on it.
    many_rows
        Whether to look up all rows at once, with NumPy. Needs a prediction time in each row.

    Attributes
    ----------
    moments
        The prediction times in microseconds since 1970.
    """

    def __init__(
        self, rows: int, prediction_times: pl.Series | None, *, many_rows: bool = False
    ) -> None:
        import polars as pl

        self._prediction_times = prediction_times
        self.moments: Sequence[int | None] = [None] * rows
        if prediction_times is not None:
            self.moments = prediction_times.cast(pl.Int64).to_list()
        self.many_rows = (
            many_rows and prediction_times is not None and not prediction_times.null_count()
        )
        self._window_starts: dict[str | None, Sequence[int | None]] = {None: [None] * rows}

    def window_starts(self, window_length: str | None) -> Sequence[int | None]:
        """Start of the window before each prediction time; all None without a length."""
        if window_length not in self._window_starts:
            self._window_starts[window_length] = self._compute_window_starts(str(window_length))
        return self._window_starts[window_length]

    @cached_property
    def moment_array(self) -> Positions:
        """Prediction times as an array, for many rows."""
        return np.array(self.moments, dtype=np.int64)

    def window_start_array(self, window_length: str) -> Positions:
        """Like ``window_starts``, as an array for many rows."""
        fixed = microseconds(window_length)
        if fixed is not None:
            return np.asarray(self.moment_array - fixed)
        return np.array(self.window_starts(window_length), dtype=np.int64)

    def _compute_window_starts(self, window_length: str) -> Sequence[int | None]:
        import polars as pl

        fixed = microseconds(window_length)
        if fixed is not None:
            return [None if moment is None else moment - fixed for moment in self.moments]
        if self._prediction_times is None:
            return self.moments
        return self._prediction_times.dt.offset_by(f"-{window_length}").cast(pl.Int64).to_list()
