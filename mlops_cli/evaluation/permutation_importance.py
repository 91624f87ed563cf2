"""Permutation importance: how much worse a metric gets when a feature's values are shuffled.

L. Breiman, "Random Forests", Machine Learning 45 (2001), section 10; on held-out rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import polars as pl

    from mlops_cli.metrics.catalog import Floats, Metric, Truth

__all__ = ["MAX_ROWS", "MAX_SHUFFLED_FEATURES", "largest", "permutation_importance"]

MAX_ROWS = 5000
"""Maximum rows that are shuffled; more are sampled."""
MAX_SHUFFLED_FEATURES = 100
"""Maximum features that are shuffled, those that the model itself ranks highest."""


def permutation_importance(
    predict: Callable[[pl.DataFrame], Floats],
    frame: pl.DataFrame,
    y: Truth,
    features: Sequence[str],
    metric: Metric,
    *,
    seed: int | Sequence[int],
    weights: Floats | None = None,
    report: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Compute how much worse the metric gets when each feature is shuffled.

    Parameters
    ----------
    predict
        Function from rows to predictions.
    frame
        Rows with the features as columns.
    y
        Labels of the rows, (n,).
    features
        Which columns to shuffle.
    metric
        Metric whose loss is the importance.
    seed
        Random seed of the sample and of the shuffle, which is the same for every feature.
    weights
        Weight of each row, (n,); by default 1.
    report
        Called with the number of features done.

    Returns
    -------
    dict
        Feature -> loss, positive where shuffling makes the metric worse; NaN where the metric
        isn't defined on the rows.
    """
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(frame), min(MAX_ROWS, len(frame)), replace=False))
    frame, y = frame[rows], y[rows]
    weights = None if weights is None else weights[rows]
    shuffle = rng.permutation(len(rows))
    intact = metric(y, predict(frame), weights)
    importances = {}
    for done, feature in enumerate(features, 1):
        shuffled = frame.with_columns(frame[feature][shuffle])
        importances[feature] = metric.gain(intact, metric(y, predict(shuffled), weights))
        if report is not None:
            report(done)
    return importances


def largest(figures: Mapping[str, float], count: int) -> dict[str, float]:
    """Keep the largest figures, in descending order; ties keep their order, NaN is dropped."""
    defined = [(name, value) for name, value in figures.items() if not np.isnan(value)]
    return dict(sorted(defined, key=lambda item: -item[1])[:count])
