"""Labels that fit the task, and features that equal the label."""

from __future__ import annotations

import polars as pl
import pytest

from mlops_cli.errors import BadParams
from mlops_cli.features.target_leakage import check_fits, equal_to_target


@pytest.mark.parametrize(
    ("dtype", "task"),
    [
        (pl.Boolean(), "binary"),
        (pl.String(), "multiclass"),
        (pl.Int64(), "multiclass"),
        (pl.Int64(), "regression"),
        (pl.Float64(), "regression"),
    ],
)
def test_a_label_that_fits_passes(dtype: pl.DataType, task: str) -> None:
    check_fits(dtype, task, "y")


@pytest.mark.parametrize(
    ("dtype", "task"),
    [(pl.Float64(), "binary"), (pl.String(), "regression"), (pl.Date(), "binary")],
)
def test_a_label_of_another_type_is_told(dtype: pl.DataType, task: str) -> None:
    with pytest.raises(BadParams, match=r"featurize\.target 'y' is of type"):
        check_fits(dtype, task, "y")


def test_the_label_is_found_under_other_types() -> None:
    target = pl.Series([True, False, True])
    features = pl.DataFrame(
        {
            "as_number": [1, 0, 1],
            "as_text": ["true", "false", "true"],
            "other": [1, 0, 0],
            "empty": pl.Series([None, None, None], dtype=pl.Int64),
            "gap": [1, None, 1],
        }
    )
    assert equal_to_target(features, target) == ["as_number", "as_text"]
