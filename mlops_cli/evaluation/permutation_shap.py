"""Shapley values of features, for any model: what each adds to a prediction, summing up to it.

The game is "baseline Shapley" with every feature missing as the baseline (M. Sundararajan and
A. Najmi, "The Many Shapley Values for Model Explanation", ICML 2020): features become known one
after the other, and each gets the change that it makes, averaged over orders (J. Castro, D. Gómez
and J. Tejada, "Polynomial calculation of the Shapley value based on sampling", 2009). Each order
goes both ways, which halves the noise (R. Mitchell et al., "Sampling Permutations for Shapley
Value Estimation", JMLR 2022). The sum is exact whatever the number of orders; for a model that
adds up its features, so is each value from the first order on.
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
"""Matrices of at most so many cells are predicted at a time: 32 MB."""
_TWO = 2


def raw_score(output: Floats) -> Floats:
    """The scale on which features add up, (n, outputs).

    Of a value: the value. Of two classes: the log-odds of the second. Of more: the logarithm of
    each probability less their mean, whose softmax gives the probabilities back.
    """
    if output.ndim == 1:
        return output[:, None]
    eps = np.finfo(np.float64).eps
    logs = np.log(np.clip(output, eps, None))
    if output.shape[1] == _TWO:
        found: Floats = logs[:, 1:] - logs[:, :1]
        return found
    centred: Floats = logs - logs.mean(axis=1, keepdims=True)
    return centred


def shapley_values(
    score: Callable[[Floats], Floats],
    X: Floats,
    *,
    orders: int,
    seed: int | Sequence[int],
) -> tuple[Floats, Floats]:
    """Estimate what each feature adds to the score of each row.

    Parameters
    ----------
    score
        From a matrix (n, features) to scores (n, outputs); NaN stands for missing.
    X
        Rows to explain, (n, features).
    orders
        Random orders of the features; each is gone through forwards and backwards.
    seed
        Decides the orders, which are the same for all rows.

    Returns
    -------
    base : numpy.ndarray
        The score where nothing is known, (outputs,).
    values : numpy.ndarray
        (n, outputs, features); with the base they sum to the score.
    """
    rows, width = X.shape
    nothing = np.full((1, width), np.nan)
    base = score(nothing)[0]
    values = np.zeros((rows, len(base), width))
    rng = np.random.default_rng(seed)
    ways = [
        way for _ in range(orders) for order in [rng.permutation(width)] for way in _both(order)
    ]
    step = max(1, _CELLS // max(1, width * (width + 1)))
    for begin in range(0, rows, step):
        part = X[begin : begin + step]
        for order in ways:
            # Row by row the features of the order become known, from none to all.
            known = np.zeros((width + 1, width), dtype=bool)
            known[:, order] = np.tri(width + 1, width, -1, dtype=bool)
            filled = np.where(known[None], part[:, None, :], np.nan)
            scores = score(filled.reshape(-1, width)).reshape(len(part), width + 1, len(base))
            values[begin : begin + step][:, :, order] += np.diff(scores, axis=1).swapaxes(1, 2)
    return base, values / max(1, len(ways))


def _both(order: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    return order, order[::-1]
