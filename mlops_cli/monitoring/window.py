"""What a model has predicted in a window of time, and what is known by now of what happened."""

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

__all__ = ["UNKNOWN", "Window"]

UNKNOWN = np.nan
"""The label of a row that has none yet."""


@dataclass(frozen=True)
class Window:
    """Rows in order of time.

    Attributes
    ----------
    times
        Of each row, ``Datetime[us, UTC]``.
    output
        Probabilities (n, k) or values (n,).
    labels
        Class codes or values as float64, NaN where there is none yet, (n,).
    inputs
        The profile of their features; None: drift of inputs isn't judged.
    slices
        Columns by whose values performance is broken down.
    milliseconds
        From request to prediction, (n,), where that is known.
    moments
        First and last moment that predictions are about, where that isn't when they were asked.
    """

    times: pl.Series
    output: Floats
    labels: Floats
    inputs: Profile | None
    slices: pl.DataFrame
    milliseconds: Floats | None = None
    moments: tuple[dt.datetime, dt.datetime] | None = None

    @classmethod
    def of(
        cls,
        basis: Baseline,
        times: pl.Series,
        features: pl.DataFrame,
        output: Floats,
        labels: pl.Series | None = None,
        slices: Sequence[str] = (),
    ) -> Window:
        """From tables in memory, such as a backtest has them.

        Parameters
        ----------
        labels
            As the target gives them (not codes), null where there is none yet.
        """
        order = times.arg_sort()
        features = features[order]
        known = np.full(len(times), UNKNOWN)
        if labels is not None:
            there = labels.is_not_null().to_numpy()
            known[there] = basis.labels.encode(labels.drop_nulls(), "the window")
        return cls(
            times[order],
            output[order.to_numpy()],
            known[order.to_numpy()],
            None if basis.reference is None else basis.reference.inputs.of(features),
            features.select([name for name in slices if name in features.columns]),
        )

    def __len__(self) -> int:
        return len(self.output)

    @property
    def about(self) -> tuple[dt.datetime, dt.datetime]:
        """First and last moment that the rows are about."""
        return self.moments or (self.times[0], self.times[-1])

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Which rows have a label, (n,)."""
        return ~np.isnan(self.labels)

    def truth(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Labels of labelled rows: class codes, or values."""
        known: NDArray[Any] = self.labels[rows]
        return known if self.output.ndim == 1 else known.astype(np.intp)

    def sliced(self, rows: NDArray[Any]) -> pl.DataFrame:
        """The slices' columns of rows; Polars takes no rows of a table without columns."""
        return self.slices[rows] if self.slices.width else self.slices

    def to(self, rows: NDArray[Any]) -> tuple[NDArray[Any], Floats]:
        """Truth and output of labelled rows."""
        return self.truth(rows), self.output[rows]
