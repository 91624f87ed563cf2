"""Sampled Shapley values of features, for any model: contributions that sum to the prediction.

The game is "baseline Shapley" with all features missing as the baseline (M. Sundararajan and A.
Najmi, "The Many Shapley Values for Model Explanation", ICML 2020). Features become known one after
the other, and each is credited with the change that it makes, averaged over random orders (J.
Castro, D. Gómez and J. Tejada, "Polynomial calculation of the Shapley value based on sampling",
2009). Each order is used forwards and backwards, which halves the noise (R. Mitchell et al.,
"Sampling Permutations for Shapley Value Estimation", JMLR 2022). The sum is exact for any number
of orders; for an additive model, each value is exact from the first order on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mlops_cli.metrics.weighted import Floats

__all__ = ["raw_score", "shapley_values"]

_CELLS = 4_000_000
"""Maximum cells of a matrix that is predicted at once: 32 MB."""
_BINARY = 2
"""Number of classes of a binary task."""


def raw_score(output: Floats) -> Floats:
    """Convert predictions to a scale on which features add up, (n, outputs).

    A value stays as it is. Two classes become the log-odds of the second one. More classes become
    the logarithm of each probability minus their mean; its softmax gives the probabilities back.
    """
    if output.ndim == 1:
        return output[:, None]
    eps = np.finfo(np.float64).eps
    logs = np.log(np.clip(output, eps, None))
    if output.shape[1] == _BINARY:
        log_odds: Floats = logs[:, 1:] - logs[:, :1]
        return log_odds
    centred: Floats = logs - logs.mean(axis=1, keepdims=True)
    return centred


def shapley_values(
    score: Callable[[Floats], Floats],
    X: Floats,
    *,
    orders: int,
    seed: int | Sequence[int],
) -> tuple[Floats, Floats]:
    """Estimate the contribution of each feature to the score of each row.

    Parameters
    ----------
    score
        Function from a matrix (n, features) to scores (n, outputs); NaN means missing.
    X
        Rows to explain, (n, features).
    orders
        Number of random orders of the features; each is used forwards and backwards.
    seed
        Random seed of the orders, which are the same for all rows.

    Returns
    -------
    base : numpy.ndarray
        Score of a row whose features are all missing, (outputs,).
    values : numpy.ndarray
        (n, outputs, features); with the base they sum to the score.
    """
    rows, width = X.shape
    all_missing = np.full((1, width), np.nan)
    base = score(all_missing)[0]
    values = np.zeros((rows, len(base), width))
    rng = np.random.default_rng(seed)
    passes = [
        direction
        for _ in range(orders)
        for order in [rng.permutation(width)]
        for direction in _both_directions(order)
    ]
    step = max(1, _CELLS // max(1, width * (width + 1)))
    for begin in range(0, rows, step):
        batch = X[begin : begin + step]
        for order in passes:
            # Each row of the mask has one more known feature in this order, from none to all.
            is_known = np.zeros((width + 1, width), dtype=bool)
            is_known[:, order] = np.tri(width + 1, width, -1, dtype=bool)
            inputs = np.where(is_known[None], batch[:, None, :], np.nan)
            scores = score(inputs.reshape(-1, width)).reshape(len(batch), width + 1, len(base))
            values[begin : begin + step][:, :, order] += np.diff(scores, axis=1).swapaxes(1, 2)
    return base, values / max(1, len(passes))


def _both_directions(order: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return order, order[::-1]
