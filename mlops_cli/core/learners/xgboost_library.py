"""Scoring with XGBoost's C library, without its Python package.

As in ``lightgbm_library``: the package takes a second to import, and most of a row's time.
https://xgboost.readthedocs.io/en/stable/c.html
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import threading
import weakref
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from mlops_cli.core.learners.fit_request import Floats

__all__ = ["LibraryError", "Scorer"]

_ASKED = json.dumps(
    {
        "type": 1,  # the raw score
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,
        "missing": float("nan"),
        "strict_shape": True,
        "cache_id": 0,
    }
).encode()
_GAIN = b'{"importance_type": "total_gain"}'
_FEW = 20_000
"""Up to so many rows one thread is used: others would be started, and then wait at full speed."""


class LibraryError(Exception):
    """What the library answered when it couldn't do as asked."""


class Scorer:
    """A booster that was read from XGBoost's UBJSON format.

    Parameters
    ----------
    content
        The model, as XGBoost saves it.
    threads
        For many rows.

    Raises
    ------
    LibraryError
        If it isn't one.
    """

    def __init__(self, content: bytes, threads: int) -> None:
        library = _library()
        self._handle = ctypes.c_void_p()
        _ask(library.XGBoosterCreate, None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        weakref.finalize(self, library.XGBoosterFree, self._handle)
        size = ctypes.c_uint64(len(content))
        _ask(library.XGBoosterLoadModelFromBuffer, self._handle, content, size)
        self.iterations = self._number(library.XGBoosterBoostedRounds, ctypes.c_int)
        self.features = self._number(library.XGBoosterGetNumFeature, ctypes.c_uint64)
        self._threads, self._now = threads, 0
        self._lock = threading.Lock()

    def attribute(self, name: str) -> str:
        """A text that was saved with the model; empty where there is none of that name."""
        found, there = ctypes.c_char_p(), ctypes.c_int()
        asked = _library().XGBoosterGetAttr
        _ask(asked, self._handle, name.encode(), ctypes.byref(found), ctypes.byref(there))
        return (found.value or b"").decode() if there.value else ""

    def predict(self, X: Floats) -> Floats:
        """Raw scores, (rows, outputs)."""
        rows = np.ascontiguousarray(X, dtype=np.float64)
        # The library would read past the end of a narrower matrix.
        if rows.ndim != 2 or rows.shape[1] != self.features:  # noqa: PLR2004
            raise LibraryError(f"a matrix of shape {X.shape} for {self.features} features")
        described = (
            f'{{"data": [{rows.ctypes.data}, true], "shape": [{len(rows)}, {rows.shape[1]}], '
            '"typestr": "<f8", "version": 3}'
        )
        shape, found = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        dimensions = ctypes.c_uint64()
        with self._lock:
            self._use(1 if len(rows) <= _FEW else self._threads)
            _ask(
                _library().XGBoosterPredictFromDense,
                self._handle,
                described.encode(),
                _ASKED,
                None,
                ctypes.byref(shape),
                ctypes.byref(dimensions),
                ctypes.byref(found),
            )
            outputs = shape[1] if dimensions.value > 1 else 1
            given = np.ctypeslib.as_array(found, (len(rows), outputs))
            return given.astype(np.float64)

    def gains(self) -> Floats:
        """Gain of the splits, summed by feature."""
        many, dimensions = ctypes.c_uint64(), ctypes.c_uint64()
        names = ctypes.POINTER(ctypes.c_char_p)()
        shape, scores = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        _ask(
            _library().XGBoosterFeatureScore,
            self._handle,
            _GAIN,
            ctypes.byref(many),
            ctypes.byref(names),
            ctypes.byref(dimensions),
            ctypes.byref(shape),
            ctypes.byref(scores),
        )
        total = np.zeros(self.features)
        for i in range(many.value):
            total[int((names[i] or b"f0").decode().removeprefix("f"))] = scores[i]
        return total

    def _use(self, threads: int) -> None:
        if threads != self._now:
            asked = _library().XGBoosterSetParam
            _ask(asked, self._handle, b"nthread", str(threads).encode())
            self._now = threads

    def _number(self, function: Any, kind: Any) -> int:
        found = kind()
        _ask(function, self._handle, ctypes.byref(found))
        return int(found.value)


@cache
def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("xgboost")
    if found is None:
        raise LibraryError("the package xgboost is not installed")
    folder = Path((found.submodule_search_locations or [""])[0])
    names = ("lib/libxgboost.so", "lib/libxgboost.dylib", "lib/xgboost.dll")
    for path in (folder / name for name in names):
        if path.is_file():
            library = ctypes.CDLL(str(path))
            library.XGBGetLastError.restype = ctypes.c_char_p
            return library
    raise LibraryError(f"XGBoost's library is not in {folder}")


def _ask(function: Any, *given: Any) -> None:
    if function(*given) != 0:
        words = _library().XGBGetLastError().decode(errors="replace").strip()
        raise LibraryError(words.splitlines()[0] if words else "unknown")
