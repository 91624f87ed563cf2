"""Kind of a feature in a model, from its type in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlops_cli.data.source_schema import dtype_name
from mlops_cli.errors import BadParams

if TYPE_CHECKING:
    import polars as pl

__all__ = ["feature_kind"]


def feature_kind(name: str, dtype: pl.DataType) -> str:
    """The kind of a feature of this type in a model: number, boolean or category.

    Raises
    ------
    BadParams
        For a type that no model accepts, such as a date.
    """
    import polars as pl

    if dtype.is_numeric():
        return "number"
    if dtype == pl.Boolean:
        return "boolean"
    if dtype in {pl.String, pl.Categorical, pl.Enum}:
        return "category"
    raise BadParams(
        f"featurize.features.{name} is of type {dtype_name(dtype)}, which no model takes",
        "Make numbers of a time with EXTRACT(hour FROM x) or EXTRACT(epoch FROM x).",
    )
