"""Infers the task (binary, multiclass, regression) from the target column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_cli.data.column_names import quote
from mlops_cli.errors import DataRefused, Usage

if TYPE_CHECKING:
    import polars as pl

    from mlops_cli.params.task import TaskType

__all__ = ["MAX_CLASSES", "Target", "infer_task"]

MAX_CLASSES = 20
"""Whole numbers with more distinct values are amounts, not classes."""
MAX_TEXT_CLASSES = 200
ROWS_PER_CLASS = 5
"""With fewer rows per distinct value on average, values aren't classes."""


@dataclass(frozen=True)
class Target:
    """The target column, and the task inferred from it.

    Attributes
    ----------
    classes
        Class -> rows, in sorted order; empty for regression.
    positive
        Binary: the class whose probability is predicted.
    """

    name: str
    sql: str
    task: TaskType
    reason: str
    classes: dict[bool | int | str, int]
    positive: bool | int | str | None
    labelled: int
    unlabelled: int


def infer_task(frame: pl.LazyFrame, name: str, task: TaskType | None = None) -> Target:
    """Infer the task from the values of the target column.

    Parameters
    ----------
    task
        The task that the user states; refused if the values contradict it.

    Raises
    ------
    DataRefused
        If the target has no value or only one, or too few rows for each class.
    Usage
        If the column's type, or ``task``, doesn't suit.
    """
    import polars as pl

    dtype = frame.collect_schema()[name]
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.String)):
        raise Usage(
            f"the target {name!r} is of type {str(dtype).lower()}, which cannot be predicted",
            "Choose a column of numbers, texts or booleans with --target.",
        )
    sql = quote(name)
    count_name = "rows" if name != "rows" else "count"
    counts = frame.group_by(name).agg(pl.len().alias(count_name)).collect(engine="streaming")
    rows = int(counts[count_name].sum())
    present = counts.filter(pl.col(name).is_not_null())
    labelled = int(present[count_name].sum())
    _check_learnable(name, present[name], rows, labelled)
    is_whole = dtype.is_integer() or (
        dtype.is_numeric() and bool((present[name] == present[name].round(0)).all())
    )
    inferred, reason = _infer_from_values(name, dtype, present.height, labelled, is_whole=is_whole)
    if task is not None:
        _check_task(name, task, dtype, present.height)
        inferred, reason = task, "--task says so"
    classes: dict[bool | int | str, int] = {}
    if inferred != "regression":
        if dtype.is_float():
            sql = f"CAST({sql} AS {'BIGINT' if is_whole else 'VARCHAR'})"
        labels = present.select(pl.sql_expr(sql).alias(name), count_name)
        classes = dict(labels.sort(name).iter_rows())
    return Target(
        name=name,
        sql=sql,
        task=inferred,
        reason=reason,
        classes=classes,
        positive=next(reversed(classes)) if inferred == "binary" else None,
        labelled=labelled,
        unlabelled=rows - labelled,
    )


def _check_learnable(name: str, values: pl.Series, rows: int, labelled: int) -> None:
    if rows == 0:
        raise DataRefused("the data has a header but no rows", "Give a file with rows.")
    if values.len() == 0:
        raise DataRefused(
            f"the target {name!r} has no value in any of the {rows} rows",
            "Choose another column with --target, or data with labels.",
        )
    if values.len() == 1:
        raise DataRefused(
            f"the target {name!r} has one value only, {values[0]!r}, "
            f"in all {labelled} labelled rows",
            "There is nothing to tell apart; give data with at least two values.",
        )


def _infer_from_values(
    name: str, dtype: pl.DataType, distinct: int, rows: int, *, is_whole: bool
) -> tuple[TaskType, str]:
    import polars as pl

    if dtype == pl.Boolean:
        return "binary", "its values are true and false"
    text = not dtype.is_numeric()
    few = distinct <= (MAX_TEXT_CLASSES if text else MAX_CLASSES)
    classes = few and distinct * ROWS_PER_CLASS <= rows
    if distinct == 2 and (text or is_whole):  # noqa: PLR2004
        return "binary", "it has two distinct values"
    if text and not classes:
        raise DataRefused(
            f"the target {name!r} is text with {distinct} distinct values in {rows} rows, "
            "too many to be classes",
            "Choose another column with --target, or group its values first.",
        )
    if text:
        return "multiclass", f"it is text with {distinct} distinct values"
    if is_whole and classes:
        return "multiclass", f"it holds whole numbers with {distinct} distinct values"
    kind = "whole numbers" if is_whole else "numbers"
    return "regression", f"it holds {kind} with {distinct} distinct values"


def _check_task(name: str, task: TaskType, dtype: pl.DataType, distinct: int) -> None:
    import polars as pl

    if task == "regression" and not dtype.is_numeric():
        raise Usage(
            f"--task regression does not suit the target {name!r}, "
            f"which is {'boolean' if dtype == pl.Boolean else 'text'}",
            "Use binary or multiclass, or another --target.",
        )
    if task == "binary" and distinct != 2:  # noqa: PLR2004
        raise Usage(
            f"--task binary does not suit the target {name!r}, which has {distinct} values",
            "Use --task multiclass or regression.",
        )
    if task == "multiclass" and distinct == 2:  # noqa: PLR2004
        raise Usage(
            f"--task multiclass does not suit the target {name!r}, which has two values",
            "Use --task binary.",
        )
