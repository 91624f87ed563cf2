"""Bounds checks of tree arrays that were read from a file, before compiled code traverses them."""

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
    """Refuse a tree whose traversal could leave its arrays or never end.

    scikit-learn follows these indices without bounds checks. Each child must have a larger index
    than its parent, so that every traversal ends.

    Parameters
    ----------
    left, right, feature
        Per node (nodes,): positions of the children, and the split feature.
    leaf
        Per node (nodes,): whether it is a leaf.
    features
        Number of matrix columns.

    Raises
    ------
    DataRefused
        If an index is out of range.
    """
    nodes = len(leaf)
    inner_nodes = np.flatnonzero(~leaf)
    valid = nodes > 0
    for child in (left[inner_nodes].astype(np.int64), right[inner_nodes].astype(np.int64)):
        valid = valid and bool(((child > inner_nodes) & (child < nodes)).all())
    split_features = feature[inner_nodes].astype(np.int64)
    if not (valid and bool(((split_features >= 0) & (split_features < features)).all())):
        raise DataRefused(
            "a tree of the model points outside itself: the model file is damaged or forged",
            "Don't use this file; train the model again from your own data.",
        )
