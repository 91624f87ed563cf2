"""Checks that the base has the keys of joins and windows, in the types of the other side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mlops_cli.data.column_types import type_name
from mlops_cli.errors import BadParams, nearest

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.data.source_schema import SourceSchema
    from mlops_cli.features.joins import JoinPlan
    from mlops_cli.features.windows import WindowPlan

__all__ = ["check_keys"]


def check_keys(
    base: Mapping[str, pl.DataType],
    joins: Iterable[JoinPlan],
    windows: Iterable[WindowPlan],
    source_schemas: Mapping[str, SourceSchema],
) -> None:
    """Check the keys of joins, in their order, and then of windows.

    Raises
    ------
    BadParams
        If a key doesn't exist, or is of another type than the source's column.
    """
    available = dict(base)
    for join in joins:
        schema = source_schemas[join.source].schema
        _check_pairs(f"featurize.joins.{join.name}.on", join.on, available, schema)
        available |= {f"{join.name}_{column}": schema[column] for column in join.columns}
    for window in windows:
        schema = source_schemas[window.source].schema
        _check_pairs(f"featurize.windows.{window.name}.by", window.by, available, schema)


def _check_pairs(
    place: str,
    pairs: Sequence[tuple[str, str]],
    available: Mapping[str, pl.DataType],
    schema: Mapping[str, pl.DataType],
) -> None:
    for key, column in pairs:
        if key not in available:
            raise BadParams(
                f"{place} names the column {key!r}, which neither the base nor a join before has",
                nearest(key, available),
            )
        if available[key] != schema[column]:
            one, other = type_name(available[key]), type_name(schema[column])
            raise BadParams(
                f"{place} compares {key!r}, of type {one}, with {column!r}, of type {other}",
                "State one type for both, with `types` or a CAST under `derive`.",
            )
