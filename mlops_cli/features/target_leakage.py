"""Checks that the target fits the task, and that no feature equals the target (leakage)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.errors import BadParams

if TYPE_CHECKING:
    import polars as pl

__all__ = ["check_fits", "equal_to_target"]


def check_fits(dtype: pl.DataType, task: str, sql: str) -> None:
    """Refuse a target whose type doesn't fit the task.

    Raises
    ------
    BadParams
        For a number where classes are needed, or the other way round.
    """
    import polars as pl

    if task == "regression" and not dtype.is_numeric():
        raise BadParams(
            f"featurize.target {sql!r} is of type {dtype}; a regression needs a number",
            "Change task.type, or the expression.",
        )
    if task != "regression" and not (dtype in {pl.Boolean, pl.String} or dtype.is_integer()):
        raise BadParams(
            f"featurize.target {sql!r} is of type {dtype}; a {task} task needs classes",
            "Compare it (`x > 15`), CAST it, or set task.type to regression.",
        )


def equal_to_target(features: pl.DataFrame, target: pl.Series) -> list[str]:
    """Features that equal the label in every row, in the same or another type.

    A number equals a boolean label as 0 and 1, a text by its spelling.
    """
    import polars as pl

    as_number = target.cast(pl.Float64, strict=False)
    as_text = target.cast(pl.String)
    leaking = []
    for feature in features:
        if feature.dtype == pl.String:
            equal = feature.eq(as_text)
        else:
            equal = feature.cast(pl.Float64).eq(as_number)
        # A null equals nothing, so a feature with nulls isn't the label.
        if feature.null_count() < len(feature) and equal.fill_null(value=False).all():
            leaking.append(feature.name)
    return leaking
