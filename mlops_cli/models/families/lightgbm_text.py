"""Validation of LightGBM's text format before its library reads it.

The library trusts the file: a child outside its tree crashes the process, and a child that points
back causes an endless loop. So every number of a file must be as LightGBM writes it. The library
gets only the header and the trees, as predictions don't need the settings and importances that
follow.
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
_MAX_LEAVES = 131_072
_MAX_DEPTH = 4_096
_MAX_CLASSES = 10_000
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
    """Reason why a text is no model that LightGBM wrote."""


def check_text(text: str) -> str:
    """Check a model's text, and return the part that the library needs to predict.

    Raises
    ------
    TextError
        If it is damaged or forged.
    """
    if not text.isascii() or "\0" in text:
        raise TextError("it holds other characters than a model does")
    body, mark, _ = text.partition(_END)
    head, blank_line, trees = body.partition("\n\n")
    if not (mark and blank_line):
        raise TextError("it has no end of trees")
    lines = head.split("\n")
    if lines[0] != "tree":
        raise TextError("it doesn't begin with a tree")
    header = _parse_fields(lines[1:], _HEADER)
    features, sizes = _check_header(header)
    if sizes.sum() != len(trees):
        raise TextError("its trees are not as long as it says")
    start = 0
    with warnings.catch_warnings():
        # At something that is no number, NumPy stops with a warning.
        warnings.simplefilter("error")
        for number, size in enumerate(sizes.tolist()):
            _check_tree(number, trees[start : start + size], features)
            start += size
    return body + mark


def _check_header(header: dict[str, str]) -> tuple[int, Numbers]:
    """Check the header; return the number of features and the length of each tree's text."""
    if header.get("version") != "v4" or header.get("label_index") != "0":
        raise TextError("it is of another version")
    classes = _parse_integer(header, "num_class", 1, _MAX_CLASSES)
    features = _parse_integer(header, "max_feature_idx", 0, _INT - 1) + 1
    objective = header.get("objective", "")
    if not _OBJECTIVE.fullmatch(objective):
        raise TextError(f"it has the objective {objective[:40]!r}")
    _, _, objective_classes = objective.partition("num_class:")
    if (int(objective_classes) if objective_classes else 1) != classes:
        raise TextError("its numbers of classes differ")
    for key in ("feature_names", "feature_infos"):
        if len(header.get(key, "").split(" ")) != features:
            raise TextError(f"{key} has not one entry for each of {features} features")
    if "monotone_constraints" in header:
        _parse_numbers(header, "monotone_constraints", features, int)
    sizes = _parse_numbers(header, "tree_sizes", None, int)
    trees_per_round = _parse_integer(header, "num_tree_per_iteration", 1, _MAX_CLASSES)
    if (
        trees_per_round != classes
        or not len(sizes)
        or len(sizes) % trees_per_round
        or sizes.min() < 1
    ):
        raise TextError("it has no whole number of rounds")
    return features, sizes


def _check_tree(number: int, text: str, features: int) -> None:
    lines = text.split("\n")
    if lines[0] != f"Tree={number}" or lines[-3:] != ["", "", ""]:
        raise TextError(f"tree {number} doesn't begin and end where it should")
    fields = _parse_fields(lines[1:-3], _TREE)
    leaves = _parse_integer(fields, "num_leaves", 1, _MAX_LEAVES)
    if fields.get("is_linear") != "0":
        raise TextError("it has linear trees, which none of ours has")
    _parse_numbers(fields, "shrinkage", 1, float)
    per_split = {
        key: _parse_numbers(fields, key, leaves - 1, kind) for key, kind in _PER_SPLIT.items()
    }
    for key, kind in _PER_LEAF.items():
        # A tree that is only a root may lack some of its fields.
        if leaves > 1 or key == "leaf_value" or fields.get(key):
            _parse_numbers(fields, key, leaves, kind)
    if not _is_tree(per_split["left_child"].tolist(), per_split["right_child"].tolist()):
        raise TextError(f"tree {number} points outside itself")
    split_features = per_split["split_feature"]
    if not ((split_features >= 0) & (split_features < features)).all():
        raise TextError(f"tree {number} asks for a feature that there isn't")
    _check_decisions(fields, per_split["decision_type"], per_split["threshold"])


def _is_tree(left: list[int], right: list[int]) -> bool:
    """Whether each node and leaf is the child of one earlier node, and no node is too deep.

    Inner nodes are numbered from 0 up, leaves from -1 down.
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
        if depth[node] > _MAX_DEPTH:
            return False
    return True


def _check_decisions(fields: dict[str, str], kinds: Numbers, thresholds: Numbers) -> None:
    """Check the kinds of missing values, and the category sets that categorical splits refer to."""
    sets = _parse_integer(fields, "num_cat", 0, _INT)
    if not ((kinds >= 0) & (kinds < 12)).all():  # noqa: PLR2004 - two flags, three kinds
        raise TextError("a split decides in a way that there isn't")
    set_ids = thresholds[(kinds & 1) != 0]
    if not ((set_ids >= 0) & (set_ids < sets) & (set_ids == np.floor(set_ids))).all():
        raise TextError("a split asks for a set of categories that there isn't")
    if not sets:
        return
    bounds = _parse_numbers(fields, "cat_boundaries", sets + 1, int)
    if bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise TextError("the sets of categories overlap")
    words = _parse_numbers(fields, "cat_threshold", int(bounds[-1]), int)
    if (words < 0).any():
        raise TextError("a set of categories is out of range")


def _parse_fields(lines: list[str], names: frozenset[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or key not in names or key in fields or not value.isprintable():
            raise TextError(f"it has the line {line[:40]!r}")
        fields[key] = value
    return fields


def _parse_integer(fields: dict[str, str], key: str, minimum: int, maximum: int) -> int:
    value = int(_parse_numbers(fields, key, 1, int)[0])
    if not minimum <= value <= maximum:
        raise TextError(f"{key} is {value}")
    return value


def _parse_numbers(fields: dict[str, str], key: str, length: int | None, kind: type) -> Numbers:
    text = fields.get(key, "")
    plain = text.replace("inf", "1") if key == "threshold" else text
    if plain.encode().translate(None, _NUMERIC) or "  " in text or text != text.strip(" "):
        raise TextError(f"{key} holds something that is no number")
    try:
        numbers = np.fromstring(text, np.int64 if kind is int else np.float64, sep=" ")
    except (ValueError, DeprecationWarning):
        raise TextError(f"{key} holds something that is no number") from None
    if len(numbers) != (text.count(" ") + 1 if length is None else length):
        raise TextError(f"{key} has {len(numbers)} numbers instead of {length}")
    # A larger number would overflow in the library.
    if kind is int and len(numbers) and not -_INT <= numbers.min() <= numbers.max() <= 2 * _INT + 1:
        raise TextError(f"{key} holds a number that is out of range")
    if kind is float and np.isnan(numbers).any():
        raise TextError(f"{key} holds what is not a number")
    return numbers
