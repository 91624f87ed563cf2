"""Checks of LightGBM's text format before its library reads it.

The library follows what the file says: a child outside of its tree ends the process, one that
points back never ends. So a file has to be what LightGBM writes, number by number, and the library
gets its header and trees only: settings and importances at the end play no part in a prediction.
"""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TextError", "check_text"]

Numbers = npt.NDArray[Any]

_END = "end of trees\n"
_MOST_LEAVES = 131_072
_DEEPEST = 4_096
_MOST_CLASSES = 10_000
_INT = 2**31 - 1
_NUMERIC = b"0123456789+-.e "
_OBJECTIVE = re.compile(
    r"binary sigmoid:[0-9.]+|multiclass num_class:\d+|regression|regression_l1|poisson|quantile"
)
_HEADER = frozenset(
    {"version", "num_class", "num_tree_per_iteration", "label_index", "max_feature_idx"}
    | {"objective", "feature_names", "monotone_constraints", "feature_infos", "tree_sizes"}
)
_PER_SPLIT = {
    "split_feature": int,
    "split_gain": float,
    "threshold": float,
    "decision_type": int,
    "left_child": int,
    "right_child": int,
    "internal_value": float,
    "internal_weight": float,
    "internal_count": int,
}
_PER_LEAF = {"leaf_value": float, "leaf_weight": float, "leaf_count": int}
_TREE = frozenset(
    {*_PER_SPLIT, *_PER_LEAF, "num_leaves", "num_cat", "cat_boundaries", "cat_threshold"}
    | {"is_linear", "shrinkage"}
)


class TextError(ValueError):
    """Why a text is no model that LightGBM wrote."""


def check_text(text: str) -> str:
    """The part of a model's text that the library needs to predict, after checking all of it.

    Raises
    ------
    TextError
        If it is damaged or forged.
    """
    if not text.isascii() or "\0" in text:
        raise TextError("it holds other characters than a model does")
    body, mark, _ = text.partition(_END)
    head, gap, trees = body.partition("\n\n")
    if not (mark and gap):
        raise TextError("it has no end of trees")
    lines = head.split("\n")
    if lines[0] != "tree":
        raise TextError("it doesn't begin with a tree")
    header = _pairs(lines[1:], _HEADER)
    features, sizes = _checked_header(header)
    if sizes.sum() != len(trees):
        raise TextError("its trees are not as long as it says")
    start = 0
    with warnings.catch_warnings():
        # NumPy stops at what is no number, and warns.
        warnings.simplefilter("error")
        for number, size in enumerate(sizes.tolist()):
            _check_tree(number, trees[start : start + size], features)
            start += size
    return body + mark


def _checked_header(header: dict[str, str]) -> tuple[int, Numbers]:
    """The number of features, and the characters of each tree."""
    if header.get("version") != "v4" or header.get("label_index") != "0":
        raise TextError("it is of another version")
    classes = _whole(header, "num_class", 1, _MOST_CLASSES)
    features = _whole(header, "max_feature_idx", 0, _INT - 1) + 1
    objective = header.get("objective", "")
    if not _OBJECTIVE.fullmatch(objective):
        raise TextError(f"it has the objective {objective[:40]!r}")
    _, _, stated = objective.partition("num_class:")
    if (int(stated) if stated else 1) != classes:
        raise TextError("its numbers of classes differ")
    for key in ("feature_names", "feature_infos"):
        if len(header.get(key, "").split(" ")) != features:
            raise TextError(f"{key} has not one entry for each of {features} features")
    if "monotone_constraints" in header:
        _numbers(header, "monotone_constraints", features, int)
    sizes = _numbers(header, "tree_sizes", None, int)
    together = _whole(header, "num_tree_per_iteration", 1, _MOST_CLASSES)
    if together != classes or not len(sizes) or len(sizes) % together or sizes.min() < 1:
        raise TextError("it has no whole number of rounds")
    return features, sizes


def _check_tree(number: int, text: str, features: int) -> None:
    lines = text.split("\n")
    if lines[0] != f"Tree={number}" or lines[-3:] != ["", "", ""]:
        raise TextError(f"tree {number} doesn't begin and end where it should")
    fields = _pairs(lines[1:-3], _TREE)
    leaves = _whole(fields, "num_leaves", 1, _MOST_LEAVES)
    if fields.get("is_linear") != "0":
        raise TextError("it has linear trees, which none of ours has")
    _numbers(fields, "shrinkage", 1, float)
    found = {key: _numbers(fields, key, leaves - 1, of) for key, of in _PER_SPLIT.items()}
    for key, of in _PER_LEAF.items():
        # A tree of nothing but its root may say less of it.
        if leaves > 1 or key == "leaf_value" or fields.get(key):
            _numbers(fields, key, leaves, of)
    if not _is_tree(found["left_child"].tolist(), found["right_child"].tolist()):
        raise TextError(f"tree {number} points outside itself")
    asked = found["split_feature"]
    if not ((asked >= 0) & (asked < features)).all():
        raise TextError(f"tree {number} asks for a feature that there isn't")
    _check_decisions(fields, found["decision_type"], found["threshold"])


def _is_tree(left: list[int], right: list[int]) -> bool:
    """Whether each node and leaf is the child of one node before it, and none is too deep.

    Inner nodes are numbered from 0 on, leaves from -1 down.
    """
    nodes = len(left)
    depth = [0] + [-1] * (nodes - 1)
    leaf = [False] * (nodes + 1)
    for node, children in enumerate(zip(left, right, strict=True)):
        for child in children:
            if node < child < nodes and depth[child] < 0:
                depth[child] = depth[node] + 1
            elif -nodes - 1 <= child < 0 and not leaf[-child - 1]:
                leaf[-child - 1] = True
            else:
                return False
        if depth[node] > _DEEPEST:
            return False
    return True


def _check_decisions(fields: dict[str, str], kinds: Numbers, thresholds: Numbers) -> None:
    """Missing values are of three kinds, and a category's threshold is a set of categories."""
    sets = _whole(fields, "num_cat", 0, _INT)
    if not ((kinds >= 0) & (kinds < 12)).all():  # noqa: PLR2004 - two flags, three kinds
        raise TextError("a split decides in a way that there isn't")
    asked = thresholds[(kinds & 1) != 0]
    if not ((asked >= 0) & (asked < sets) & (asked == np.floor(asked))).all():
        raise TextError("a split asks for a set of categories that there isn't")
    if not sets:
        return
    bounds = _numbers(fields, "cat_boundaries", sets + 1, int)
    if bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise TextError("the sets of categories overlap")
    words = _numbers(fields, "cat_threshold", int(bounds[-1]), int)
    if (words < 0).any():
        raise TextError("a set of categories is out of range")


def _pairs(lines: list[str], known: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or key not in known or key in found or not value.isprintable():
            raise TextError(f"it has the line {line[:40]!r}")
        found[key] = value
    return found


def _whole(fields: dict[str, str], key: str, least: int, most: int) -> int:
    value = int(_numbers(fields, key, 1, int)[0])
    if not least <= value <= most:
        raise TextError(f"{key} is {value}")
    return value


def _numbers(fields: dict[str, str], key: str, length: int | None, of: type) -> Numbers:
    text = fields.get(key, "")
    plain = text.replace("inf", "1") if key == "threshold" else text
    if plain.encode().translate(None, _NUMERIC) or "  " in text or text != text.strip(" "):
        raise TextError(f"{key} holds something that is no number")
    try:
        found = np.fromstring(text, np.int64 if of is int else np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise TextError(f"{key} holds something that is no number") from None
    if len(found) != (text.count(" ") + 1 if length is None else length):
        raise TextError(f"{key} has {len(found)} numbers instead of {length}")
    # What is larger would overflow where the library keeps it.
    if of is int and len(found) and not -_INT <= found.min() <= found.max() <= 2 * _INT + 1:
        raise TextError(f"{key} holds a number that is out of range")
    if of is float and np.isnan(found).any():
        raise TextError(f"{key} holds what is not a number")
    return found
