"""Append-only arrays: earlier reads stay valid, and numbers of any size fit."""

from __future__ import annotations

import numpy as np

from mlops_cli.online.growable_array import GrowableArray


def test_numbers_are_found_by_place_alone_and_together() -> None:
    column, given = GrowableArray("q"), list(range(-5_000, 5_000, 3))
    for start in range(0, len(given), 100):
        column.extend(given[start : start + 100])
    places = np.array([0, 7, column.length - 1])
    assert column.length == len(given)
    assert column.gather(places).tolist() == [given[i] for i in places]
    assert [column.values[i] for i in places] == [given[i] for i in places]
    assert column.slice(3, 6).tolist() == given[3:6]


def test_what_was_read_before_stays_when_there_is_more() -> None:
    column = GrowableArray("q")
    column.extend([1, 2, 3])
    before = column.values
    column.extend(range(10_000))
    assert list(before[:3]) == [1, 2, 3]
    assert column.gather(np.array([0, 1, 2, 3])).tolist() == [1, 2, 3, 0]


def test_whole_numbers_may_be_beyond_64_bits() -> None:
    column = GrowableArray("q")
    column.extend([1, 2])
    column.extend([2**70, -(2**70)])
    column.extend([5])
    found = column.gather(np.array([0, 2, 3, 4]))
    assert found.tolist() == [1, 2**70, -(2**70), 5]
    assert (found[1] - found[2]) == 2**71
    assert [column.values[i] for i in range(column.length)] == [1, 2, 2**70, -(2**70), 5]


def test_none_among_numbers_is_nan() -> None:
    column = GrowableArray("d")
    column.extend([1.5, None])
    assert np.array_equal(column.gather(np.array([0, 1])), [1.5, np.nan], equal_nan=True)
