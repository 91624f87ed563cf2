"""scikit-learn models as bytes: no pickle, the same bytes for the same model, audited first.

A skops file is a zip with a tree in JSON and arrays beside it. As skops writes it, names and
ids come from memory addresses and dates from the clock; and structured arrays carry whatever was
in their padding. Here all of that is put in a canonical form.
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
"""Every type that our models consist of. skops' own list is wider; only this one counts here."""


def dumps(model: object) -> bytes:
    """A fitted scikit-learn model as the bytes of a canonical skops file."""
    import skops.io

    raw = skops.io.dumps(model)
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        tree = json.loads(archive.read(_SCHEMA))
        names = _renumber(tree)
        members = {new: _clean(archive.read(old)) for old, new in names.items()}
    members = {_SCHEMA: json.dumps(tree, separators=(",", ":")).encode(), **members}
    buffer = io.BytesIO()
    # Stored, not deflated: what zlib gives differs from one build of it to another.
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def loads(data: bytes, where: str) -> Any:
    """The model that ``dumps`` wrote: read the tree, check every type, only then build.

    Raises
    ------
    DataRefused
        If the file is no skops file, or holds a type that is not on ``TRUSTED``.
    """
    import skops.io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            tree = json.loads(archive.read(_SCHEMA))
        strange = sorted(set(_types(tree)) - TRUSTED)
        strange += sorted(set(skops.io.get_untrusted_types(data=data)) - TRUSTED)
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise DataRefused(
            f"{where} is not a model file that can be read: {error}",
            "Fetch the model again, or train it anew.",
        ) from None
    if strange:
        raise DataRefused(
            f"{where} holds an object of type {strange[0]}, which no model of ours has",
            "Don't use this file; train the model anew from your own data.",
        )
    return skops.io.loads(data, trusted=sorted(TRUSTED))


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every mapping of the tree, parents first, in the order of the file."""
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
    """Replace ids and file names by their rank of first use; return old -> new file names."""
    ids: dict[object, int] = {}
    files: dict[str, str] = {}
    for node in _nodes(tree):
        if isinstance(node.get("__id__"), int):
            # Python shares equal numbers and strings as it likes, so each gets an id of its own.
            plain = node.get("__loader__") == "JsonNode"
            key = object() if plain else node["__id__"]
            node["__id__"] = ids.setdefault(key, len(ids))
        if isinstance(node.get("file"), str) and "__loader__" in node:
            old = node["file"]
            node["file"] = files.setdefault(old, f"{len(files)}.{old.rsplit('.', 1)[-1]}")
    return files


def _clean(content: bytes) -> bytes:
    """An array file without what was left in memory between and inside its records."""
    if not content.startswith(b"\x93NUMPY"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for name in array.dtype.names:
        clean[name] = array[name]
    if "left_child" in array.dtype.names and "missing_go_to_left" in array.dtype.names:
        # scikit-learn never sets this field in a leaf.
        clean["missing_go_to_left"][clean["left_child"] < 0] = 0
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
