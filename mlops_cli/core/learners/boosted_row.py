"""One row through all trees of a histogram gradient boosting at once.

scikit-learn walks tree by tree and checks its input before, which for one row takes a hundred
times as long as the walk. The sum is in its order, so a row alone has the bits of one among many.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mlops_cli.core.learners.contract import Floats

__all__ = ["BoostedRow"]

_CODES = 256
"""Categories that a bit set of scikit-learn's can hold."""


class BoostedRow:
    """The trees of a fitted model, laid side by side; a leaf is its own child."""

    def __init__(self, model: Any) -> None:
        trees = [tree for of_round in model._predictors for tree in of_round]  # noqa: SLF001
        self._outputs = len(model._predictors[0])  # noqa: SLF001
        self._base = np.asarray(model._baseline_prediction, dtype=np.float64).reshape(-1)  # noqa: SLF001
        sizes = [len(tree.nodes) for tree in trees]
        self._roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.intp)
        nodes = np.concatenate([tree.nodes for tree in trees])
        offsets = np.repeat(self._roots, sizes)
        leaf = nodes["is_leaf"] != 0
        own = np.arange(len(nodes))
        left = np.where(leaf, own, nodes["left"].astype(np.intp) + offsets)
        right = np.where(leaf, own, nodes["right"].astype(np.intp) + offsets)
        self._children = np.column_stack([right, left]).ravel()
        self._depth = int(nodes["depth"].max())
        self._feature = np.where(leaf, 0, nodes["feature_idx"]).astype(np.intp)
        self._threshold = nodes["num_threshold"].astype(np.float64)
        self._missing_left = nodes["missing_go_to_left"] != 0
        self._value = nodes["value"].astype(np.float64)
        self._slot, self._bits = _bits(trees, nodes, leaf, sizes)
        self._order, self._codes = _given_order(model)

    def scores(self, row: Floats) -> Floats:
        """Raw scores (1, outputs) of one row (1, features)."""
        values = row[0][self._order]
        for place, codes in self._codes:
            # A category that the fit never saw is missing.
            values[place] = codes.get(values[place], np.nan)
        missing = np.isnan(values)
        any_missing = bool(missing.any())
        whole = np.where(missing, 0.0, values).astype(np.intp, casting="unsafe")
        whole = np.clip(whole, 0, _CODES - 1)
        node = self._roots
        for _ in range(self._depth):
            feature = self._feature.take(node)
            goes = values.take(feature) <= self._threshold.take(node)
            if len(self._bits) > 1:
                slot = self._slot.take(node)
                goes = np.where(slot > 0, self._bits[slot, whole.take(feature)], goes)
            if any_missing:
                goes = np.where(missing.take(feature), self._missing_left.take(node), goes)
            node = self._children.take(2 * node + goes)
        added = self._value.take(node).reshape(-1, self._outputs)
        return np.cumsum(np.vstack([self._base, added]), axis=0)[-1:]


def _bits(trees: list[Any], nodes: Any, leaf: Any, sizes: list[int]) -> tuple[Any, Any]:
    """Per node its row of a table of categories that go left; row 0 is of nodes without."""
    words = [tree.raw_left_cat_bitsets for tree in trees]
    first = np.concatenate([[0], np.cumsum([len(w) for w in words])[:-1]]).astype(np.intp)
    categorical = (nodes["is_categorical"] != 0) & ~leaf
    slot = np.where(categorical, 1 + nodes["bitset_idx"] + np.repeat(first, sizes), 0)
    table = np.concatenate([np.zeros((1, _CODES // 32), dtype=np.uint32), *words])
    bits = (table[:, :, None] >> np.arange(32, dtype=np.uint32)) & 1
    return slot.astype(np.intp), bits.reshape(len(table), _CODES).astype(bool)


def _given_order(model: Any) -> tuple[Any, list[tuple[int, dict[float, float]]]]:
    """Columns as the trees have them, categories first; and what becomes of their codes."""
    mask = model.is_categorical_
    if mask is None:
        return np.arange(model.n_features_in_), []
    order = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
    encoder = model._preprocessor.named_transformers_["encoder"]  # noqa: SLF001
    codes = [
        (place, {float(c): float(i) for i, c in enumerate(known) if c == c})  # noqa: PLR0124 - NaN
        for place, known in enumerate(encoder.categories_)
    ]
    return order, codes
