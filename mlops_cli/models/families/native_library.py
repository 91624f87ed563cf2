"""A booster's C library, called without its Python package.

The packages take a second to import and 100 MB, and most of a single row's time.
"""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mlops_cli.models.families.fit_request import Floats

__all__ = ["FEW_ROWS", "NativeLibrary", "NativeLibraryError", "as_rows"]

FEW_ROWS = 20_000
"""Up to so many rows are predicted on one thread: starting others would take longer."""


class NativeLibraryError(Exception):
    """A C library's own error message, or that there is no such library."""


class NativeLibrary:
    """The C library in an installed package.

    It is loaded at the first call.

    Parameters
    ----------
    package
        The package that carries it.
    files
        Where it lies in the package on the platforms, the first that exists counts.
    last_error
        The function that returns the last error's message.
    """

    def __init__(self, package: str, files: tuple[str, ...], last_error: str) -> None:
        self._package, self._files, self._last_error = package, files, last_error

    @cached_property
    def functions(self) -> ctypes.CDLL:
        """The functions of the library, which return 0 where all went well."""
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
        """Call a function.

        Raises
        ------
        NativeLibraryError
            With the first line of the library's message, if the function fails.
        """
        if getattr(self.functions, function)(*arguments) != 0:
            message = getattr(self.functions, self._last_error)().decode(errors="replace")
            raise NativeLibraryError((message.strip().splitlines() or ["unknown"])[0])

    def number(self, function: str, handle: ctypes.c_void_p, kind: Any = ctypes.c_int) -> int:
        """Call a function that gives a number of a model."""
        result = kind()
        self.call(function, handle, ctypes.byref(result))
        return int(result.value)


def as_rows(X: Floats, features: int) -> Floats:
    """A matrix (rows, features) as the libraries read it: contiguous, of doubles.

    Raises
    ------
    NativeLibraryError
        If it has another shape: the library would read past the end of a narrower matrix.
    """
    if X.ndim != 2 or X.shape[1] != features:  # noqa: PLR2004
        raise NativeLibraryError(f"a matrix of shape {X.shape} for {features} features")
    return np.ascontiguousarray(X, dtype=np.float64)
