"""Canonical skops files of scikit-learn models: no pickle, reproducible bytes, checked types.

A skops file is a zip with a JSON tree and array files. In files that skops itself writes, names
and ids come from memory addresses, dates from the clock, and the padding of structured arrays from
uninitialised memory. This module puts all of them into a canonical form.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from mlops_cli.errors import DataRefused

__all__ = ["dumps", "loads"]

_SCHEMA = "schema.json"

TRUSTED = frozenset(
    {
        "builtins.dict",
        "builtins.list",
        "builtins.str",
        "builtins.tuple",
        "numpy.int64",
        "numpy.ndarray",
        "sklearn.ensemble._forest.ExtraTreesClassifier",
        "sklearn.ensemble._forest.ExtraTreesRegressor",
        "sklearn.ensemble._forest.RandomForestClassifier",
        "sklearn.ensemble._forest.RandomForestRegressor",
        "sklearn.tree._classes.DecisionTreeClassifier",
        "sklearn.tree._classes.DecisionTreeRegressor",
        "sklearn.tree._classes.ExtraTreeClassifier",
        "sklearn.tree._classes.ExtraTreeRegressor",
        "sklearn.tree._tree.Tree",
    }
)
"""Every type that our models consist of. skops trusts more types; only these are allowed here."""


def dumps(model: object) -> bytes:
    """A fitted scikit-learn model as the bytes of a canonical skops file."""
    import skops.io

    skops_bytes = skops.io.dumps(model)
    with zipfile.ZipFile(io.BytesIO(skops_bytes)) as archive:
        tree = json.loads(archive.read(_SCHEMA))
        names = _renumber(tree)
        members = {new: _clear_padding(archive.read(old)) for old, new in names.items()}
    members = {_SCHEMA: json.dumps(tree, separators=(",", ":")).encode(), **members}
    buffer = io.BytesIO()
    # Stored, not deflated, as the output of zlib differs between its builds.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def loads(data: bytes, file_name: str) -> Any:
    """Load the model that ``dumps`` wrote, after checking every type in the file.

    Raises
    ------
    DataRefused
        If the file is no skops file, or holds a type that is not in ``TRUSTED``.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            tree = json.loads(archive.read(_SCHEMA))
        untrusted = sorted(set(_types(tree)) - TRUSTED)
        untrusted += sorted(set(skops.io.get_untrusted_types(data=data)) - TRUSTED)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise DataRefused(
            f"{file_name} is not a model file that can be read: {error}",
            "Fetch the model again, or train it again.",
        ) from None
    if untrusted:
        raise DataRefused(
            f"{file_name} holds an object of type {untrusted[0]}, which no model of ours has",
            "Don't use this file; train the model again from your own data.",
        )
    return skops.io.loads(data, trusted=sorted(TRUSTED))


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping in the tree, parents first, in the order of the file."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _types(tree: Any) -> Iterator[str]:
    for node in _nodes(tree):
        if "__class__" in node:
            yield f"{node.get('__module__')}.{node['__class__']}"


def _renumber(tree: Any) -> dict[str, str]:
    """Replace ids and file names by the rank of their first use; return old -> new file names."""
    ids: dict[object, int] = {}
    files: dict[str, str] = {}
    for node in _nodes(tree):
        if isinstance(node.get("__id__"), int):
            # Python may or may not share equal numbers and strings, so each gets its own id.
            plain = node.get("__loader__") == "JsonNode"
            key = object() if plain else node["__id__"]
            node["__id__"] = ids.setdefault(key, len(ids))
        if isinstance(node.get("file"), str) and "__loader__" in node:
            old = node["file"]
            node["file"] = files.setdefault(old, f"{len(files)}.{old.rsplit('.', 1)[-1]}")
    return files


def _clear_padding(content: bytes) -> bytes:
    """An array file whose padding and unset fields are 0."""
    if not content.startswith(b"\x93NUMPY"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    if "left_child" in array.dtype.names and "missing_go_to_left" in array.dtype.names:
        # scikit-learn doesn't set this field in leaves.
        clean["missing_go_to_left"][clean["left_child"] < 0] = 0
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
