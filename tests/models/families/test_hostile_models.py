"""Damaged and forged model files are refused before compiled code reads them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlops_cli.errors import DataRefused
from mlops_cli.models.families import FAMILIES, FitRequest, TaskInfo
from mlops_cli.models.families.lightgbm_capi import BoosterPredictor
from mlops_cli.models.families.native_library import NativeLibraryError

ROOT = Path(__file__).parents[3]
SAFE = [name for name, family in FAMILIES.items() if family.installed and not family.unsafe_format]


@pytest.fixture(scope="module")
def text() -> str:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 6))
    X[:, 5] = rng.integers(0, 8, 2000)
    y = ((X[:, 5] % 3 == 1) ^ (X[:, 0] > 2)).astype(int)
    fitted = FAMILIES["lightgbm"].fit(
        FitRequest(X, y, TaskInfo("binary", 2, (5,)), {}, seed=1, rounds=6)
    )
    return fitted.to_files()["model.txt"].decode()


def replaced(text: str, key: str, value: str, number: int = 0, *, resize: bool = True) -> str:
    """The text with a tree's line replaced, and its size stated anew."""
    head, _, trees = text.partition("\n\n")
    blocks = re.split(r"(?=^Tree=)", trees, flags=re.MULTILINE)[1:]
    line = re.search(rf"^{key}=.*$", blocks[number], re.MULTILINE)
    assert line
    changed = blocks[number].replace(line[0], f"{key}={value}", 1)
    grown = len(changed) - len(blocks[number])
    blocks[number] = changed
    sizes = re.search(r"tree_sizes=(.*)", head)
    assert sizes
    numbers = [int(n) for n in sizes[1].split(" ")]
    if resize:
        numbers[number] += grown
    head = head.replace(sizes[0], "tree_sizes=" + " ".join(map(str, numbers)))
    return head + "\n\n" + "".join(blocks)


def field(text: str, key: str, number: int = 0) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)[number].split(" ")


def with_entry(text: str, key: str, at: int, value: str) -> str:
    entries = field(text, key)
    entries[at] = value
    return replaced(text, key, " ".join(entries))


def test_what_lightgbm_wrote_is_taken_and_its_end_plays_no_part(text: str) -> None:
    X = np.random.default_rng(1).normal(size=(50, 6))
    body, mark, _ = text.partition("end of trees\n")
    whole, cut = BoosterPredictor(text), BoosterPredictor(body + mark)
    assert np.array_equal(whole.predict(X), cut.predict(X))


@pytest.mark.parametrize(
    ("key", "at", "value"),
    [
        ("right_child", 0, "9"),
        ("right_child", 0, "99"),
        ("right_child", 1, "0"),
        ("right_child", 1, "1"),
        ("left_child", 0, "-999"),
        ("left_child", 0, "2147483647"),
        ("left_child", 0, "9999999999999999999999"),
        ("left_child", 0, "x"),
        ("left_child", 0, ""),
        ("left_child", 0, "1.5"),
        ("split_feature", 0, "6"),
        ("split_feature", 0, "-1"),
        ("decision_type", 0, "12"),
        ("decision_type", 0, "-1"),
        ("leaf_value", 0, "nan"),
        ("leaf_value", 0, "1e"),
        ("leaf_count", 0, "99999999999"),
        ("threshold", 0, "--1"),
    ],
)
def test_a_number_that_points_outside_of_a_tree_is_refused(
    text: str, key: str, at: int, value: str
) -> None:
    forged = with_entry(text, key, at, value)
    with pytest.raises(NativeLibraryError):
        BoosterPredictor(forged)
    with pytest.raises(DataRefused, match=r"model\.txt is not a model of the family lightgbm"):
        FAMILIES["lightgbm"].from_files({"model.txt": forged.encode()})


def test_a_category_without_its_set_is_refused(text: str) -> None:
    assert field(text, "num_cat")[0] != "0"
    for forged in (
        replaced(text, "num_cat", "0"),
        replaced(text, "cat_boundaries", " ".join("0" for _ in field(text, "cat_boundaries"))),
        with_entry(text, "cat_boundaries", -1, "999999"),
        with_entry(text, "cat_threshold", 0, "-1"),
        with_entry(text, "cat_threshold", 0, "4294967296"),
    ):
        with pytest.raises(NativeLibraryError):
            BoosterPredictor(forged)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("num_class=1", "num_class=2"),
        ("num_class=1", "num_class=99999999"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=4"),
        ("max_feature_idx=5", "max_feature_idx=4"),
        ("max_feature_idx=5", "max_feature_idx=2147483647"),
        ("objective=binary sigmoid:1", "objective=custom"),
        ("objective=binary sigmoid:1", "objective=multiclass num_class:3"),
        ("is_linear=0", "is_linear=1"),
        ("num_leaves=", "num_leaves=9"),
        ("tree_sizes=", "tree_sizes=-"),
        ("version=v4", "version=v3"),
        ("label_index=0", "label_index=0\naverage_output"),
        ("end of trees", "end of tree"),
        ("tree\n", "\xa0tree\n"),
        ("Tree=1", "Tree=7"),
        ("shrinkage=", "leaf_value=1\nshrinkage="),
    ],
)
def test_a_header_that_doesnt_fit_its_trees_is_refused(text: str, old: str, new: str) -> None:
    with pytest.raises(NativeLibraryError):
        BoosterPredictor(text.replace(old, new, 1))


def test_sizes_of_trees_are_compared_with_the_trees(text: str) -> None:
    with pytest.raises(NativeLibraryError, match="as long as it says"):
        BoosterPredictor(replaced(text, "leaf_value", "1 2 3", resize=False))


def test_changed_bytes_never_end_the_process() -> None:
    command = [sys.executable, str(ROOT / "benchmarks/hostile_models.py"), "--times", "25"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=200, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.count("refused") == len(SAFE)
