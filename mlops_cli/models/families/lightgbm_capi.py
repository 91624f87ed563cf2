"""LightGBM scoring with its C library, and a lighter import of its Python package.

The package imports scikit-learn, pandas and SciPy, which take more than a second and 100 MB. A
service and the register stage don't need them, so they score with the C library. Its C API is
documented and stable: https://lightgbm.readthedocs.io/en/stable/C-API.html
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

import numpy as np

from mlops_cli.models.families.fit_request import Floats
from mlops_cli.models.families.lightgbm_text import TextError, check_text
from mlops_cli.models.families.native_library import (
    SINGLE_THREAD_ROWS,
    NativeLibrary,
    NativeLibraryError,
    as_rows,
)
from mlops_cli.models.families.threads import available_cores

__all__ = ["BoosterPredictor", "package"]

_LIBRARY = NativeLibrary(
    "lightgbm",
    ("lib/lib_lightgbm.so", "lib/lib_lightgbm.dylib", "bin/lib_lightgbm.dll"),
    "LGBM_GetLastError",
)
_DOUBLES, _ROW_MAJOR = 1, 1
_NORMAL, _CONTRIBUTIONS = 0, 3
_FROM_FIRST, _TO_LAST = ctypes.c_int(0), ctypes.c_int(-1)
_BY_GAIN = ctypes.c_int(1)
_SILENT = b"verbosity=-1"
_SINGLE_THREAD = b"verbosity=-1 num_threads=1"
_MIN_SPLIT_ROWS = 400
"""From this number of rows, two threads of ours predict half each, on one LightGBM thread each."""
_UNNEEDED = ("sklearn", "pandas", "matplotlib", "dask")
_IMPORT_LOCK = threading.Lock()


def package() -> ModuleType:
    """LightGBM's Python package, imported without the libraries that only its wrappers need.

    If scikit-learn, SciPy's statistics and pandas are installed, the package imports them, which
    takes a second in a process that hasn't loaded them.
    """
    with _IMPORT_LOCK:
        if "lightgbm" not in sys.modules:
            finder = _UnneededFinder()
            sys.meta_path.insert(0, finder)
            try:
                importlib.import_module("lightgbm")
            finally:
                sys.meta_path.remove(finder)
    return importlib.import_module("lightgbm")


class _UnneededFinder(MetaPathFinder):
    """Import hook that hides unneeded libraries, only from the thread that created it."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, *_: object) -> None:
        """Refuse unneeded libraries; the next finder looks for all others."""
        if fullname in _UNNEEDED and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} isn't needed", name=fullname)


class BoosterPredictor:
    """A booster loaded from LightGBM's text format.

    Parameters
    ----------
    text
        The model, as LightGBM saves it.

    Raises
    ------
    NativeLibraryError
        If ``text`` is no model.
    """

    def __init__(self, text: str) -> None:
        try:
            content = check_text(text).encode()
        except TextError as error:
            raise NativeLibraryError(str(error)) from None
        self._handle, rounds = ctypes.c_void_p(), ctypes.c_int()
        _LIBRARY.call(
            "LGBM_BoosterLoadModelFromString",
            ctypes.c_char_p(content),
            ctypes.byref(rounds),
            ctypes.byref(self._handle),
        )
        weakref.finalize(self, _LIBRARY.functions.LGBM_BoosterFree, self._handle)
        self.iterations = rounds.value
        self.features = _LIBRARY.integer("LGBM_BoosterGetNumFeature", self._handle)
        self.outputs = _LIBRARY.integer("LGBM_BoosterGetNumClasses", self._handle)
        # Single rows are scored with settings that are parsed once, here.
        self._row = ctypes.c_void_p()
        _LIBRARY.call(
            "LGBM_BoosterPredictForMatSingleRowFastInit",
            self._handle,
            ctypes.c_int(_NORMAL),
            _FROM_FIRST,
            _TO_LAST,
            ctypes.c_int(_DOUBLES),
            ctypes.c_int32(self.features),
            ctypes.c_char_p(_SINGLE_THREAD),
            ctypes.byref(self._row),
        )
        weakref.finalize(self, _LIBRARY.functions.LGBM_FastConfigFree, self._row)

    def predict(self, X: Floats) -> Floats:
        """Predict (rows, features) as (rows,), or as (rows, classes) with several outputs."""
        rows = as_rows(X, self.features)
        if len(rows) == 1:
            scores = self._predict_row(rows)
        else:
            scores = self._predict(rows, _NORMAL, self.outputs)
        return scores[:, 0] if self.outputs == 1 else scores

    def contributions(self, X: Floats) -> Floats:
        """Tree SHAP values (Lundberg et al. 2020), (rows, outputs, features + 1).

        The last value per row and output is the expected value. The values sum to the raw score.
        """
        width = self.features + 1
        values = self._predict(as_rows(X, self.features), _CONTRIBUTIONS, self.outputs * width)
        return values.reshape(len(X), self.outputs, width)

    def gains(self) -> Floats:
        """Gain of the splits, summed per feature."""
        gains = np.empty(self.features)
        _LIBRARY.call(
            "LGBM_BoosterFeatureImportance", self._handle, _TO_LAST, _BY_GAIN, _address(gains)
        )
        return gains

    def _predict_row(self, row: Floats) -> Floats:
        scores, length = np.empty((1, self.outputs)), ctypes.c_int64()
        _LIBRARY.call(
            "LGBM_BoosterPredictForMatSingleRowFast",
            self._row,
            _address(row),
            ctypes.byref(length),
            _address(scores),
        )
        return scores

    def _predict(self, rows: Floats, kind: int, width: int) -> Floats:
        result = np.empty((len(rows), width))
        half = (
            len(rows) // 2
            if _MIN_SPLIT_ROWS <= len(rows) <= SINGLE_THREAD_ROWS and available_cores() > 1
            else 0
        )
        if half:
            second_half = _second_thread().submit(self._fill, result[half:], rows[half:], kind)
            self._fill(result[:half], rows[:half], kind)
            second_half.result()
        elif len(rows):
            self._fill(result, rows, kind)
        return result

    def _fill(self, result: Floats, rows: Floats, kind: int) -> None:
        length = ctypes.c_int64()
        _LIBRARY.call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            _address(rows),
            ctypes.c_int(_DOUBLES),
            ctypes.c_int32(len(rows)),
            ctypes.c_int32(self.features),
            ctypes.c_int(_ROW_MAJOR),
            ctypes.c_int(kind),
            _FROM_FIRST,
            _TO_LAST,
            # LightGBM has one thread count for the whole process. If it changed during a fit in
            # another thread, that fit would write past its buffers.
            ctypes.c_char_p(_SINGLE_THREAD if len(rows) <= SINGLE_THREAD_ROWS else _SILENT),
            ctypes.byref(length),
            _address(result),
        )


@cache
def _second_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="lightgbm")


def _address(array: Floats) -> Any:
    return ctypes.c_void_p(array.ctypes.data)
