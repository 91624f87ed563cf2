"""Checks of tree arrays that came from a file, before compiled code walks along them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mlops_cli.errors import DataRefused

__all__ = ["check_tree"]


def check_tree(
    left: npt.NDArray[Any],
    right: npt.NDArray[Any],
    feature: npt.NDArray[Any],
    leaf: npt.NDArray[np.bool_],
    features: int,
) -> None:
    """Refuse a tree whose walk could leave its arrays or never end.

    scikit-learn follows these indices without looking at the bounds. A child always stands after
    its parent, so a walk that obeys this ends.

    Parameters
    ----------
    left, right, feature
        Per node (nodes,): positions of the children and the feature asked.
    leaf
        Per node (nodes,): has no children.
    features
        Columns of the matrix.

    Raises
    ------
    DataRefused
        If an index is out of range.
    """
    nodes = len(leaf)
    inner = np.flatnonzero(~leaf)
    sound = nodes > 0
    for child in (left[inner].astype(np.int64), right[inner].astype(np.int64)):
        sound = sound and bool(((child > inner) & (child < nodes)).all())
    asked = feature[inner].astype(np.int64)
    if not (sound and bool(((asked >= 0) & (asked < features)).all())):
        raise DataRefused(
            "a tree of the model points outside itself: the model file is damaged or forged",
            "Don't use this file; train the model anew from your own data.",
        )
