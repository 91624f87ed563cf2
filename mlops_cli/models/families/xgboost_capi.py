"""XGBoost scoring with its C library, without its Python package (see ``native_library``).

The C API is documented at https://xgboost.readthedocs.io/en/stable/c.html.
"""

from __future__ import annotations

import ctypes
import json
import threading
import weakref

import numpy as np

from mlops_cli.models.families.fit_request import Floats
from mlops_cli.models.families.native_library import SINGLE_THREAD_ROWS, NativeLibrary, as_rows

__all__ = ["BoosterPredictor"]

_LIBRARY = NativeLibrary(
    "xgboost", ("lib/libxgboost.so", "lib/libxgboost.dylib", "lib/xgboost.dll"), "XGBGetLastError"
)
_RAW_SCORES = json.dumps(
    {
        "type": 1,
        "training": False,
        "iteration_begin": 0,
        "iteration_end": 0,
        "missing": float("nan"),
        "strict_shape": True,
        "cache_id": 0,
    }
).encode()
_GAIN = b'{"importance_type": "total_gain"}'


class BoosterPredictor:
    """A booster loaded from XGBoost's UBJSON format.

    Parameters
    ----------
    content
        The model, as XGBoost saves it.
    threads
        Number of threads for many rows.

    Raises
    ------
    NativeLibraryError
        If ``content`` is no model.
    """

    def __init__(self, content: bytes, threads: int) -> None:
        self._handle = ctypes.c_void_p()
        _LIBRARY.call("XGBoosterCreate", None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        weakref.finalize(self, _LIBRARY.functions.XGBoosterFree, self._handle)
        size = ctypes.c_uint64(len(content))
        _LIBRARY.call("XGBoosterLoadModelFromBuffer", self._handle, content, size)
        self.iterations = _LIBRARY.integer("XGBoosterBoostedRounds", self._handle)
        self.features = _LIBRARY.integer("XGBoosterGetNumFeature", self._handle, ctypes.c_uint64)
        self._threads, self._current_threads = threads, 0
        self._lock = threading.Lock()

    def attribute(self, name: str) -> str:
        """An attribute that was saved with the model; empty if there is none of this name."""
        value, exists = ctypes.c_char_p(), ctypes.c_int()
        _LIBRARY.call(
            "XGBoosterGetAttr",
            self._handle,
            name.encode(),
            ctypes.byref(value),
            ctypes.byref(exists),
        )
        return (value.value or b"").decode() if exists.value else ""

    def predict(self, X: Floats) -> Floats:
        """Raw scores (rows, outputs)."""
        rows = as_rows(X, self.features)
        matrix = (
            f'{{"data": [{rows.ctypes.data}, true], "shape": [{len(rows)}, {rows.shape[1]}], '
            '"typestr": "<f8", "version": 3}'
        )
        shape, scores = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        dimensions = ctypes.c_uint64()
        with self._lock:
            self._use_threads(1 if len(rows) <= SINGLE_THREAD_ROWS else self._threads)
            _LIBRARY.call(
                "XGBoosterPredictFromDense",
                self._handle,
                matrix.encode(),
                _RAW_SCORES,
                None,
                ctypes.byref(shape),
                ctypes.byref(dimensions),
                ctypes.byref(scores),
            )
            outputs = shape[1] if dimensions.value > 1 else 1
            return np.ctypeslib.as_array(scores, (len(rows), outputs)).astype(np.float64)

    def gains(self) -> Floats:
        """Gain of the splits, summed per feature."""
        count, dimensions = ctypes.c_uint64(), ctypes.c_uint64()
        names = ctypes.POINTER(ctypes.c_char_p)()
        shape, scores = ctypes.POINTER(ctypes.c_uint64)(), ctypes.POINTER(ctypes.c_float)()
        _LIBRARY.call(
            "XGBoosterFeatureScore",
            self._handle,
            _GAIN,
            ctypes.byref(count),
            ctypes.byref(names),
            ctypes.byref(dimensions),
            ctypes.byref(shape),
            ctypes.byref(scores),
        )
        total = np.zeros(self.features)
        for i in range(count.value):
            total[int((names[i] or b"f0").decode().removeprefix("f"))] = scores[i]
        return total

    def _use_threads(self, threads: int) -> None:
        if threads != self._current_threads:
            _LIBRARY.call("XGBoosterSetParam", self._handle, b"nthread", str(threads).encode())
            self._current_threads = threads
