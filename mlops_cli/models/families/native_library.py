"""Calls to a booster's C library without its Python package.

The Python packages take a second to import and 100 MB of memory. They also take most of the time
that a prediction of a single row needs.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlops_cli.models.families.fit_request import Floats

__all__ = ["SINGLE_THREAD_ROWS", "NativeLibrary", "NativeLibraryError", "as_rows"]

SINGLE_THREAD_ROWS = 20_000
"""Up to this number of rows, one thread predicts: starting more would take longer."""


class NativeLibraryError(Exception):
    """Error message of a C library, or the message that the library is missing."""


class NativeLibrary:
    """The C library of an installed package, loaded at the first call.

    Parameters
    ----------
    package
        The package that contains the library.
    files
        The library's paths in the package, one per platform; the first that exists is used.
    last_error
        The library's function that returns the last error message.
    """

    def __init__(self, package: str, files: tuple[str, ...], last_error: str) -> None:
        self._package, self._files, self._last_error = package, files, last_error

    @cached_property
    def functions(self) -> ctypes.CDLL:
        """The functions of the library; they return 0 on success."""
        spec = importlib.util.find_spec(self._package)
        if spec is None:
            raise NativeLibraryError(f"the package {self._package} is not installed")
        folder = Path((spec.submodule_search_locations or [""])[0])
        for path in (folder / name for name in self._files):
            if path.is_file():
                library = ctypes.CDLL(str(path))
                getattr(library, self._last_error).restype = ctypes.c_char_p
                return library
        raise NativeLibraryError(f"the library of {self._package} is not in {folder}")

    def call(self, function: str, *arguments: Any) -> None:
        """Call a function of the library.

        Raises
        ------
        NativeLibraryError
            If the function fails, with the first line of the library's message.
        """
        if getattr(self.functions, function)(*arguments) != 0:
            message = getattr(self.functions, self._last_error)().decode(errors="replace")
            raise NativeLibraryError((message.strip().splitlines() or ["unknown"])[0])

    def integer(self, function: str, handle: ctypes.c_void_p, kind: Any = ctypes.c_int) -> int:
        """Call a function that returns an integer property of a model."""
        result = kind()
        self.call(function, handle, ctypes.byref(result))
        return int(result.value)


def as_rows(X: Floats, features: int) -> Floats:
    """A matrix (rows, features) in the layout of the libraries: contiguous, double precision.

    Raises
    ------
    NativeLibraryError
        If it has another shape. The library would read past the end of a narrower matrix.
    """
    if X.ndim != 2 or X.shape[1] != features:  # noqa: PLR2004
        raise NativeLibraryError(f"a matrix of shape {X.shape} for {features} features")
    return np.ascontiguousarray(X, dtype=np.float64)
