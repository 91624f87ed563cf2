"""Calls of C libraries without their Python packages, and their errors."""

import ctypes
import re

import numpy as np
import pytest

from mlops_cli.models.families.native_library import NativeLibrary, NativeLibraryError, as_rows

FILES = ("lib/lib_lightgbm.so", "lib/lib_lightgbm.dylib", "bin/lib_lightgbm.dll")


def library(package="lightgbm", files=FILES):
    return NativeLibrary(package, files, "LGBM_GetLastError")


def test_a_failed_call_raises_the_librarys_own_message():
    handle, rounds = ctypes.c_void_p(), ctypes.c_int()
    text = ctypes.c_char_p(b"no model")
    arguments = (text, ctypes.byref(rounds), ctypes.byref(handle))
    with pytest.raises(NativeLibraryError, match="number of classes"):
        library().call("LGBM_BoosterLoadModelFromString", *arguments)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (library(package="no_such_package"), "the package no_such_package is not installed"),
        (library(files=("no.so",)), "the library of lightgbm is not in "),
    ],
)
def test_a_library_that_is_missing_is_named(missing, message):
    with pytest.raises(NativeLibraryError, match=message):
        missing.call("LGBM_BoosterFree")


@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 3), (1, 2, 2)])
def test_a_matrix_of_another_shape_is_refused(shape):
    with pytest.raises(NativeLibraryError, match=re.escape(f"{shape} for 2 features")):
        as_rows(np.zeros(shape), 2)


def test_rows_are_contiguous_doubles():
    rows = as_rows(np.asfortranarray(np.ones((3, 2), dtype=np.float32)), 2)
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float64
