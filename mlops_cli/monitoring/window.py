"""Predictions and labels of one model version in a window of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mlops_cli.drift.profile import Profile
    from mlops_cli.metrics.weighted import Floats
    from mlops_cli.monitoring.baseline import Baseline

__all__ = ["NO_LABEL", "Window"]

NO_LABEL = np.nan
"""Label of a row that has none yet."""


@dataclass(frozen=True)
class Window:
    """Rows in order of time.

    Attributes
    ----------
    times
        Time of each row, ``Datetime[us, UTC]``.
    output
        Probabilities (n, k) or predicted values (n,).
    labels
        Class codes or values as float64, NaN where there is none yet, (n,).
    input_profile
        Profile of the rows' features; None: drift isn't evaluated.
    slices
        Columns whose values are the slices of the performance.
    milliseconds
        Latency from request to prediction, (n,); None if it isn't known.
    moments
        First and last moment that predictions are about; None if these are the requests' times.
    """

    times: pl.Series
    output: Floats
    labels: Floats
    input_profile: Profile | None
    slices: pl.DataFrame
    milliseconds: Floats | None = None
    moments: tuple[dt.datetime, dt.datetime] | None = None

    @classmethod
    def from_frames(
        cls,
        baseline: Baseline,
        times: pl.Series,
        features: pl.DataFrame,
        output: Floats,
        labels: pl.Series | None = None,
        slices: Sequence[str] = (),
    ) -> Window:
        """Build a window from tables in memory, as in a backtest.

        Parameters
        ----------
        labels
            Values of the target (not codes), null where there is none yet.
        """
        order = times.arg_sort()
        features = features[order]
        values = np.full(len(times), NO_LABEL)
        if labels is not None:
            has_label = labels.is_not_null().to_numpy()
            values[has_label] = baseline.labels.encode(labels.drop_nulls(), "the window")
        return cls(
            times[order],
            output[order.to_numpy()],
            values[order.to_numpy()],
            None
            if baseline.reference is None
            else baseline.reference.inputs.profile_frame(features),
            features.select([name for name in slices if name in features.columns]),
        )

    def __len__(self) -> int:
        return len(self.output)

    @property
    def moment_range(self) -> tuple[dt.datetime, dt.datetime]:
        """First and last moment that the rows are about."""
        return self.moments or (self.times[0], self.times[-1])

    @property
    def has_label(self) -> NDArray[np.bool_]:
        """Which rows have a label, (n,)."""
        return ~np.isnan(self.labels)

    def true_labels(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Labels of labelled rows: class codes, or values."""
        values: NDArray[Any] = self.labels[rows]
        return values if self.output.ndim == 1 else values.astype(np.intp)

    def slice_values(self, rows: NDArray[Any]) -> pl.DataFrame:
        """Slice columns of rows; Polars can't select rows of a table without columns."""
        return self.slices[rows] if self.slices.width else self.slices

    def labels_and_output(self, rows: NDArray[Any]) -> tuple[NDArray[Any], Floats]:
        """Labels and outputs of labelled rows."""
        return self.true_labels(rows), self.output[rows]
