"""LightGBM without what its Python package imports but training and scoring don't need.

Scoring goes by the C library: the package imports scikit-learn, pandas and SciPy, more than a
second and 100 MB that a service and a register stage have no use for. Its C API is documented and
stable: https://lightgbm.readthedocs.io/en/stable/C-API.html
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
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlops_cli.core.learners.fit_request import Floats
from mlops_cli.core.learners.lightgbm_text import TextError, checked
from mlops_cli.core.learners.threads import available_cores

__all__ = ["LibraryError", "Scorer", "package"]

_DOUBLES, _ROW_MAJOR = 1, 1
_NORMAL, _CONTRIBUTIONS = 0, 3
_FROM_FIRST, _TO_LAST = ctypes.c_int(0), ctypes.c_int(-1)
_BY_GAIN = ctypes.c_int(1)
_SILENT = b"verbosity=-1"
_ALONE = b"verbosity=-1 num_threads=1"
_FEW = 20_000
"""Up to so many rows one thread is used. LightGBM has one number of threads for the whole process:
were it changed beside a fit in another thread, that one would write past its buffers."""
_BESIDE = 400
"""From so many rows on two threads of ours, each with one of LightGBM's, take half of them each."""
_NOT_NEEDED = ("sklearn", "pandas", "matplotlib", "dask")
_IMPORTING = threading.Lock()


def package() -> ModuleType:
    """LightGBM's Python package, imported without the libraries that only its wrappers need.

    It imports scikit-learn, SciPy's statistics and pandas if they are installed: a second in a
    process that has none of them.
    """
    with _IMPORTING:
        if "lightgbm" not in sys.modules:
            missing = _Missing()
            sys.meta_path.insert(0, missing)
            try:
                importlib.import_module("lightgbm")
            finally:
                sys.meta_path.remove(missing)
    return importlib.import_module("lightgbm")


class _Missing(MetaPathFinder):
    """Finds no library that isn't needed, in the thread that made it: others may import them."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, *_: object) -> None:
        """Refuse a library that isn't needed; the next finder looks for any other."""
        if fullname in _NOT_NEEDED and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"{fullname} isn't needed", name=fullname)


class LibraryError(Exception):
    """What the library answered when it couldn't do as asked."""


class Scorer:
    """A booster that was read from LightGBM's text format.

    Parameters
    ----------
    text
        The model, as LightGBM saves it.

    Raises
    ------
    LibraryError
        If it isn't one.
    """

    def __init__(self, text: str) -> None:
        try:
            content = checked(text).encode()
        except TextError as error:
            raise LibraryError(str(error)) from None
        library = _library()
        self._handle, rounds = ctypes.c_void_p(), ctypes.c_int()
        _ask(
            library.LGBM_BoosterLoadModelFromString,
            ctypes.c_char_p(content),
            ctypes.byref(rounds),
            ctypes.byref(self._handle),
        )
        weakref.finalize(self, library.LGBM_BoosterFree, self._handle)
        self.iterations = rounds.value
        self.features = self._number(library.LGBM_BoosterGetNumFeature)
        self.outputs = self._number(library.LGBM_BoosterGetNumClasses)
        # A row alone is scored with all settings read beforehand.
        self._row = ctypes.c_void_p()
        _ask(
            library.LGBM_BoosterPredictForMatSingleRowFastInit,
            self._handle,
            ctypes.c_int(_NORMAL),
            _FROM_FIRST,
            _TO_LAST,
            ctypes.c_int(_DOUBLES),
            ctypes.c_int32(self.features),
            ctypes.c_char_p(_ALONE),
            ctypes.byref(self._row),
        )
        weakref.finalize(self, library.LGBM_FastConfigFree, self._row)

    def predict(self, X: Floats) -> Floats:
        """Of (rows, features): (rows,), or (rows, classes) where there are several outputs."""
        if len(X) == 1:
            found = self._predict_row(np.ascontiguousarray(X, dtype=np.float64))
        else:
            found = self._predict(X, _NORMAL, self.outputs)
        return found[:, 0] if self.outputs == 1 else found

    def contributions(self, X: Floats) -> Floats:
        """Tree SHAP values (Lundberg et al. 2020), (rows, outputs, features + 1).

        The last of each is the expected value; they sum to the raw score.
        """
        width = self.features + 1
        found = self._predict(X, _CONTRIBUTIONS, self.outputs * width)
        return found.reshape(len(X), self.outputs, width)

    def gains(self) -> Floats:
        """Gain of the splits, summed by feature."""
        found = np.empty(self.features)
        _ask(
            _library().LGBM_BoosterFeatureImportance,
            self._handle,
            _TO_LAST,
            _BY_GAIN,
            _place(found),
        )
        return found

    def _predict_row(self, row: Floats) -> Floats:
        self._fits(row)
        found, length = np.empty((1, self.outputs)), ctypes.c_int64()
        _ask(
            _library().LGBM_BoosterPredictForMatSingleRowFast,
            self._row,
            _place(row),
            ctypes.byref(length),
            _place(found),
        )
        return found

    def _predict(self, X: Floats, what: int, width: int) -> Floats:
        rows = np.ascontiguousarray(X, dtype=np.float64)
        self._fits(rows)
        found = np.empty((len(rows), width))
        half = len(rows) // 2 if _BESIDE <= len(rows) <= _FEW and available_cores() > 1 else 0
        if half:
            other = _beside().submit(self._fill, found[half:], rows[half:], what)
            self._fill(found[:half], rows[:half], what)
            other.result()
        elif len(rows):
            self._fill(found, rows, what)
        return found

    def _fill(self, found: Floats, rows: Floats, what: int) -> None:
        length = ctypes.c_int64()
        _ask(
            _library().LGBM_BoosterPredictForMat,
            self._handle,
            _place(rows),
            ctypes.c_int(_DOUBLES),
            ctypes.c_int32(len(rows)),
            ctypes.c_int32(self.features),
            ctypes.c_int(_ROW_MAJOR),
            ctypes.c_int(what),
            _FROM_FIRST,
            _TO_LAST,
            ctypes.c_char_p(_ALONE if len(rows) <= _FEW else _SILENT),
            ctypes.byref(length),
            _place(found),
        )

    def _fits(self, X: Floats) -> None:
        # The library would read past the end of a narrower matrix.
        if X.ndim != 2 or X.shape[1] != self.features:  # noqa: PLR2004
            raise LibraryError(f"a matrix of shape {X.shape} for {self.features} features")

    def _number(self, function: Any) -> int:
        found = ctypes.c_int()
        _ask(function, self._handle, ctypes.byref(found))
        return found.value


@cache
def _beside() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="lightgbm")


@cache
def _library() -> ctypes.CDLL:
    found = importlib.util.find_spec("lightgbm")
    folder = Path(found.submodule_search_locations[0]) if found else Path()  # type: ignore[index]
    names = ("lib/lib_lightgbm.so", "lib/lib_lightgbm.dylib", "bin/lib_lightgbm.dll")
    for path in (folder / name for name in names):
        if path.is_file():
            library = ctypes.CDLL(str(path))
            library.LGBM_GetLastError.restype = ctypes.c_char_p
            return library
    raise LibraryError(f"LightGBM's library is not in {folder}")


def _ask(function: Any, *given: Any) -> None:
    if function(*given) != 0:
        raise LibraryError(_library().LGBM_GetLastError().decode(errors="replace"))


def _place(array: Floats) -> Any:
    return ctypes.c_void_p(array.ctypes.data)
